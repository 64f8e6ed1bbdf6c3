//! The colours that come with every picture that is listed. Pictures that were indexed before there were previews get
//! theirs from their thumbnails, when they are listed for the first time.

use std::collections::HashMap;
use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use super::SharedApp;
use crate::catalog::{Catalog, CatalogError};
use crate::thumbnails::Thumbnails;
use crate::types::{ContentHash, Preview};

/// The previews of those contents, as base64.
pub(super) async fn of(
    app: &SharedApp,
    hashes: &[ContentHash],
) -> Result<HashMap<ContentHash, String>, CatalogError> {
    let known = app.catalog.previews(hashes).await?;
    let unknown: Vec<ContentHash> =
        hashes.iter().filter(|hash| !known.contains_key(hash)).copied().collect();
    if !unknown.is_empty() {
        tokio::spawn(fill(app.thumbnails.clone(), app.catalog.clone(), unknown));
    }
    let encode = |(hash, preview): (ContentHash, Preview)| {
        (hash, BASE64_STANDARD.encode(preview.as_bytes()))
    };
    Ok(known.into_iter().map(encode).collect())
}

async fn fill(thumbnails: Arc<Thumbnails>, catalog: Arc<dyn Catalog>, unknown: Vec<ContentHash>) {
    let made = thumbnails.previews_of_kept(unknown).await;
    if let Err(error) = catalog.keep_previews(&made).await {
        tracing::debug!(%error, "could not keep previews; they are made again");
    }
}
