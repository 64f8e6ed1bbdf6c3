//! What the program counts about itself, in Prometheus' terms. One struct, handed to whoever counts; `/metrics` prints it.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

/// A stage of the way from file to vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum Stage {
    Read,
    Decode,
    Embed,
    Store,
}

/// How a search ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum Outcome {
    Ok,
    Refused,
    Overloaded,
    Failed,
}

/// Label of [`Metrics::stage_seconds`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct StageLabel {
    pub stage: Stage,
}

/// Label of [`Metrics::searches`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OutcomeLabel {
    pub outcome: Outcome,
}

/// Label of [`Metrics::images`]: `pending`, `indexed` or `failed`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct StateLabel {
    /// State of the images counted.
    pub state: &'static str,
}

/// Label of [`Metrics::model`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ModelLabel {
    pub name: String,
    pub revision: String,
    pub engine: &'static str,
    /// What computes inside ONNX Runtime; empty with another engine.
    pub provider: &'static str,
}

/// Label of [`Metrics::process`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ProcessLabel {
    /// `api`, `worker` or `all`.
    pub role: &'static str,
    /// The data folder's name in the catalog.
    pub instance: String,
}

/// Every metric. Cheap to count; encoded on request.
pub struct Metrics {
    registry: Registry,
    /// Images by state, refreshed when asked for.
    pub images: Family<StateLabel, Gauge>,
    /// Images indexed since start.
    pub indexed: Counter,
    /// Images that failed since start.
    pub failed: Counter,
    /// Images indexed a second, over the last seconds.
    pub images_per_second: Gauge<f64, AtomicU64>,
    /// Time per picture (read, decode) or per batch (embed, store).
    pub stage_seconds: Family<StageLabel, Histogram>,
    /// Pictures leased and not yet stored.
    pub in_flight: Gauge,
    /// Sources whose disk, share or folder is away.
    pub sources_away: Gauge,
    /// How long the last comparison of a whole source with the catalog took.
    pub scan_seconds: Gauge<f64, AtomicU64>,
    /// Searches by how they ended.
    pub searches: Family<OutcomeLabel, Counter>,
    /// Whole time of answered searches.
    pub search_seconds: Histogram,
    /// Searches of which was said how strong their matches are.
    pub searches_judged: Counter,
    /// … and which had no strong one.
    pub searches_without_strong_match: Counter,
    /// Searches waiting for their turn.
    pub searches_waiting: Gauge,
    pub feedback: Counter,
    /// Ratings that searches learn from.
    pub remembered_ratings: Gauge,
    /// 1 as long as searches learn from ratings, 0 where that was switched off.
    pub learning_active: Gauge,
    /// 1 as long as what others said counts, 0 until it was found better, or after it was found worse.
    pub learning_from_others: Gauge,
    /// Number of the decision that it goes by.
    pub learning_version: Gauge,
    /// Open connections of clients.
    pub connections: Gauge,
    /// Listeners to events.
    pub event_streams: Gauge,
    /// The model that answers, with value 1; refreshed when asked for.
    pub model: Family<ModelLabel, Gauge>,
    /// What this process is, with value 1, to be joined with everything else.
    pub process: Family<ProcessLabel, Gauge>,
}

fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.0005, 2.0, 16))
}

