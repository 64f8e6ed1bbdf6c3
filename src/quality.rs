//! How well searches did, by the ratings that were given: over time, by model, and which queries did worst. The same report for
//! `image-search quality` and for the page at `/quality`, so it brings the description for the API with it.

mod clusters;
mod comparison;
mod decided;
mod statistics;

use std::collections::{BTreeMap, HashMap, HashSet};

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use serde::Serialize;
use utoipa::ToSchema;

pub use self::clusters::Replayed;
pub use self::comparison::{Comparison, Verdict, ndcg};
pub use self::decided::{Decided, Decision, decided};
pub use self::statistics::{Mean, Share};
use self::statistics::{Sum, Votes};
use crate::catalog::{Catalog, CatalogError, RememberedRating};
use crate::moment::timestamp;
use crate::types::ContentHash;

const PAGE: u32 = 500;
/// How the text of a query begins that is a picture.
const PICTURE: &str = "picture:";
/// Queries that did worst, and models, in one report.
const QUERIES_MAX: usize = 20;
const MODELS_MAX: usize = 20;
/// Periods grow until there are no more than these.
const PERIODS_MAX: usize = 40;
/// A query is judged as if it had so many ratings like the mean of all, so that one bad rating does not make it the worst.
const PRIOR_RATINGS: f64 = 2.0;
/// From 1 to 10.
const RATING_REACH: f64 = 9.0;

/// What the ratings say.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Report {
    /// How many answers were rated. Of very many, the newest `learning.ratings_max` are looked at.
    pub ratings: u64,
    /// By how many keys or addresses.
    pub raters: u64,
    /// How many different queries they were for.
    pub queries: u64,
    /// The numbers from 1 to 10; missing if there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<Mean>,
    /// The thumbs on single pictures, as the share of those that are up; missing if there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thumbs: Option<Share>,
    /// How long a period of `over_time` is: `day`, `week` or `month`.
    pub period: Period,
    /// Oldest first; periods without ratings are left out.
    pub over_time: Vec<OfPeriod>,
    /// The model that answered, most ratings first.
    pub by_model: Vec<OfModel>,
    /// Worst first, at most 20 queries.
    pub worst: Vec<OfQuery>,
    /// How much of the library they know of.
    pub coverage: Coverage,
    /// What was decided by them.
    pub decided: Decided,
}

/// Length of a period.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Period {
    Day,
    Week,
    Month,
}

/// The ratings of a period, by when was searched.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct OfPeriod {
    /// Its first day, in UTC.
    pub from: String,
    /// How many there were.
    pub ratings: u64,
    /// The numbers from 1 to 10; missing if there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<Mean>,
    /// The thumbs; missing if there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thumbs: Option<Share>,
}

/// The ratings of a model's answers.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct OfModel {
    /// Its name.
    pub model: String,
    /// Its version; empty if the token did not say.
    pub revision: String,
    /// How many there were.
    pub ratings: u64,
    /// The numbers from 1 to 10; missing if there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<Mean>,
    /// The thumbs; missing if there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thumbs: Option<Share>,
}

/// The ratings of a query.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct OfQuery {
    /// Its words, or `picture:` with the hash of a content.
    pub text: String,
    /// If it is a picture of the library: its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_name: Option<String>,
    /// How many there were.
    pub ratings: u64,
    /// The numbers from 1 to 10; missing if there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<Mean>,
    /// The thumbs; missing if there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thumbs: Option<Share>,
    /// When it was searched for last and then rated, as in RFC 3339.
    pub last_searched: String,
}

/// How much of the library the ratings know of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Coverage {
    /// Pictures that can be found.
    pub images: u64,
    /// Different pictures that stood in rated answers.
    pub shown: u64,
    /// Different pictures that got a thumb.
    pub with_thumbs: u64,
}

