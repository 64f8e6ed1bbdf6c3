//! Copies a collection into another store without computing an embedding again, and proves that it arrived.
//! Sends only what is missing, in the order of ids, so a copy that was interrupted is finished by copying again.

use std::collections::BTreeSet;

use uuid::Uuid;

use super::{Collection, Effort, Point, SearchQuery, StoreError};

/// Ids compared at a time; after each such page the target is flushed.
const IDS_PER_PAGE: usize = 5_000;
/// Points read and written at a time.
const POINTS_PER_BATCH: usize = 1_000;
/// Points, spread over the collection, that are compared and searched for at the end.
const SAMPLES: u64 = 50;
const SAMPLE_LIMIT: usize = 10;
/// Stores normalise vectors once more, and sum in another order.
const TOLERANCE: f32 = 1e-4;

/// How far a copy is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CopyProgress {
    /// Points of the source, counted at the beginning.
    pub total: u64,
    /// Points of the source that the target has by now.
    pub done: u64,
    /// Of these, points that were sent.
    pub copied: u64,
}

/// What a finished copy did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CopyReport {
    /// Points of the source, all of which the target has now.
    pub total: u64,
    /// Points that were sent.
    pub copied: u64,
    /// Points of the target that the source does not have; they were left alone.
    pub extra: u64,
    /// Points that were compared, and searched for in both unless the target has more points than the source.
    pub sampled: u64,
}

/// Why a copy failed.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// One of the stores failed; copying again goes on from there.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The copy is not what the source is.
    #[error("the copy differs from its source: {0}; stop indexing meanwhile, and copy again")]
    Differs(String),
}

/// Copies what `to` does not have yet, then compares counts and samples. `progress` is called now and then.
pub async fn copy(
    from: &dyn Collection,
    to: &dyn Collection,
    progress: &mut (dyn FnMut(CopyProgress) + Send),
) -> Result<CopyReport, CopyError> {
    let (expected, got) = (to.spec().dim, from.spec().dim);
    if expected != got {
        return Err(StoreError::WrongDimension {
            collection: to.spec().name.clone(),
            expected,
            got,
        }
        .into());
    }
    let mut state = CopyProgress { total: from.count(None).await?, ..CopyProgress::default() };
    let (mut extra, mut after) = (0, None);
    let step = (state.total / SAMPLES).max(1);
    let mut samples = Vec::new();
    loop {
        progress(state);
        let wanted = from.scroll_ids(after, IDS_PER_PAGE).await?;
        let present = ids_between(to, after, wanted.last().copied()).await?;
        let missing: Vec<Uuid> =
            wanted.iter().filter(|id| !present.contains(id)).copied().collect();
        extra += present.len() as u64 - (wanted.len() - missing.len()) as u64;
        if wanted.is_empty() {
            break;
        }
        for batch in missing.chunks(POINTS_PER_BATCH) {
            to.upsert(from.get(batch).await?).await?;
            state.copied += batch.len() as u64;
            progress(CopyProgress { done: state.done + batch.len() as u64, ..state });
        }
        if !missing.is_empty() {
            to.flush().await?;
        }
        let numbered = (state.done..).zip(&wanted);
        samples
            .extend(numbered.filter(|(number, _)| number.is_multiple_of(step)).map(|(_, id)| *id));
        state.done += wanted.len() as u64;
        after = wanted.last().copied();
    }
    verify(from, to, extra, &samples).await?;
    Ok(CopyReport { total: state.done, copied: state.copied, extra, sampled: samples.len() as u64 })
}

/// Ids greater than `after` and, if given, not greater than `last`.
async fn ids_between(
    collection: &dyn Collection,
    after: Option<Uuid>,
    last: Option<Uuid>,
) -> Result<BTreeSet<Uuid>, StoreError> {
    let mut ids = BTreeSet::new();
    let mut from = after;
    loop {
        let page = collection.scroll_ids(from, IDS_PER_PAGE).await?;
        let beyond = page.last().is_none_or(|id| last.is_some_and(|last| *id >= last));
        from = page.last().copied();
        ids.extend(page.into_iter().filter(|id| last.is_none_or(|last| *id <= last)));
        if beyond {
            return Ok(ids);
        }
    }
}

