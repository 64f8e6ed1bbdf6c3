//! `embed`: embeddings of texts and pictures, one JSON object a line, for checking a model against another program.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use serde_json::json;

use super::{download, picture_file, say_json};
use crate::config::Config;
use crate::decoder::Decoder;
use crate::models::DownloadProgress;
use crate::serving::load_embedder;

#[derive(Args)]
pub(super) struct EmbedArgs {
    /// A text; may be given several times
    #[arg(long, required_unless_present = "image")]
    text: Vec<String>,
    /// Picture files
    #[arg(long, num_args = 1.., value_name = "FILE")]
    image: Vec<PathBuf>,
}

pub(super) async fn run(config: Config, args: EmbedArgs) -> anyhow::Result<ExitCode> {
    let decoder = Decoder::new(&config.decode, config.ingest.low_priority);
    let progress = DownloadProgress::default();
    let (_, embedder) =
        download::with_bar(|| Some(&progress), load_embedder(&config, Some(&progress))).await?;
    for text in &args.text {
        let embedding = embedder.embed_text(text).await?;
        say_json(&json!({"input": text, "embedding": *embedding}).to_string());
    }
    for path in &args.image {
        let bytes = picture_file::read(path, decoder.limits().max_bytes, "decode.file_bytes_max")?;
        let decoded = clip::decode_wanted(&bytes, decoder.limits(), embedder.wanted(0))
            .with_context(|| format!("cannot decode {}", path.display()))?;
        let pixels = embedder.preprocess(&decoded);
        let embedding = embedder.embed_query_picture(pixels).await?;
        say_json(&json!({"input": path, "embedding": embedding}).to_string());
    }
    Ok(ExitCode::SUCCESS)
}