/// Reads the newest `ratings_max` ratings.
pub async fn report(catalog: &dyn Catalog, ratings_max: usize) -> Result<Report, CatalogError> {
    let state = catalog.memory_state().await?;
    let most = i64::try_from(ratings_max).unwrap_or(i64::MAX);
    // Every rating has its own number, so no more than that many lie behind it.
    let mut after = state.change.saturating_sub(most).max(0);
    let mut tally = Tally::default();
    loop {
        let page = catalog.remembered(after, PAGE).await?;
        let Some(last) = page.last() else { break };
        after = last.change;
        for rating in &page {
            tally.add(rating);
        }
    }
    let mut report = tally.report(catalog.counts().await?.indexed);
    name_pictures(catalog, &mut report.worst).await?;
    Ok(Report { decided: decided(catalog).await?, ..report })
}

/// What the pictures are called that were searched with.
async fn name_pictures(catalog: &dyn Catalog, queries: &mut [OfQuery]) -> Result<(), CatalogError> {
    let content = |query: &OfQuery| query.text.strip_prefix(PICTURE)?.parse::<ContentHash>().ok();
    let contents: Vec<ContentHash> = queries.iter().filter_map(content).collect();
    let found = catalog.images_of(&contents, 1).await?;
    for query in queries {
        let named = content(query).and_then(|hash| found.get(&hash));
        query.image_name = named.and_then(|named| Some(named.names.first()?.to_string()));
    }
    Ok(())
}

/// Some ratings.
#[derive(Default, Clone)]
struct Group {
    ratings: u64,
    values: Sum,
    thumbs: Votes,
    /// Each rating as a number from 0 to 1, whatever it is made of.
    goodness: Sum,
    last_searched_ms: i64,
}

impl Group {
    fn add(&mut self, rating: &RememberedRating) {
        self.ratings += 1;
        self.last_searched_ms = self.last_searched_ms.max(rating.row.impression.searched_ms);
        let mut thumbs = Votes::default();
        for image in &rating.row.rating.images {
            thumbs.add(image.relevant);
        }
        self.thumbs.merge(thumbs);
        let value = rating.row.rating.value.map(f64::from);
        if let Some(value) = value {
            self.values.add(value);
        }
        let of_value = value.map(|value| (value - 1.0) / RATING_REACH);
        if let Some(goodness) = of_value.or(thumbs.share().map(|share| share.share)) {
            self.goodness.add(goodness);
        }
    }

    fn merge(&mut self, other: &Self) {
        self.ratings += other.ratings;
        self.values.merge(&other.values);
        self.thumbs.merge(other.thumbs);
        self.goodness.merge(&other.goodness);
        self.last_searched_ms = self.last_searched_ms.max(other.last_searched_ms);
    }

    fn value(&self) -> Option<Mean> {
        self.values.mean(1.0, 10.0)
    }

    /// How good it is likely to be; `usual` is what all are.
    fn likely(&self, usual: f64) -> f64 {
        (self.goodness.total() + PRIOR_RATINGS * usual)
            / (self.goodness.count() as f64 + PRIOR_RATINGS)
    }
}

#[derive(Default)]
struct Tally {
    all: Group,
    days: BTreeMap<Date, Group>,
    models: HashMap<String, Group>,
    queries: HashMap<String, Group>,
    raters: HashSet<String>,
    shown: HashSet<u64>,
    with_thumbs: HashSet<u64>,
}

impl Tally {
    fn add(&mut self, rating: &RememberedRating) {
        let impression = &rating.row.impression;
        self.all.add(rating);
        self.days.entry(day_of(impression.searched_ms)).or_default().add(rating);
        self.models.entry(impression.model.clone()).or_default().add(rating);
        self.queries.entry(impression.query.clone()).or_default().add(rating);
        if !self.raters.contains(&rating.rater) {
            self.raters.insert(rating.rater.clone());
        }
        let key = |digits: &str| u64::from_str_radix(digits, 16).ok();
        self.shown.extend(impression.results.iter().filter_map(|it| key(&it.hash_prefix)));
        let thumbs = rating.thumbs.iter().flatten();
        self.with_thumbs.extend(thumbs.filter_map(|thumb| key(&thumb.hash.prefix())));
    }

