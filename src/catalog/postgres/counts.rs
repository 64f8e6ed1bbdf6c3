//! Counts as sums of changes. Every transaction adds its own rows, so none waits for another; now and then many rows are made
//! one, in one statement, so that the sum is right at every moment.

use super::connections::Connections;
use crate::catalog::CatalogError;
use crate::catalog::lists::Counts;

const COUNTS: &str = "SELECT state, missing, answers, unconfigured_since_ms IS NOT NULL AS unconfigured, sum(images)::bigint AS images
    FROM image_counts JOIN sources ON sources.key = image_counts.source GROUP BY 1, 2, 3, 4";
/// At most so many rows at once; what others are folding just now is left to them.
const FOLD_IMAGES: &str = "WITH taken AS (
        DELETE FROM image_counts
        WHERE ctid = ANY (ARRAY(SELECT ctid FROM image_counts LIMIT 20000 FOR UPDATE SKIP LOCKED)) RETURNING *)
    INSERT INTO image_counts
    SELECT source, state, missing, answers, sum(images) FROM taken GROUP BY 1, 2, 3, 4 HAVING sum(images) <> 0";
const FOLD_VECTORS: &str = "WITH taken AS (
        DELETE FROM vector_counts
        WHERE ctid = ANY (ARRAY(SELECT ctid FROM vector_counts LIMIT 20000 FOR UPDATE SKIP LOCKED)) RETURNING *)
    INSERT INTO vector_counts
    SELECT model, sum(known), sum(stored) FROM taken GROUP BY 1 HAVING sum(known) <> 0 OR sum(stored) <> 0";

pub(super) async fn count_all(connections: &Connections) -> Result<Counts, CatalogError> {
    Counts::of(&connections.fetch(sqlx::query(COUNTS)).await?)
}

pub(super) async fn fold(connections: &Connections) -> Result<(), CatalogError> {
    connections.execute(sqlx::query(FOLD_IMAGES)).await?;
    connections.execute(sqlx::query(FOLD_VECTORS)).await?;
    Ok(())
}

/// Folds if it is time to. Nobody's write fails because of it.
pub(super) async fn fold_if_due(connections: &Connections) {
    if connections.is_fold_due()
        && let Err(error) = fold(connections).await
    {
        tracing::debug!(%error, "the counts are folded later");
    }
}
