//! One collection on the server.
//!
//! Writes wait (`wait = true`): the server answers when the points are in its log and can be found. So [`upsert`] and
//! [`delete`] are durable against a crash of the server process when they return, and [`flush`] has nothing to do. What
//! its disk has when the machine loses power is the server's (`flush_interval_sec`) and the replicas' business.
//!
//! [`upsert`]: Collection::upsert
//! [`delete`]: Collection::delete
//! [`flush`]: Collection::flush

use std::collections::HashSet;
use std::sync::Arc;

use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt, stream};
use qdrant_client::Qdrant;
use qdrant_client::qdrant as proto;
use qdrant_client::qdrant::points_selector::PointsSelectorOneOf;
use qdrant_client::qdrant::{query, vector_input};
use uuid::Uuid;

use super::connection::Connection;
use super::convert;
use crate::vector_store::ranking::{FilteredSearch, TIES_MAX, cuts_a_tie, ranked};
use crate::vector_store::{
    Collection, CollectionSpec, Filter, Point, ScoredPoint, SearchQuery, StoreError,
};

/// Points in one message with vectors: 10,000 of 512 dimensions are 20 MB.
const PAGE_MAX: usize = 10_000;

pub(super) struct QdrantCollection {
    spec: CollectionSpec,
    full_name: String,
    connection: Arc<Connection>,
}

impl QdrantCollection {
    pub(super) fn new(
        spec: CollectionSpec,
        full_name: String,
        connection: Arc<Connection>,
    ) -> Self {
        Self { spec, full_name, connection }
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
        let call = |client: Qdrant, request| async move { client.upsert_points(request).await };
        Self::done(&self.connection.call(&self.spec.name, timeout, request, call).await?)
    }

    async fn count_points(&self, filter: Option<&Filter>, exact: bool) -> Result<u64, StoreError> {
        let request = proto::CountPoints {
            collection_name: self.full_name.clone(),
            filter: filter.map(convert::to_filter),
            exact: Some(exact),
            ..proto::CountPoints::default()
        };
        let timeout = self.connection.options.read_timeout();
        let call = |client: Qdrant, request| async move { client.count(request).await };
        let response = self.connection.call(&self.spec.name, timeout, request, call).await?;
        Ok(response.result.unwrap_or_default().count)
    }

    async fn query(
        &self,
        vector: &[f32],
        filter: Option<&Filter>,
        limit: usize,
        exact: bool,
        ef: u64,
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
                ef.max(2 * limit as u64),
                options.quantization,
            )),
            limit: Some(limit as u64),
            with_payload: Some(true.into()),
            ..proto::QueryPoints::default()
        };
        let call = |client: Qdrant, request| async move { client.query(request).await };
        let response =
            self.connection.call(&self.spec.name, options.read_timeout(), request, call).await?;
        Ok(response.result.into_iter().filter_map(convert::from_scored).collect())
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
        let call = |client: Qdrant, request| async move { client.scroll(request).await };
        let mut points =
            self.connection.call(&self.spec.name, timeout, request, call).await?.result;
        points.retain(|point| point.id.is_some() && point.id != after.map(convert::point_id));
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
        filter: Option<&Filter>,
        limit: usize,
        exact: bool,
    ) -> Result<Vec<ScoredPoint>, StoreError> {
        let mut fetch = limit + 1;
        loop {
            let hits =
                self.query(vector, filter, fetch, exact, self.connection.options.ef_search).await?;
            if fetch >= limit + TIES_MAX || !cuts_a_tie(&hits, limit, fetch) {
                return Ok(ranked(hits, limit));
            }
            fetch = (fetch * 2 + 16).min(limit + TIES_MAX);
        }
    }
}

#[async_trait]
impl Collection for QdrantCollection {
    fn spec(&self) -> &CollectionSpec {
        &self.spec
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
            let call = |client: Qdrant, request| async move { client.delete_points(request).await };
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
            return self.nearest(&query.vector, None, limit, query.exact).await;
        };
        if !query.exact {
            let (matching, total) = futures::try_join!(
                self.count_points(Some(filter), false),
                self.count_points(None, false)
            )?;
            let options = &self.connection.options;
            let (matching, total) = (matching as usize, total as usize);
            let search =
                FilteredSearch { limit, matching, total, full_scan: options.full_scan_vectors };
            if let Some(fetch) = search.fetch() {
                let hits = self
                    .query(&query.vector, None, fetch, false, options.ef_search_filtered)
                    .await?;
                if let Some(hits) = search.kept(hits, filter) {
                    return Ok(hits);
                }
            }
        }
        self.nearest(&query.vector, Some(filter), limit, true).await
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
            let call = |client: Qdrant, request| async move { client.get_points(request).await };
            let response = self.connection.call(&self.spec.name, timeout, request, call).await?;
            points.extend(response.result.into_iter().filter_map(convert::from_retrieved));
        }
        Ok(points)
    }

    async fn count(&self, filter: Option<&Filter>) -> Result<u64, StoreError> {
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
