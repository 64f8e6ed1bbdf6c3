//! Work on the index that a command asks for, what it is done on, and who hears of it. `errand_runner` finds out who does it,
//! `errand_work` does it, `control` is the way to a server.

use std::sync::Arc;

use anyhow::Context;
use indicatif::ProgressBar;
use serde::{Deserialize, Serialize, Serializer};

use super::progress_bar::{VECTORS, progress_bar};
use super::say;
use crate::app::App;
use crate::catalog::Catalog;
use crate::config::{Config, Secret};
use crate::ingest::Ingest;
use crate::search::Searcher;
use crate::vector_store::VectorStore;
use crate::vector_store::address::open_at;

/// What is asked for.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "errand", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Errand {
    /// Have all failed pictures tried again.
    Retry,
    /// Delete the vectors of models that do not answer any more.
    Prune,
    /// Measure whether learning from others' ratings helps.
    Learn,
    Verify(VerifyErrand),
    Copy(CopyErrand),
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct VerifyErrand {
    pub(super) repair: bool,
    pub(super) take_over: bool,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct CopyErrand {
    pub(super) from: String,
    pub(super) to: String,
    /// Of the Qdrant server among the two, as whoever asks has it.
    #[serde(serialize_with = "revealed")]
    pub(super) api_key: Secret,
}

/// It only ever goes to a server of the same user, through a socket that nobody else can open.
fn revealed<S: Serializer>(secret: &Secret, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(secret.reveal())
}

/// Hears what is done.
pub(super) trait Tell: Send {
    fn say(&mut self, line: &str);
    /// How far the work on a collection is: of so many vectors so many are done; `None` when it has ended.
    fn progress(&mut self, collection: &str, done_of: Option<(u64, u64)>);
}

/// Prints, and shows a bar.
#[derive(Default)]
pub(super) struct Terminal {
    bar: Option<ProgressBar>,
}

impl Tell for Terminal {
    fn say(&mut self, line: &str) {
        say(line);
    }

    fn progress(&mut self, collection: &str, done_of: Option<(u64, u64)>) {
        let Some((done, total)) = done_of else {
            if let Some(bar) = self.bar.take() {
                bar.finish_and_clear();
            }
            return;
        };
        let bar = self.bar.get_or_insert_with(|| progress_bar(VECTORS));
        bar.set_message(collection.to_owned());
        bar.set_length(total);
        bar.set_position(done);
    }
}

/// What the work is done on.
pub(super) struct Handles {
    pub(super) config: Config,
    pub(super) catalog: Arc<dyn Catalog>,
    /// The configured store, if it is open already.
    open_store: Option<Arc<dyn VectorStore>>,
    /// Collections that are, or may be, being filled.
    pub(super) being_built: Vec<String>,
    /// Goes on with what was made pending.
    ingest: Option<Arc<Ingest>>,
    searcher: Option<Arc<Searcher>>,
}

impl Handles {
    /// Those of a command that opened the catalog itself.
    pub(super) fn here(config: Config, catalog: Arc<dyn Catalog>) -> Self {
        Self {
            config,
            catalog,
            open_store: None,
            being_built: Vec::new(),
            ingest: None,
            searcher: None,
        }
    }

    /// Those of a server.
    pub(super) fn of(app: &App) -> Self {
        Self {
            config: app.config.clone(),
            catalog: app.catalog.clone(),
            open_store: Some(app.store.clone()),
            being_built: app.serving.being_built(),
            ingest: app.serving.state().ingest().cloned(),
            searcher: Some(app.searcher.clone()),
        }
    }

    /// The store at an address, and whether it was opened for this (and has to be closed). `None`: the configured one.
    pub(super) async fn store(
        &self,
        address: Option<&str>,
        api_key: Option<&Secret>,
    ) -> anyhow::Result<(Arc<dyn VectorStore>, bool)> {
        let mut settings = self.config.vector_store.clone();
        let address = address.unwrap_or(&self.config.vector_store.url);
        if let Some(store) = self.open_store.as_ref().filter(|_| address == settings.url) {
            return Ok((store.clone(), false));
        }
        if let Some(key) = api_key.filter(|key| !key.reveal().is_empty()) {
            (settings.api_key, settings.api_key_file) = (key.clone(), "".into());
        }
        let installation = self.catalog.installation().await?;
        let opened = open_at(address, &settings, &self.config.data_dir, &installation).await;
        Ok((opened.context("cannot open a store")?, true))
    }

    /// What answers searches here.
    pub(super) fn searcher(&self) -> anyhow::Result<&Searcher> {
        self.searcher.as_deref().context("searches are not answered here")
    }

    /// Whether somebody goes on with pending pictures; if so, it is told that there are some.
    pub(super) fn wake(&self) -> bool {
        if let Some(ingest) = &self.ingest {
            ingest.wake();
        }
        self.ingest.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errands_arrive_as_they_were_sent_and_their_keys_are_not_printed() {
        let key: Secret = serde_json::from_str("\"s3cret\"").expect("a key");
        let errands = [
            Errand::Retry,
            Errand::Prune,
            Errand::Learn,
            Errand::Verify(VerifyErrand { repair: true, take_over: false }),
            Errand::Copy(CopyErrand {
                from: "embedded".into(),
                to: "qdrant+http://x".into(),
                api_key: key,
            }),
        ];
        for errand in errands {
            let sent = serde_json::to_string(&errand).expect("JSON");
            assert_eq!(serde_json::from_str::<Errand>(&sent).expect("an errand"), errand, "{sent}");
            assert!(!format!("{errand:?}").contains("s3cret"));
        }
    }
}
