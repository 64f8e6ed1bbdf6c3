//! The application in one process for tests: the real catalog and the embedded store in a temporary folder, a source in memory,
//! and a model whose vectors are colours. At its end nothing may be leased or running any more.

use std::sync::Arc;
use std::time::Duration;

use crate::app::App;
use crate::catalog::{self, StateCounts};
use crate::config::Config;
use crate::data_dir::DataDir;
use crate::embedder::Embedder;
use crate::embedder::encoder::Encoder;
use crate::embedder::encoder::stand_in::StandIn;
use crate::models::LocatedModel;
use crate::search::{Query, SearchError, Window};
use crate::source::memory::MemorySource;
use crate::types::{ImageName, ModelId};
use crate::vector_store::address;

const DEADLINE: Duration = Duration::from_mins(1);
const POLL: Duration = Duration::from_millis(5);

pub(crate) struct TestApp {
    pub(crate) app: Arc<App>,
    pub(crate) source: MemorySource,
    pub(crate) model: StandIn,
    dir: Option<tempfile::TempDir>,
}

impl TestApp {
    /// With its model up and indexing.
    pub(crate) async fn start(change: impl FnOnce(&mut Config)) -> Self {
        let app = Self::without_model(change).await;
        app.bring_up().await;
        app
    }

    /// With everything but a model.
    pub(crate) async fn without_model(change: impl FnOnce(&mut Config)) -> Self {
        let dir = tempfile::tempdir().expect("temp");
        Self::open(dir, MemorySource::default(), change).await
    }

    async fn open(
        dir: tempfile::TempDir,
        source: MemorySource,
        change: impl FnOnce(&mut Config),
    ) -> Self {
        let flags = vec![
            ("data_dir", dir.path().display().to_string().into()),
            ("ingest.settle_ms", 0.into()),
            ("models.offline", true.into()),
        ];
        let mut config = Config::load(None, [], flags).expect("valid");
        change(&mut config);
        let data_dir = DataDir::take(dir.path()).expect("free");
        let catalog = catalog::address::open(&config).await.expect("a catalog");
        let installation = catalog.installation().await.expect("made with the catalog");
        let store =
            address::open_at("embedded", &config.vector_store, dir.path(), &installation).await;
        let store = store.expect("a store");
        let sources: Vec<Arc<dyn crate::source::Source>> = vec![Arc::new(source.clone())];
        let app = App::assemble(config, data_dir, catalog, store, sources);
        Self { app: app.expect("assembled"), source, model: StandIn::default(), dir: Some(dir) }
    }

    async fn bring_up(&self) {
        let id = ModelId { name: "stand-in".into(), revision: "1".into() };
        let model = self.model.clone();
        let load = move || Ok(Arc::new(model.clone()) as Arc<dyn Encoder>);
        let embed = &self.app.config.embed;
        let embedder =
            Embedder::start(load, id.clone(), "CLIP".into(), embed, false).expect("started");
        let located = LocatedModel {
            dir: self.dir.as_ref().map(|dir| dir.path().to_owned()).unwrap_or_default(),
            id,
            display_name: "CLIP".into(),
            banner: None,
            runs_on_rten: true,
            traits: crate::models::SearchTraits::default(),
        };
        let ingest = self.app.serving.adopt(located, Arc::new(embedder)).await;
        ingest.expect("adopted").spawn();
    }

    /// Puts a picture of one colour into the source. Pictures of other sizes are other contents.
    pub(crate) fn put(&self, name: &str, colour: [u8; 3], edge: u32) {
        let picture = image::RgbImage::from_pixel(edge, edge, image::Rgb(colour));
        let mut png = std::io::Cursor::new(Vec::new());
        picture.write_to(&mut png, image::ImageFormat::Png).expect("a PNG");
        self.source.put(&name_of(name), &png.into_inner());
    }

    /// Waits until so many images are indexed and failed and nothing is pending.
    pub(crate) async fn until_counts(&self, indexed: u64, failed: u64) {
        let settled = |counts: &StateCounts| {
            (counts.pending, counts.indexed, counts.failed) == (0, indexed, failed)
        };
        self.until(&format!("{indexed} indexed, {failed} failed"), async || {
            settled(&self.app.catalog.counts().await.expect("counted"))
        })
        .await;
    }

    pub(crate) async fn until(&self, what: &str, holds: impl AsyncFn() -> bool) {
        let waiting = async {
            while !holds().await {
                tokio::time::sleep(POLL).await;
            }
        };
        if tokio::time::timeout(DEADLINE, waiting).await.is_err() {
            let counts = self.app.catalog.counts().await;
            panic!("not in time: {what}; {counts:?}");
        }
    }

    pub(crate) async fn search(&self, text: &str) -> Result<Vec<String>, SearchError> {
        let window = Window { limit: 10, offset: 0 };
        let answer = self.app.searcher.search(Query::Text(text.to_owned()), window).await?;
        Ok(answer.matches.iter().map(|found| found.image_name.to_string()).collect())
    }

    /// Ends it and starts it again on the same folder and source, as after an update.
    pub(crate) async fn restart(mut self) -> Self {
        let dir = self.dir.take().expect("open");
        let (source, config) = (self.source.clone(), self.app.config.clone());
        self.end().await;
        let again = Self::open(dir, source, |fresh| *fresh = config).await;
        again.bring_up().await;
        again
    }

    /// Ends it. Fails the test if something is still leased or does not stop.
    pub(crate) async fn finish(self) {
        self.end().await;
    }

    async fn end(self) {
        let Self { app, dir, .. } = self;
        tokio::time::timeout(DEADLINE, app.serving.shut_down()).await.expect("it stops");
        let counts = app.catalog.counts().await.expect("counted");
        let mut free = 0;
        for suspects in [false, true] {
            let (now, until) = (i64::MAX - 1, i64::MAX);
            let leased = app.catalog.lease(100_000, "the end", now, until, suspects).await;
            free += leased.expect("asked").len() as u64;
        }
        assert_eq!(free, counts.pending, "images are still leased");
        app.catalog.release("the end").await.expect("released");
        app.shut_down().await;
        // The folder is let go with the last handle.
        let handles = Arc::strong_count(&app);
        assert_eq!(handles, 1, "somebody still holds the application");
        drop((app, dir));
    }
}

pub(crate) fn name_of(text: &str) -> ImageName {
    ImageName::new(text).expect("a valid name")
}
