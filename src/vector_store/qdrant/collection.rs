//! One collection on the server.
//!
//! Writes wait (`wait = true`): the server answers when the points are in its log and can be found. So [`upsert`] and
//! [`delete`] are durable against a crash of the server process when they return, and [`flush`] has nothing to do. What
//! its disk has when the machine loses power is the server's (`flush_interval_sec`) and the replicas' business.
//!
//! The reserved point with the marker is written and read here, and hidden from everything else.
//!
//! [`upsert`]: Collection::upsert
//! [`delete`]: Collection::delete
//! [`flush`]: Collection::flush

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt, stream};
use parking_lot::Mutex;
use qdrant_client::qdrant as proto;
use qdrant_client::qdrant::points_selector::PointsSelectorOneOf;
use qdrant_client::qdrant::{query, vector_input};
use uuid::Uuid;

use super::connection::{Client, Connection};
use super::convert;
use crate::vector_store::marker::MARKER_ID;
use crate::vector_store::ranking::{Candidates, FilteredSearch, TIES_MAX, cuts_a_tie, ranked};
use crate::vector_store::{
    Collection, CollectionSpec, Condition, Effort, Marker, Point, PointFilter, ScoredPoint,
    SearchQuery, StoreError,
};

/// Points in one message with vectors: 10,000 of 512 dimensions are 20 MB.
const PAGE_MAX: usize = 10_000;
/// How old the known size of a collection may be: how many candidates a search looks at depends on it, and only roughly.
const SIZE_KEPT: Duration = Duration::from_mins(1);

pub(super) struct QdrantCollection {
    spec: CollectionSpec,
    full_name: String,
    connection: Arc<Connection>,
    /// Whether the reserved point is known to be among the points. Once there it stays, unless the collection is lost.
    is_marked: AtomicBool,
    /// Points, as far as the server could tell quickly, and when it was asked.
    size: Mutex<Option<(Instant, usize)>>,
}

impl QdrantCollection {
    pub(super) fn new(
        spec: CollectionSpec,
        full_name: String,
        connection: Arc<Connection>,
    ) -> Self {
        Self {
            spec,
            full_name,
            connection,
            is_marked: AtomicBool::new(false),
            size: Mutex::new(None),
        }
    }

    /// Says `Completed`, or that it gave up waiting, which is worth asking again.
    fn done(response: &proto::PointsOperationResponse) -> Result<(), StoreError> {
        let status = response.result.as_ref().map(|result| result.status);
        if status == Some(proto::UpdateStatus::Completed as i32) {
            return Ok(());
        }
        Err(StoreError::Unavailable(format!(
            "the Qdrant server has taken the points but not stored them yet (status {status:?})"
        )))
    }

    async fn upsert_batch(&self, points: Vec<proto::PointStruct>) -> Result<(), StoreError> {
        let request = proto::UpsertPoints {
            collection_name: self.full_name.clone(),
            wait: Some(true),
            points,
            ..proto::UpsertPoints::default()
        };
        let timeout = self.connection.options.write_timeout();
        let call = |mut client: Client, request| async move { client.points.upsert(request).await };
        Self::done(&self.connection.call(&self.spec.name, timeout, request, call).await?)
    }

    async fn count_points(
        &self,
        filter: Option<&PointFilter>,
        exact: bool,
    ) -> Result<u64, StoreError> {
        let request = proto::CountPoints {
            collection_name: self.full_name.clone(),
            filter: filter.map(pictures_only),
            exact: Some(exact),
            ..proto::CountPoints::default()
        };
        let timeout = self.connection.options.read_timeout();
        let call = |mut client: Client, request| async move { client.points.count(request).await };
        let response = self.connection.call(&self.spec.name, timeout, request, call).await?;
        let count = response.result.unwrap_or_default().count;
        // With a filter the server leaves the reserved point out; without one, counting is quick and we do.
        Ok(if filter.is_none() {
            count.saturating_sub(self.reserved_points().await?)
        } else {
            count
        })
    }

    /// Candidates to look at, of which a large collection needs more.
    async fn candidates(&self, at_least: usize) -> Result<usize, StoreError> {
        let known = *self.size.lock();
        let size = match known {
            Some((asked, size)) if asked.elapsed() < SIZE_KEPT => size,
            _ => {
                let size = self.count_points(None, false).await? as usize;
                *self.size.lock() = Some((Instant::now(), size));
                size
            }
        };
        let per_million = self.connection.options.ef_search_per_million;
        Ok(Candidates { at_least, per_million }.among(size))
    }

    async fn reserved_points(&self) -> Result<u64, StoreError> {
        let is_marked =
            self.is_marked.load(Ordering::Relaxed) || self.read_marker().await?.is_some();
        Ok(u64::from(is_marked))
    }

    async fn read_marker(&self) -> Result<Option<Marker>, StoreError> {
        let marker = read_marker(&self.connection, &self.spec.name, &self.full_name).await?;
        self.is_marked.store(marker.is_some(), Ordering::Relaxed);
        Ok(marker)
    }