    fn report(self, images: u64) -> Report {
        let usual = self.all.goodness.mean(0.0, 1.0).map_or(0.5, |mean| mean.mean);
        let (period, periods) = periods(self.days);
        Report {
            ratings: self.all.ratings,
            raters: self.raters.len() as u64,
            queries: self.queries.len() as u64,
            value: self.all.value(),
            thumbs: self.all.thumbs.share(),
            period,
            over_time: periods.into_iter().map(of_period).collect(),
            by_model: by_model(self.models),
            worst: worst(self.queries, usual),
            coverage: Coverage {
                images,
                shown: self.shown.len() as u64,
                with_thumbs: self.with_thumbs.len() as u64,
            },
            decided: Decided::default(),
        }
    }
}

fn day_of(time_ms: i64) -> Date {
    let time = Timestamp::from_millisecond(time_ms).unwrap_or(Timestamp::UNIX_EPOCH);
    time.to_zoned(TimeZone::UTC).date()
}

/// Days, or what is longer, so that there are not too many.
fn periods(days: BTreeMap<Date, Group>) -> (Period, BTreeMap<Date, Group>) {
    let span = match (days.first_key_value(), days.last_key_value()) {
        (Some((first, _)), Some((last, _))) => first.until(*last).map_or(0, |span| span.get_days()),
        _ => 0,
    };
    let days_in = |days: usize| span < i32::try_from(PERIODS_MAX * days).unwrap_or(i32::MAX);
    let period = if days_in(1) {
        Period::Day
    } else if days_in(7) {
        Period::Week
    } else {
        Period::Month
    };
    let mut periods: BTreeMap<Date, Group> = BTreeMap::new();
    for (day, group) in days {
        periods.entry(period.beginning(day)).or_default().merge(&group);
    }
    (period, periods)
}

impl Period {
    fn beginning(self, day: Date) -> Date {
        match self {
            Self::Day => day,
            Self::Week => {
                let since_monday = i64::from(day.weekday().to_monday_zero_offset());
                day.checked_sub(since_monday.days()).unwrap_or(day)
            }
            Self::Month => day.first_of_month(),
        }
    }
}

fn of_period((from, group): (Date, Group)) -> OfPeriod {
    OfPeriod {
        from: from.to_string(),
        ratings: group.ratings,
        value: group.value(),
        thumbs: group.thumbs.share(),
    }
}

fn by_model(models: HashMap<String, Group>) -> Vec<OfModel> {
    let mut models: Vec<(String, Group)> = models.into_iter().collect();
    models.sort_by(|a, b| b.1.ratings.cmp(&a.1.ratings).then_with(|| a.0.cmp(&b.0)));
    models.truncate(MODELS_MAX);
    let of_model = |(id, group): (String, Group)| {
        let (model, revision) = id.rsplit_once('@').unwrap_or((&id, ""));
        OfModel {
            model: model.to_owned(),
            revision: revision.to_owned(),
            ratings: group.ratings,
            value: group.value(),
            thumbs: group.thumbs.share(),
        }
    };
    models.into_iter().map(of_model).collect()
}

fn worst(queries: HashMap<String, Group>, usual: f64) -> Vec<OfQuery> {
    let mut queries: Vec<(String, Group)> =
        queries.into_iter().filter(|(_, group)| group.goodness.count() > 0).collect();
    let likely = |group: &Group| group.likely(usual);
    queries.sort_by(|a, b| likely(&a.1).total_cmp(&likely(&b.1)).then_with(|| a.0.cmp(&b.0)));
    queries.truncate(QUERIES_MAX);
    let of_query = |(text, group): (String, Group)| OfQuery {
        text,
        image_name: None,
        ratings: group.ratings,
        value: group.value(),
        thumbs: group.thumbs.share(),
        last_searched: timestamp(group.last_searched_ms),
    };
    queries.into_iter().map(of_query).collect()
}

#[cfg(test)]
mod tests;