impl Default for Metrics {
    #[expect(clippy::too_many_lines, reason = "a line for each metric, twice")]
    fn default() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("image_search"),
            images: Family::default(),
            indexed: Counter::default(),
            failed: Counter::default(),
            images_per_second: Gauge::default(),
            stage_seconds: Family::new_with_constructor(seconds),
            in_flight: Gauge::default(),
            sources_away: Gauge::default(),
            scan_seconds: Gauge::default(),
            searches: Family::default(),
            search_seconds: seconds(),
            searches_judged: Counter::default(),
            searches_without_strong_match: Counter::default(),
            searches_waiting: Gauge::default(),
            feedback: Counter::default(),
            remembered_ratings: Gauge::default(),
            learning_active: Gauge::default(),
            learning_from_others: Gauge::default(),
            learning_version: Gauge::default(),
            connections: Gauge::default(),
            event_streams: Gauge::default(),
            model: Family::default(),
            process: Family::default(),
        };
        let registry = &mut metrics.registry;
        registry.register("images", "Images by state", metrics.images.clone());
        registry.register("images_indexed", "Images indexed since start", metrics.indexed.clone());
        registry.register(
            "images_failed",
            "Tries of images that failed since start",
            metrics.failed.clone(),
        );
        registry.register(
            "ingest_images_per_second",
            "Images indexed a second, lately",
            metrics.images_per_second.clone(),
        );
        registry.register_with_unit(
            "ingest_stage",
            "Time per picture (read, decode) or batch (embed, store)",
            Unit::Seconds,
            metrics.stage_seconds.clone(),
        );
        registry.register(
            "ingest_in_flight",
            "Pictures leased and not yet stored",
            metrics.in_flight.clone(),
        );
        registry.register(
            "sources_away",
            "Sources whose disk, share or folder is away",
            metrics.sources_away.clone(),
        );
        registry.register_with_unit(
            "source_scan",
            "Time of the last comparison of a whole source with the catalog",
            Unit::Seconds,
            metrics.scan_seconds.clone(),
        );
        registry.register("searches", "Searches by how they ended", metrics.searches.clone());
        registry.register_with_unit(
            "search",
            "Whole time of answered searches",
            Unit::Seconds,
            metrics.search_seconds.clone(),
        );
        registry.register(
            "searches_judged",
            "Searches of which was said how strong their matches are",
            metrics.searches_judged.clone(),
        );
        registry.register(
            "searches_without_strong_match",
            "Judged searches without a strong match",
            metrics.searches_without_strong_match.clone(),
        );
        registry.register(
            "searches_waiting",
            "Searches waiting for their turn",
            metrics.searches_waiting.clone(),
        );
        registry.register("feedback", "Ratings taken", metrics.feedback.clone());
        registry.register(
            "remembered_ratings",
            "Ratings that searches learn from",
            metrics.remembered_ratings.clone(),
        );
        registry.register(
            "learning_active",
            "Whether searches learn from ratings (1), or that was switched off (0)",
            metrics.learning_active.clone(),
        );
        registry.register(
            "learning_from_others",
            "Whether others' ratings count (1), or only one's own, since nothing shows that they help (0)",
            metrics.learning_from_others.clone(),
        );
        registry.register(
            "learning_version",
            "Number of the decision what searches learn from",
            metrics.learning_version.clone(),
        );
        registry.register("connections", "Open connections", metrics.connections.clone());
        registry.register("event_streams", "Listeners to events", metrics.event_streams.clone());
        registry.register("model", "The model that answers", metrics.model.clone());
        registry.register("process", "What this process is", metrics.process.clone());
        metrics
    }
}

impl Metrics {
    /// Notes how long a stage took.
    pub fn observe(&self, stage: Stage, took: Duration) {
        self.stage_seconds.get_or_create(&StageLabel { stage }).observe(took.as_secs_f64());
    }

    /// Counts the end of a search.
    pub fn count_search(&self, outcome: Outcome) {
        self.searches.get_or_create(&OutcomeLabel { outcome }).inc();
    }

    /// Counts a search of which was said how strong its matches are.
    pub fn count_judged(&self, has_strong: bool) {
        self.searches_judged.inc();
        if !has_strong {
            self.searches_without_strong_match.inc();
        }
    }

    /// Says which model answers, and what computes it.
    pub fn note_model(&self, label: Option<ModelLabel>) {
        self.model.clear();
        if let Some(label) = label {
            self.model.get_or_create(&label).set(1);
        }
    }

    /// Says what this process is.
    pub fn note_process(&self, role: &'static str, instance: &str) {
        let label = ProcessLabel { role, instance: instance.to_owned() };
        self.process.get_or_create(&label).set(1);
    }

    /// The text that Prometheus reads.
    pub fn encode(&self) -> String {
        let mut text = String::new();
        // Writing into a String cannot fail; if it ever did, an empty answer is the honest one.
        if prometheus_client::encoding::text::encode(&mut text, &self.registry).is_err() {
            text.clear();
        }
        text
    }
}