    async fn query(
        &self,
        vector: &[f32],
        filter: Option<&PointFilter>,
        limit: usize,
        exact: bool,
        ef: usize,
    ) -> Result<Vec<ScoredPoint>, StoreError> {
        let options = &self.connection.options;
        let nearest = proto::VectorInput {
            variant: Some(vector_input::Variant::Dense(proto::DenseVector {
                data: vector.to_vec(),
            })),
        };
        let request = proto::QueryPoints {
            collection_name: self.full_name.clone(),
            query: Some(proto::Query { variant: Some(query::Variant::Nearest(nearest)) }),
            filter: filter.map(convert::to_filter),
            params: Some(convert::search_params(
                exact,
                ef.max(2 * limit) as u64,
                options.quantization,
            )),
            limit: Some(limit as u64 + 1),
            with_payload: Some(true.into()),
            ..proto::QueryPoints::default()
        };
        let call = |mut client: Client, request| async move { client.points.query(request).await };
        let response =
            self.connection.call(&self.spec.name, options.read_timeout(), request, call).await?;
        let hits = response.result.into_iter().filter_map(convert::from_scored);
        Ok(hits.filter(|hit| hit.id != MARKER_ID).take(limit).collect())
    }

    async fn page(
        &self,
        after: Option<Uuid>,
        limit: usize,
        whole: bool,
    ) -> Result<Vec<proto::RetrievedPoint>, StoreError> {
        // The server's offset is inclusive: take one more, and leave it out.
        let request = proto::ScrollPoints {
            collection_name: self.full_name.clone(),
            offset: after.map(convert::point_id),
            limit: u32::try_from(limit + usize::from(after.is_some())).ok(),
            with_payload: Some(whole.into()),
            with_vectors: Some(whole.into()),
            ..proto::ScrollPoints::default()
        };
        // A page carries vectors: it takes as long as a write.
        let timeout = self.connection.options.write_timeout();
        let call = |mut client: Client, request| async move { client.points.scroll(request).await };
        let mut points =
            self.connection.call(&self.spec.name, timeout, request, call).await?.result;
        // The reserved point has the last of all ids: where it is left out, nothing follows.
        let reserved = Some(convert::point_id(MARKER_ID));
        points.retain(|point| {
            point.id.is_some() && point.id != after.map(convert::point_id) && point.id != reserved
        });
        points.truncate(limit);
        Ok(points)
    }

    /// Pages until there are `limit` points or no more.
    async fn scroll_as<T>(
        &self,
        after: Option<Uuid>,
        limit: usize,
        whole: bool,
        convert: impl Fn(proto::RetrievedPoint) -> Option<T>,
    ) -> Result<Vec<T>, StoreError> {
        let (mut points, mut after) = (Vec::new(), after);
        while points.len() < limit {
            let wanted = (limit - points.len()).min(PAGE_MAX);
            let page = self.page(after, wanted, whole).await?;
            let is_last = page.len() < wanted;
            after = page.last().and_then(|point| convert::uuid(point.id.clone()));
            points.extend(page.into_iter().filter_map(&convert));
            if is_last || after.is_none() {
                break;
            }
        }
        Ok(points)
    }

    /// Among equal scores the server's choice is arbitrary; ours is the smallest ids, so all of them must be seen.
    async fn nearest(
        &self,
        vector: &[f32],
        filter: Option<&PointFilter>,
        limit: usize,
        effort: Effort,
    ) -> Result<Vec<ScoredPoint>, StoreError> {
        let exact = effort == Effort::Exact;
        let ef = if exact { 0 } else { self.candidates(self.connection.options.ef_search).await? };
        let mut fetch = limit + 1;
        loop {
            let hits = self.query(vector, filter, fetch, exact, ef).await?;
            if fetch >= limit + TIES_MAX || !cuts_a_tie(&hits, limit, fetch) {
                return Ok(ranked(hits, limit));
            }
            fetch = (fetch * 2 + 16).min(limit + TIES_MAX);
        }
    }
}

/// Looks for the reserved point of a collection, which need not be open.
pub(super) async fn read_marker(
    connection: &Connection,
    name: &str,
    full_name: &str,
) -> Result<Option<Marker>, StoreError> {
    let request = proto::GetPoints {
        collection_name: full_name.to_owned(),
        ids: vec![convert::point_id(MARKER_ID)],
        with_payload: Some(true.into()),
        with_vectors: Some(false.into()),
        ..proto::GetPoints::default()
    };
    let call = |mut client: Client, request| async move { client.points.get(request).await };
    let timeout = connection.options.read_timeout();
    let found = connection.call(name, timeout, request, call).await?.result.pop();
    Ok(found.and_then(|point| Marker::from_payload(&convert::from_payload(point.payload))))
}

/// The filter, and not the reserved point.
fn pictures_only(filter: &PointFilter) -> proto::Filter {
    let mut filter = filter.clone();
    filter.must_not.push(Condition::Ids(vec![MARKER_ID]));
    convert::to_filter(&filter)
}

#[async_trait]
impl Collection for QdrantCollection {
    fn spec(&self) -> &CollectionSpec {
        &self.spec
    }

