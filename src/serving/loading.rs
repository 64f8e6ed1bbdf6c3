//! From a name in the configuration to a model that runs: found or downloaded, loaded with the engine that is wanted,
//! its threads started.

use std::path::Path;
use std::sync::Arc;

use clip::{EngineChoice, LoadOptions, Model, Precision, Provider};

use super::ServingError;
use crate::config::Config;
use crate::embedder::{EmbedError, Embedder, Encoder, StartError};
use crate::models::{self, Choice, DownloadProgress, LocatedModel, ModelError, Models};
use crate::priority::lower_priority;

/// Loads the configured model and starts its threads. One that is not here is downloaded only with somewhere to tell the
/// progress.
pub async fn load_embedder(
    config: &Config,
    download: Option<&DownloadProgress>,
) -> Result<(LocatedModel, Embedder), ServingError> {
    let models = Models::open(config)?;
    let located = match models.find(&config.model)? {
        Choice::Here(located) => *located,
        Choice::Elsewhere(entry) => {
            let fetched = match download {
                Some(progress) => {
                    models.fetch(&entry, config.model == models::AUTO, progress).await
                }
                None => Err(ModelError::NotHere {
                    name: entry.name.clone(),
                    megabytes: entry.megabytes,
                }),
            };
            match fetched {
                Err(error) if config.model == models::AUTO => models.stand_in(&error)?,
                fetched => fetched?,
            }
        }
    };
    let embedder = load(config, located.clone(), false).await?;
    Ok((located, embedder))
}

/// Loads a model whose files are here and starts its threads. Who only indexes needs the half that sees.
pub(super) async fn load(
    config: &Config,
    located: LocatedModel,
    pictures_only: bool,
) -> Result<Embedder, ServingError> {
    let mut engine: EngineChoice = config.embed.engine.parse().map_err(|_| {
        ServingError::Engine(format!(
            "{:?} is none of auto, rten, onnxruntime",
            config.embed.engine
        ))
    })?;
    if engine == EngineChoice::Auto && !located.runs_on_rten {
        // Its error says how to get the library; that of rten would only name an operator.
        engine = EngineChoice::OnnxRuntime;
    }
    let library =
        Some(config.embed.onnxruntime_library.clone()).filter(|path| *path != Path::new(""));
    let providers = config.embed.providers.iter().map(|word| word.parse());
    let providers = providers
        .collect::<Result<Vec<Provider>, _>>()
        .map_err(|error| ServingError::Providers(error.to_string()))?;
    let low_priority = config.ingest.low_priority;
    let prepared_dir = config.embed.prepare.then(|| config.data_dir.join("prepared"));
    let options = LoadOptions {
        engine,
        threads: config.embed.threads,
        lanes: config.embed.lanes,
        onnxruntime_library: library,
        providers,
        prepared_dir,
        precision: if located.id.is_int8() { Precision::Int8 } else { Precision::F32 },
        before_picture_threads: low_priority.then_some(lower_priority as fn()),
        pictures_only,
    };
    let embed = config.embed.clone();
    let loading = tokio::task::spawn_blocking(move || {
        let load = move || Ok(Arc::new(Model::load(&located.dir, &options)?) as Arc<dyn Encoder>);
        let started = Embedder::start(load, located.id, located.display_name, &embed, low_priority);
        started.map_err(|error| match error {
            StartError::Load(error) => error.into(),
            StartError::Thread(error) => error.into(),
        })
    });
    loading.await.map_err(|error| EmbedError::Model(error.to_string()))?
}