async fn verify(
    from: &dyn Collection,
    to: &dyn Collection,
    extra: u64,
    samples: &[Uuid],
) -> Result<(), CopyError> {
    let (source, target) = (from.count(None).await?, to.count(None).await?);
    if source + extra != target {
        return Err(CopyError::Differs(format!(
            "{source} points became {target}, of which {extra} are not from there"
        )));
    }
    let by_id = |mut points: Vec<Point>| {
        points.sort_by_key(|point| point.id);
        points
    };
    let (source, target) = (by_id(from.get(samples).await?), by_id(to.get(samples).await?));
    if source.len() != target.len() {
        return Err(CopyError::Differs(format!(
            "of {} sampled points {} arrived",
            source.len(),
            target.len()
        )));
    }
    for (source, target) in source.iter().zip(&target) {
        let near = source.vector.iter().zip(&target.vector).all(|(a, b)| (a - b).abs() < TOLERANCE);
        if !near || (source.id, &source.payload) != (target.id, &target.payload) {
            return Err(CopyError::Differs(format!("point {} is another one", source.id)));
        }
    }
    if extra == 0 {
        for point in source {
            compare_searches(from, to, point).await?;
        }
    }
    Ok(())
}

/// The same scores; the ids may differ where scores are equal but for rounding.
async fn compare_searches(
    from: &dyn Collection,
    to: &dyn Collection,
    point: Point,
) -> Result<(), CopyError> {
    let query = SearchQuery {
        vector: point.vector,
        limit: SAMPLE_LIMIT,
        filter: None,
        effort: Effort::Exact,
    };
    let (source, target) = (from.search(query.clone()).await?, to.search(query).await?);
    let alike = source.iter().zip(&target).all(|(a, b)| (a.score - b.score).abs() < TOLERANCE);
    if source.len() != target.len() || !alike {
        return Err(CopyError::Differs(format!(
            "searching for point {} finds something else",
            point.id
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::VectorStore;
    use super::super::conformance::{
        Outcome, Subject, assert_same, id, point, scroll_all, spec, vector,
    };
    use super::super::embedded::{EmbeddedOptions, EmbeddedStore};
    use super::super::qdrant::tests::OverDouble;
    use super::*;
    use crate::config::built_in;

    const DIM: usize = 16;

    fn failed(error: CopyError) -> StoreError {
        match error {
            CopyError::Store(error) => error,
            CopyError::Differs(text) => StoreError::Internal(text),
        }
    }

    fn store(dir: &tempfile::TempDir, name: &str) -> Result<EmbeddedStore, StoreError> {
        let options = EmbeddedOptions { disk_reserve_mib: 0, ..built_in().vector_store.embedded };
        EmbeddedStore::open(&dir.path().join(name), options)
    }

    fn temp_dir() -> Result<tempfile::TempDir, StoreError> {
        tempfile::tempdir().map_err(|error| StoreError::Internal(error.to_string()))
    }

    /// A plain upsert wants points in batches; ids spread over the whole range.
    async fn fill(collection: &dyn Collection, count: u64) -> Outcome {
        for start in (0..count).step_by(1000) {
            let spread = |number: u64| Uuid::new_v5(&Uuid::NAMESPACE_OID, &number.to_be_bytes());
            let numbers = start..(start + 1000).min(count);
            collection
                .upsert(
                    numbers
                        .map(|number| Point { id: spread(number), ..point(number, DIM) })
                        .collect(),
                )
                .await?;
        }
        collection.flush().await
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn fifty_thousand_vectors_go_to_a_server_and_back() -> Outcome {
        const COUNT: u64 = 50_000;
        let dir = temp_dir()?;
        let (first, last) = (store(&dir, "first")?, store(&dir, "last")?);
        let Some(server) = OverDouble::start().await? else { return Ok(()) };
        let between = server.open().await?;
        let (a, b, c) = (
            first.open(&spec("copied", DIM)).await?,
            between.open(&spec("copied", DIM)).await?,
            last.open(&spec("copied", DIM)).await?,
        );
        fill(&*a, COUNT).await?;
        let mut seen = Vec::new();
        let there = copy(&*a, &*b, &mut |progress| seen.push(progress)).await.map_err(failed)?;
        let whole = CopyReport { total: COUNT, copied: COUNT, extra: 0, sampled: 50 };
        assert_eq!(there, whole);
        assert!(seen.is_sorted_by_key(|progress| progress.done));
        assert_eq!(seen.last(), Some(&CopyProgress { total: COUNT, done: COUNT, copied: COUNT }));
        assert_eq!(copy(&*b, &*c, &mut |_| ()).await.map_err(failed)?, whole);
        let (before, after) = (scroll_all(&*a, 5000).await?, scroll_all(&*c, 5000).await?);
        assert_eq!(before.len(), after.len());
        before.iter().zip(&after).for_each(|(before, after)| assert_same(after, before));
        Ok(())
    }

    #[tokio::test]
    async fn an_interrupted_copy_sends_only_the_rest_wherever_the_gaps_are() -> Outcome {
        let dir = temp_dir()?;
        let (from, to) = (store(&dir, "from")?, store(&dir, "to")?);
        let (from, to) = (from.open(&spec("c", DIM)).await?, to.open(&spec("c", DIM)).await?);
        fill(&*from, 12_000).await?;
        let all = scroll_all(&*from, 5000).await?;
        let some = all.iter().enumerate().filter(|(number, _)| number % 7 != 0 && *number < 9_000);
        to.upsert(some.map(|(_, point)| point.clone()).collect()).await?;
        let had = to.count(None).await?;
        let report = copy(&*from, &*to, &mut |_| ()).await.map_err(failed)?;
        assert_eq!(
            report,
            CopyReport { total: 12_000, copied: 12_000 - had, extra: 0, sampled: 50 }
        );
        let again = copy(&*from, &*to, &mut |_| ()).await.map_err(failed)?;
        assert_eq!(again.copied, 0);
        Ok(())
    }

    #[tokio::test]
    async fn what_the_target_has_besides_is_counted_and_left_alone() -> Outcome {
        let dir = temp_dir()?;
        let (from, to) = (store(&dir, "from")?, store(&dir, "to")?);
        let (from, to) = (from.open(&spec("c", DIM)).await?, to.open(&spec("c", DIM)).await?);
        from.upsert((100..200).map(|number| point(number, DIM)).collect()).await?;
        to.upsert([5, 150, 151, 900].map(|number| point(number, DIM)).to_vec()).await?;
        let report = copy(&*from, &*to, &mut |_| ()).await.map_err(failed)?;
        assert_eq!(report, CopyReport { total: 100, copied: 98, extra: 2, sampled: 50 });
        assert_eq!(to.count(None).await?, 102);
        Ok(())
    }

    #[tokio::test]
    async fn another_vector_under_the_same_id_is_noticed() -> Outcome {
        let dir = temp_dir()?;
        let (from, to) = (store(&dir, "from")?, store(&dir, "to")?);
        let (from, to) = (from.open(&spec("c", DIM)).await?, to.open(&spec("c", DIM)).await?);
        from.upsert((0..20).map(|number| point(number, DIM)).collect()).await?;
        to.upsert(vec![Point { vector: vector(77, DIM), ..point(3, DIM) }]).await?;
        let outcome = copy(&*from, &*to, &mut |_| ()).await;
        assert!(
            matches!(&outcome, Err(CopyError::Differs(text)) if text.contains(&id(3).to_string())),
            "{outcome:?}"
        );
        Ok(())
    }

    #[tokio::test]
    async fn empty_collections_and_wrong_dimensions() -> Outcome {
        let dir = temp_dir()?;
        let (from, to) = (store(&dir, "from")?, store(&dir, "to")?);
        let (empty, other) =
            (from.open(&spec("empty", DIM)).await?, to.open(&spec("other", DIM + 1)).await?);
        let target = to.open(&spec("empty", DIM)).await?;
        assert_eq!(
            copy(&*empty, &*target, &mut |_| ()).await.map_err(failed)?,
            CopyReport::default()
        );
        let outcome = copy(&*empty, &*other, &mut |_| ()).await;
        assert!(
            matches!(outcome, Err(CopyError::Store(StoreError::WrongDimension { .. }))),
            "{outcome:?}"
        );
        Ok(())
    }
}