    async fn marker(&self) -> Result<Option<Marker>, StoreError> {
        self.read_marker().await
    }

    async fn set_marker(&self, marker: &Marker) -> Result<(), StoreError> {
        let point = marker.to_point(self.spec.dim);
        self.upsert_batch(vec![convert::to_point(&point)]).await?;
        self.is_marked.store(true, Ordering::Relaxed);
        Ok(())
    }

    async fn upsert(&self, points: Vec<Point>) -> Result<(), StoreError> {
        points.iter().try_for_each(|point| self.spec.check_vector(&point.vector))?;
        // Batches travel at the same time, so of points with one id only the last may travel.
        let mut seen = HashSet::new();
        let last: Vec<_> = points
            .iter()
            .rev()
            .filter(|point| seen.insert(point.id))
            .map(convert::to_point)
            .collect();
        let options = &self.connection.options;
        let batches: Vec<_> =
            last.chunks(options.upsert_batch_points.max(1)).map(<[_]>::to_vec).collect();
        stream::iter(batches)
            .map(|batch| self.upsert_batch(batch))
            .buffer_unordered(options.upsert_concurrency.max(1))
            .try_collect()
            .await
    }

    async fn flush(&self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn delete(&self, ids: &[Uuid]) -> Result<(), StoreError> {
        let options = &self.connection.options;
        for ids in ids.chunks(options.upsert_batch_points.max(1)) {
            let ids = ids.iter().copied().map(convert::point_id).collect();
            let points = PointsSelectorOneOf::Points(proto::PointsIdsList { ids });
            let request = proto::DeletePoints {
                collection_name: self.full_name.clone(),
                wait: Some(true),
                points: Some(proto::PointsSelector { points_selector_one_of: Some(points) }),
                ..proto::DeletePoints::default()
            };
            let call =
                |mut client: Client, request| async move { client.points.delete(request).await };
            Self::done(
                &self
                    .connection
                    .call(&self.spec.name, options.write_timeout(), request, call)
                    .await?,
            )?;
        }
        Ok(())
    }

    async fn search(&self, query: SearchQuery) -> Result<Vec<ScoredPoint>, StoreError> {
        self.spec.check_vector(&query.vector)?;
        query.filter.iter().try_for_each(|filter| self.spec.check_filter(filter))?;
        let mut limit = query.limit;
        if limit > PAGE_MAX {
            limit = limit.min(self.count_points(None, true).await? as usize);
        }
        if limit == 0 {
            return Ok(Vec::new());
        }
        let Some(filter) = &query.filter else {
            return self.nearest(&query.vector, None, limit, query.effort).await;
        };
        if query.effort != Effort::Exact {
            let (matching, total) = futures::try_join!(
                self.count_points(Some(filter), false),
                self.count_points(None, false)
            )?;
            let options = &self.connection.options;
            let (matching, total) = (matching as usize, total as usize);
            let search =
                FilteredSearch { limit, matching, total, full_scan: options.full_scan_vectors };
            if let Some(fetch) = search.fetch() {
                let ef = self.candidates(options.ef_search_filtered).await?;
                let hits = self.query(&query.vector, None, fetch, false, ef).await?;
                if let Some(hits) = search.kept(hits, filter) {
                    return Ok(hits);
                }
            }
        }
        self.nearest(&query.vector, Some(filter), limit, Effort::Exact).await
    }

    async fn get(&self, ids: &[Uuid]) -> Result<Vec<Point>, StoreError> {
        let mut points = Vec::with_capacity(ids.len());
        for ids in ids.chunks(PAGE_MAX) {
            let request = proto::GetPoints {
                collection_name: self.full_name.clone(),
                ids: ids.iter().copied().map(convert::point_id).collect(),
                with_payload: Some(true.into()),
                with_vectors: Some(true.into()),
                ..proto::GetPoints::default()
            };
            let timeout = self.connection.options.read_timeout();
            let call =
                |mut client: Client, request| async move { client.points.get(request).await };
            let response = self.connection.call(&self.spec.name, timeout, request, call).await?;
            points.extend(response.result.into_iter().filter_map(convert::from_retrieved));
        }
        points.retain(|point| point.id != MARKER_ID);
        Ok(points)
    }

    async fn count(&self, filter: Option<&PointFilter>) -> Result<u64, StoreError> {
        filter.iter().try_for_each(|filter| self.spec.check_filter(filter))?;
        self.count_points(filter, true).await
    }

    async fn scroll(&self, after: Option<Uuid>, limit: usize) -> Result<Vec<Point>, StoreError> {
        self.scroll_as(after, limit, true, convert::from_retrieved).await
    }

    async fn scroll_ids(&self, after: Option<Uuid>, limit: usize) -> Result<Vec<Uuid>, StoreError> {
        self.scroll_as(after, limit, false, |point| convert::uuid(point.id)).await
    }

    /// The server optimises by itself.
    async fn maintain(&self, _busy: bool) -> Result<bool, StoreError> {
        Ok(false)
    }
}
