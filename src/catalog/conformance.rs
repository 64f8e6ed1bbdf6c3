//! What every `Catalog` must do, one test per case. An implementation's tests say `conformance!(make)` with a function that
//! makes a [`Fixture`]: one empty catalog, on which any number of handles can be opened.

pub(crate) mod api_keys;
pub(crate) mod claims;
pub(crate) mod decisions;
pub(crate) mod facts;
pub(crate) mod feedback;
pub(crate) mod images;
pub(crate) mod memory;
pub(crate) mod previews;
pub(crate) mod processes;
pub(crate) mod queue;
pub(crate) mod sources;
pub(crate) mod vectors;
pub(crate) mod workers;

use std::sync::Arc;

use async_trait::async_trait;

use super::*;

pub(crate) const SOURCE: &str = "images";
pub(crate) const MODEL: &str = "clip@1";

/// One catalog.
#[async_trait]
pub(crate) trait Fixture: Send + Sync {
    /// Another handle on it, as another process would have it, which holds its leases under that name.
    async fn open_as(&self, holder: &str) -> Arc<dyn Catalog>;

    async fn open(&self) -> Arc<dyn Catalog> {
        self.open_as("one").await
    }
}

macro_rules! conformance {
    ($(#[$attribute:meta])* $make:path) => {
        conformance! { @tests [$(#[$attribute])*] $make;
            images: [
                recorded_images_are_known_by_scope,
                changed_images_answer_as_before_until_they_are_read,
                an_image_that_changed_to_something_else_answers_no_more,
                gone_images_are_missing_and_come_back_at_no_cost,
                images_that_were_never_read_are_forgotten_at_once,
                missing_images_are_forgotten_after_a_while,
                deleted_images_are_forgotten_at_once,
                duplicates_share_one_content,
                of_many_copies_the_first_names_are_told_and_the_rest_is_paged,
                the_newest_are_paged_by_offset_and_by_cursor,
                failures_are_paged,
                counts_stay_exact,
                odd_names_survive,
            ];
            previews: [previews_are_kept_by_content_and_go_with_the_last_vector];
            sources: [
                images_of_unconfigured_sources_are_hidden_and_dropped,
                images_of_a_source_that_is_away_answer_but_are_not_leased,
                a_moved_library_keeps_its_images,
                sources_are_remembered,
                unnameable_files_are_noted_anew_each_time,
            ];
            queue: [
                leases_are_exclusive_and_fenced,
                a_start_reclaims_what_its_predecessor_held_and_nothing_else,
                images_not_yet_due_are_not_leased,
                interrupted_images_become_suspects_and_come_alone,
                failures_are_counted_shown_and_retried,
                what_is_no_picture_is_skipped_until_it_changes,
                a_vanished_image_counts_only_under_its_lease,
                a_lease_ends_with_the_last_image_that_was_taken_from_it,
            ];
            claims: [
                work_is_claimed_by_one_at_a_time,
                what_a_process_records_that_lost_its_claim_does_not_count,
            ];
            processes: [
                processes_are_seen_until_they_end_or_fall_silent,
                pictures_are_indexed_with_one_model_by_all,
            ];
            vectors: [
                orphans_are_claimed_after_their_grace,
                an_orphan_that_is_wanted_again_is_kept,
                a_vector_that_was_only_intended_is_an_orphan,
                what_is_being_deleted_cannot_be_counted_on,
                an_abandoned_deletion_is_taken_over,
                a_new_model_makes_indexed_images_pending_but_keeps_them_findable,
                lost_vectors_make_their_images_pending,
                used_models_are_noted_and_forgotten_with_their_vectors,
            ];
            facts: [
                images_are_listed_by_when_they_were_taken,
                headers_count_only_for_the_content_that_they_were_read_of,
                changes_of_facets_are_told_once_each,
                words_find_names_folders_and_cameras,
            ];
            api_keys: [keys_are_kept_by_name_and_removed];
            feedback: [feedback_is_stored_once_per_impression];
            memory: [
                ratings_are_followed_in_the_order_of_their_changes,
                vectors_of_queries_are_kept_for_each_model,
                ratings_are_forgotten_with_all_that_belongs_to_them,
            ];
            decisions: [decisions_are_numbered_for_each_gate_by_whoever_decides];
            workers: [
                two_workers_complete_every_image_once_through_kills,
                a_vector_is_never_deleted_under_an_image,
            ];
        }
    };
    (@tests $attributes:tt $make:path; $($part:ident: [$($case:ident),* $(,)?];)*) => {
        $(mod $part {
            use crate::catalog::conformance::conformance;

            $(conformance! { @test $attributes $make; $part $case })*
        })*
    };
    (@test [$(#[$attribute:meta])*] $make:path; $part:ident $case:ident) => {
        $(#[$attribute])*
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $case() {
            crate::catalog::conformance::$part::$case(&$make()).await;
        }
    };
}
pub(crate) use conformance;

pub(crate) fn name(text: &str) -> ImageName {
    ImageName::new(text).expect("a valid name")
}

pub(crate) fn fingerprint(version: &str) -> Fingerprint {
    Fingerprint { size_bytes: 10, version: version.into(), modified_ms: 5 }
}

pub(crate) fn seen(text: &str) -> SeenImage {
    SeenImage { name: name(text), fingerprint: fingerprint("1"), due_ms: 0 }
}

/// The same image with another fingerprint.
pub(crate) fn changed(text: &str, version: &str) -> SeenImage {
    SeenImage { fingerprint: fingerprint(version), ..seen(text) }
}

pub(crate) fn facts() -> PictureFacts {
    PictureFacts { format: "png".into(), width: 3, height: 2 }
}

pub(crate) fn corrupt() -> Failure {
    Failure { code: FailureCode::CorruptImage, reason: "it ends early".into() }
}

pub(crate) async fn record(catalog: &dyn Catalog, names: &[&str]) {
    let images: Vec<SeenImage> = names.iter().map(|text| seen(text)).collect();
    catalog.record(SOURCE, &images, &[], 1).await.expect("record");
}

pub(crate) async fn lose(catalog: &dyn Catalog, text: &str, now_ms: i64) {
    catalog.record(SOURCE, &[], &[name(text)], now_ms).await.expect("record");
}

pub(crate) async fn lease_all(catalog: &dyn Catalog, token: &str) -> Vec<LeasedImage> {
    catalog.lease(1000, token, 10, 100, false).await.expect("lease")
}

/// Leases everything due and completes it, all with the content `content`. Returns how many were.
pub(crate) async fn index_all(catalog: &dyn Catalog, model: &str, content: &[u8]) -> u64 {
    let hash = ContentHash::of(content);
    let leased = lease_all(catalog, "t").await;
    catalog.intend_vectors(model, &[(hash, facts())], 10).await.expect("intend");
    let done: Vec<CompletedImage> = leased
        .iter()
        .map(|image| CompletedImage {
            image_id: image.id,
            hash,
            facts: facts(),
            header: Header::default(),
        })
        .collect();
    catalog.complete(model, "t", &done, 11).await.expect("complete")
}

/// Everything as (pending, indexed, failed, missing, unconfigured).
pub(crate) async fn counts(catalog: &dyn Catalog) -> (u64, u64, u64, u64, u64) {
    let counts = catalog.counts().await.expect("counts");
    (counts.pending, counts.indexed, counts.failed, counts.missing, counts.unconfigured)
}

/// Names under which a content is found.
pub(crate) async fn found(catalog: &dyn Catalog, content: &[u8]) -> Vec<String> {
    let hash = ContentHash::of(content);
    let mut contents = catalog.images_of(&[hash], 100).await.expect("images_of");
    contents
        .remove(&hash)
        .map_or_else(Vec::new, |content| content.names.iter().map(ToString::to_string).collect())
}

pub(crate) async fn claim(catalog: &dyn Catalog, token: &str, before_ms: i64) -> Vec<ContentHash> {
    catalog.claim_orphans(MODEL, before_ms, 10, token, 1_000, 2_000).await.expect("claim")
}
