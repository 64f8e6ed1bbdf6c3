//! One test of the whole: two replicas and four workers on PostgreSQL, a bucket and a vector store, all of which are ended, halted
//! and started again at random while people search and rate and pictures come and go. In the end every picture is indexed
//! once, every rating that was acknowledged is there, and no answer was wrong. `make test-whole` runs it, from a seed that it
//! says: `WHOLE_SEED`, `WHOLE_SECONDS` and `WHOLE_OBJECTS` repeat a run or change it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD as BASE64, URL_SAFE_NO_PAD};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::fault_proxy::Weather;
use crate::fleet::Fleet;
use crate::harness::{Server, World, client, ok_json, picture, repository};
use crate::model_based::Chance;

const APIS: usize = 2;
const WORKERS: usize = 4;
const TEXTS: [&str; 5] = ["tennis", "a red apple", "a dog", "the sea at night", "two people"];
const RESULTS: u32 = 100;
/// After the last disturbance nothing moves for so long only if something is wrong; how slow the machine is does not matter.
const PATIENCE: Duration = Duration::from_mins(5);
const QUICKEST_ANSWER: Duration = Duration::from_secs(20);

fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

/// What was done, kept beside the build.
struct Log {
    file: Mutex<std::fs::File>,
    path: PathBuf,
    began: Instant,
}

impl Log {
    fn new(seed: u64) -> Self {
        let dir = repository().join("target/whole");
        std::fs::create_dir_all(&dir).expect("mkdir");
        let path = dir.join(format!("{seed}.log"));
        let file = Mutex::new(std::fs::File::create(&path).expect("a log"));
        Self { file, path, began: Instant::now() }
    }

    fn say(&self, what: impl std::fmt::Display) {
        let line = format!("{:8.2} {what}\n", self.began.elapsed().as_secs_f64());
        self.file.lock().write_all(line.as_bytes()).expect("written");
    }
}

/// Pictures in the bucket, by their numbers.
struct Bucket {
    server: String,
    name: String,
    there: BTreeSet<u32>,
    next: u32,
}

impl Bucket {
    async fn make() -> Self {
        let server = std::env::var("S3_TEST_URL").expect("S3_TEST_URL; run make test-whole");
        let name = format!("whole-{}", uuid::Uuid::new_v4());
        let bucket = Self { server, name, there: BTreeSet::new(), next: 0 };
        bucket.control("make", json!({})).await;
        bucket
    }

    async fn control(&self, what: &str, body: Value) -> Value {
        let address = format!("{}/_test/{what}/{}", self.server, self.name);
        ok_json(client().post(address).json(&body).send().await.expect("an answer")).await
    }

    async fn add(&mut self, count: u32) {
        for from in (self.next..self.next + count).step_by(250) {
            let numbers = from..(from + 250).min(self.next + count);
            let objects = numbers.map(|number| {
                let content = BASE64.encode(picture(number));
                (format!("photos/{}", name_of(number)), Value::String(content))
            });
            self.control("fill", Value::Object(objects.collect())).await;
        }
        self.there.extend(self.next..self.next + count);
        self.next += count;
    }

    /// Removes so many, as long as `least` are left.
    async fn remove(&mut self, chance: &mut Chance, count: u32, least: u32) {
        for _ in 0..count.min((self.there.len() as u32).saturating_sub(least)) {
            let place = chance.below(self.there.len());
            let number = *self.there.iter().nth(place).expect("one is there");
            self.there.remove(&number);
            let key = format!("photos/{}", name_of(number));
            self.control("remove", json!({ "keys": [key] })).await;
        }
    }

    /// Everything is refused after `hang_s`, or (with nothing) answered again.
    async fn refuse(&self, hang_s: Option<u64>) {
        let fault = json!({
            "status": 503, "code": "SlowDown", "count": if hang_s.is_some() { -1 } else { 0 },
            "hang_s": hang_s.unwrap_or_default(),
        });
        self.control("fault", fault).await;
    }
}

fn name_of(number: u32) -> String {
    format!("{}/{number}.png", number % 17)
}

/// What people saw and were promised.
#[derive(Default)]
struct Witness {
    /// By text and name.
    scores: HashMap<(usize, String), f64>,
    /// Acknowledged, by the search they rate.
    ratings: BTreeMap<String, u64>,
    answers: u64,
    refused: u64,
}

impl Witness {
    fn is_served(&self) -> bool {
        self.answers > 0 && !self.ratings.is_empty()
    }

    /// An answer may be of any moment, but not wrong: what is in it has the score that it always has, and is there once.
    fn check(&mut self, text: usize, answer: &Value) {
        let matches = answer["matches"].as_array().expect("matches");
        let mut names = BTreeSet::new();
        let mut last = f64::INFINITY;
        for found in matches {
            let name = found["image_name"].as_str().expect("a name").to_owned();
            let score = found["score"].as_f64().expect("a score");
            assert!(score <= last, "{name} is out of order");
            last = score;
            let number = name.rsplit('/').next().and_then(|file| file.strip_suffix(".png"));
            let number: u32 = number.and_then(|number| number.parse().ok()).expect("one of ours");
            assert_eq!(name, name_of(number));
            assert!(names.insert(name.clone()), "{name} is listed twice");
            // A picture that was embedded twice, in other company, differs by less.
            let before = *self.scores.entry((text, name.clone())).or_insert(score);
            assert!((before - score).abs() < 0.001, "{name} has {score}, and had {before}");
        }
        self.answers += 1;
    }
}

/// The id of the search that a token is about.
fn search_of(jwt: &str) -> String {
    let claims = jwt.split('.').nth(1).expect("claims");
    let claims = URL_SAFE_NO_PAD.decode(claims).expect("base64");
    let claims: Value = serde_json::from_slice(&claims).expect("JSON");
    claims["jti"].as_str().expect("an id").to_owned()
}

/// Searches and rates until `stop`, each time with any two replicas.
async fn use_it(
    apis: Arc<Mutex<Vec<String>>>,
    witness: Arc<Mutex<Witness>>,
    mut chance: Chance,
    stop: CancellationToken,
) {
    let client = client();
    while !stop.is_cancelled() {
        let text = chance.below(TEXTS.len());
        let [asked, told] = [0, 1].map(|_| {
            let apis = apis.lock();
            apis[chance.below(apis.len())].clone()
        });
        let post = async |server: &str, path: &str, body: &Value| {
            let request = client.post(format!("{server}{path}")).json(body);
            request.timeout(QUICKEST_ANSWER).send().await.ok()
        };
        let query = json!({ "text": TEXTS[text], "limit": RESULTS });
        let answer = match post(&asked, "/api/v1/search-image", &query).await {
            Some(answer) if answer.status() == 200 => answer.json::<Value>().await.ok(),
            Some(answer) => {
                let status = answer.status().as_u16();
                assert!(status == 503 || status == 500, "a search was answered {status}");
                None
            }
            None => None,
        };
        let Some(answer) = answer else {
            witness.lock().refused += 1;
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        witness.lock().check(text, &answer);
        let value = 1 + chance.below(10) as u64;
        let rating = json!({ "user_feedback": value, "jwt": answer["jwt"] });
        let rated = post(&told, "/api/v1/create-feedback", &rating).await;
        if let Some(rated) = rated.map(|rated| rated.status().as_u16()) {
            assert!([200, 201, 500, 503].contains(&rated), "a rating was answered {rated}");
            if rated < 300 {
                let search = search_of(answer["jwt"].as_str().expect("a token"));
                witness.lock().ratings.insert(search, value);
            }
        }
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
}

/// A machine and the process on it.
struct Member {
    name: String,
    world: World,
    server: Option<Server>,
    is_halted: bool,
}

/// What is disturbed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Member(usize),
    Database,
    Store,
    Bucket,
}

struct Whole {
    fleet: Fleet,
    bucket: Bucket,
    members: Vec<Member>,
    apis: Arc<Mutex<Vec<String>>>,
    chance: Chance,
    log: Log,
}

impl Whole {
    async fn start(seed: u64) -> Self {
        let (fleet, bucket, log) = (Fleet::new().await, Bucket::make().await, Log::new(seed));
        let source = format!("s3://{}/photos", bucket.name);
        let member = |number: usize| {
            let role = if number < APIS { "api" } else { "worker" };
            let world = fleet
                .machine(role, "emoji-clip".as_ref())
                .source(&source)
                .set("SOURCE__S3__ENDPOINT", &bucket.server)
                // Longer than the stand-in takes on a busy machine.
                .set("SOURCE__S3__TIMEOUT_MS", "30000")
                .set("SOURCE__S3__RETRY_FOR_MS", "4000")
                .set("INGEST__LEASE_MS", "60000")
                .variable("AWS_ACCESS_KEY_ID", "test")
                .variable("AWS_SECRET_ACCESS_KEY", "test-secret")
                .set("LEARNING__ENABLED", "false")
                .set("INGEST__SCAN_SHARE_MAX_PERCENT", "50")
                .set("INGEST__SCAN_INTERVAL_MS", "3000")
                .set("INGEST__FORGET_AFTER_DAYS", "0")
                .set("INGEST__ORPHAN_GRACE_MS", "2000")
                .set("INGEST__IN_FLIGHT_MAX", "24")
                .set("CATALOG__POSTGRES__START_PATIENCE_MS", "120000")
                .set("EMBED__THREADS", "1")
                .set("EMBED__LANES", "1")
                .set("DECODE__THREADS", "1")
                .set("SERVER__SHUTDOWN_TIMEOUT_MS", "60000");
            Member { name: format!("{role} {number}"), world, server: None, is_halted: false }
        };
        let members = (0..APIS + WORKERS).map(member).collect();
        let apis = Arc::new(Mutex::new(vec![String::new(); APIS]));
        let mut whole = Self { fleet, bucket, members, apis, chance: Chance(seed), log };
        for number in 0..APIS + WORKERS {
            whole.start_member(number);
        }
        whole
    }

    fn start_member(&mut self, number: usize) {
        let server = tokio::task::block_in_place(|| self.members[number].world.start());
        if number < APIS {
            self.apis.lock()[number].clone_from(&server.url);
        }
        self.members[number].server = Some(server);
    }

    async fn begin(&mut self, part: Part) -> &'static str {
        let is_halt = self.chance.below(2) == 0;
        match (part, is_halt) {
            (Part::Member(number), true) => {
                self.members[number].is_halted = true;
                self.members[number].server.as_ref().expect("it runs").signal("STOP");
                "halted"
            }
            (Part::Member(number), false) => {
                self.members[number].server.take().expect("it runs").kill_9();
                "killed"
            }
            (Part::Database, true) => {
                self.fleet.postgres.pause(true).expect("halted");
                "halted"
            }
            (Part::Database, false) => {
                tokio::task::block_in_place(|| self.fleet.postgres.stop());
                "ended"
            }
            (Part::Store, true) => {
                self.fleet.proxy.set(Weather::Silent);
                "halted"
            }
            (Part::Store, false) => {
                self.fleet.proxy.set(Weather::Reset);
                "gone"
            }
            (Part::Bucket, is_slow) => {
                self.bucket.refuse(Some(if is_slow { 3 } else { 0 })).await;
                if is_slow { "slow and refusing" } else { "refusing" }
            }
        }
    }

    async fn end(&mut self, part: Part, how: &str) {
        match part {
            Part::Member(number) if self.members[number].is_halted => {
                self.members[number].is_halted = false;
                self.members[number].server.as_ref().expect("it is halted").signal("CONT");
            }
            Part::Member(number) => self.start_member(number),
            Part::Database if how == "halted" => {
                self.fleet.postgres.pause(false).expect("it goes on");
            }
            Part::Database => {
                tokio::task::block_in_place(|| self.fleet.postgres.start_again()).expect("up");
            }
            Part::Store => self.fleet.proxy.set(Weather::Fair),
            Part::Bucket => self.bucket.refuse(None).await,
        }
    }

    /// Ends and halts parts, up to three at a time, and changes the bucket, for so long. All is well in the end.
    async fn disturb(&mut self, duration: Duration, objects: u32) {
        let until = Instant::now() + duration;
        let mut disturbed: Vec<(Part, &str, Instant)> = Vec::new();
        while Instant::now() < until {
            let (now, is_full) = (Instant::now(), disturbed.len() >= 3);
            let over: Vec<_> = disturbed.extract_if(.., |(.., end)| *end <= now).collect();
            // Whoever starts a process looks to it that there is a database: so that comes first.
            let (database, others): (Vec<_>, Vec<_>) =
                over.into_iter().partition(|(part, ..)| *part == Part::Database);
            for (part, how, end) in database.into_iter().chain(others) {
                let has_database = !disturbed.iter().any(|(part, ..)| *part == Part::Database);
                if matches!(part, Part::Member(_)) && how == "killed" && !has_database {
                    disturbed.push((part, how, end + Duration::from_secs(1)));
                    continue;
                }
                self.end(part, how).await;
                self.log.say(format_args!("{} goes on", self.named(part)));
            }
            let part = match self.chance.below(10) {
                0 | 1 => Part::Database,
                2 => Part::Store,
                3 => Part::Bucket,
                _ => Part::Member(self.chance.below(self.members.len())),
            };
            if !is_full && !disturbed.iter().any(|(other, ..)| *other == part) {
                let how = self.begin(part).await;
                let lasts = Duration::from_millis(500 + self.chance.below(6500) as u64);
                self.log.say(format_args!("{} is {how} for {lasts:?}", self.named(part)));
                disturbed.push((part, how, Instant::now() + lasts));
            }
            let is_growing = self.bucket.next < objects;
            self.bucket.add(if is_growing { objects / 25 } else { objects / 200 }).await;
            self.bucket.remove(&mut self.chance, objects / 200, objects / 3).await;
            tokio::time::sleep(Duration::from_millis(200 + self.chance.below(1500) as u64)).await;
        }
        disturbed.sort_by_key(|(part, ..)| *part != Part::Database);
        for (part, how, _) in disturbed {
            self.end(part, how).await;
            self.log.say(format_args!("{} goes on", self.named(part)));
        }
    }

    fn named(&self, part: Part) -> String {
        match part {
            Part::Member(number) => self.members[number].name.clone(),
            part => format!("{part:?}").to_lowercase(),
        }
    }

    fn api(&self, number: usize) -> &Server {
        self.members[number].server.as_ref().expect("it runs")
    }

    /// Every picture is indexed once, and nothing else is there.
    async fn until_complete(&self) {
        let (expected, began) = (self.bucket.there.len() as u64, Instant::now());
        let (mut last, mut moved) = (Value::Null, Instant::now());
        loop {
            let answer = self.api(0).get("/api/v1/status").send().await;
            let status = match answer {
                Ok(answer) if answer.status() == 200 => answer.json().await.unwrap_or(Value::Null),
                _ => Value::Null,
            };
            let images = &status["images"];
            if images["indexed"] == expected
                && images["total"] == expected
                && images["missing"] == 0
                && status["store"]["vectors"] == expected
                // As many came as went in the last moment, and nobody has looked since.
                && self.names_indexed() == self.names_expected()
                && self.vectors_noted() == expected.to_string()
                && self.left_over().is_empty()
            {
                self.log.say(format_args!("complete after {:?}", began.elapsed()));
                break;
            }
            let now = json!([images, status["store"]["vectors"]]);
            if now != last {
                (last, moved) = (now, Instant::now());
            }
            if moved.elapsed() > PATIENCE {
                let logs: Vec<String> = self.members.iter().map(last_lines).collect();
                let left = self.left_over();
                panic!(
                    "{expected} pictures are not complete: {status}\n{left}\n{}",
                    logs.join("\n")
                );
            }
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
        // Whoever was started last may have had no part in it yet, and holds what its predecessor did.
        for member in &self.members {
            member.server.as_ref().expect("it runs").until_ready().await;
        }
    }

    fn names_indexed(&self) -> BTreeSet<String> {
        let told = self.fleet.sql("SELECT name FROM images WHERE state = 'indexed'");
        told.lines().map(str::to_owned).collect()
    }

    fn names_expected(&self) -> BTreeSet<String> {
        self.bucket.there.iter().map(|it| name_of(*it)).collect()
    }

    fn vectors_noted(&self) -> String {
        self.fleet.sql("SELECT count(*) FROM vectors WHERE stored")
    }

    /// What was in the middle of something when it ended is given back, or runs out and is taken up by the others. Only the
    /// claims on what one does for all are held for ever.
    fn left_over(&self) -> String {
        let leases = "SELECT token || ' of ' || holder FROM leases
            WHERE token <> 'work/housekeeping' AND token NOT LIKE 'work/listing of %'";
        let vectors = "SELECT 'a vector of ' || model FROM vectors WHERE NOT stored";
        [leases, vectors].map(|statement| self.fleet.sql(statement)).concat()
    }

    fn check_catalog(&self) {
        let expected = self.names_expected();
        assert_eq!(self.names_indexed(), expected);
        assert_eq!(self.vectors_noted(), expected.len().to_string());
    }

    fn check_ratings(&self, witness: &Witness) {
        let told = self.fleet.sql("SELECT impression_id || ' ' || rating FROM feedback");
        let kept: HashMap<&str, &str> =
            told.lines().filter_map(|line| line.split_once(' ')).collect();
        let lost: Vec<_> = witness
            .ratings
            .iter()
            .filter(|(search, value)| {
                kept.get(search.as_str()) != Some(&value.to_string().as_str())
            })
            .collect();
        assert!(lost.is_empty(), "{} acknowledged ratings are lost: {lost:?}", lost.len());
    }

    /// Both replicas give the same, whole answers, with the scores that there always were.
    async fn check_answers(&self, witness: &mut Witness) {
        for (number, text) in TEXTS.iter().enumerate() {
            let query = json!({ "text": text, "limit": RESULTS });
            let answers =
                [self.api(0).search(query.clone()).await, self.api(1).search(query).await];
            assert_eq!(answers[0]["matches"], answers[1]["matches"]);
            witness.check(number, &answers[0]);
            let names = answers[0]["matches"].as_array().expect("matches").iter();
            let names: BTreeSet<&str> =
                names.map(|found| found["image_name"].as_str().expect("a name")).collect();
            assert_eq!(names.len(), RESULTS as usize);
            let worst = answers[0]["matches"][RESULTS as usize - 1]["score"].as_f64();
            let worst = worst.expect("a score") + 0.001;
            // Whatever was ever seen with a better score than the last one here is here, unless it was deleted.
            for ((_, name), score) in witness.scores.iter().filter(|((of, _), _)| *of == number) {
                let is_there = self.bucket.there.iter().any(|it| name_of(*it) == *name);
                assert!(
                    !is_there || *score <= worst || names.contains(name.as_str()),
                    "{name} ({score}) is missing among the first {RESULTS} for {text}"
                );
            }
        }
    }

    async fn finish(mut self) {
        for member in &mut self.members {
            let server = member.server.take().expect("it runs");
            assert!(server.terminate().await.success(), "{} did not end well", member.name);
        }
        let leases = self.fleet.sql("SELECT token || ' of ' || holder FROM leases");
        assert_eq!(leases, "", "something is still leased");
        let held = self.fleet.sql("SELECT count(*) FROM images WHERE lease_token IS NOT NULL");
        assert_eq!(held, "0");
        self.fleet.close().await;
    }
}

fn last_lines(member: &Member) -> String {
    let log = member.server.as_ref().map(Server::log_text).unwrap_or_default();
    let lines: Vec<&str> = log.lines().collect();
    format!("--- {}\n{}", member.name, lines[lines.len().saturating_sub(25)..].join("\n"))
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL and an S3 server: make test-whole"]
#[expect(clippy::print_stderr, reason = "the seed of a run must be known")]
async fn whatever_ends_or_halts_nothing_is_lost_doubled_or_wrong() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    let seed = from_environment("WHOLE_SEED").unwrap_or(now.as_secs());
    let seconds = from_environment("WHOLE_SECONDS").unwrap_or(60);
    let objects =
        from_environment("WHOLE_OBJECTS").unwrap_or(if seconds < 300 { 1500 } else { 5000 });
    let objects = u32::try_from(objects).expect("a sensible number");
    let mut whole = Whole::start(seed).await;
    eprintln!(
        "WHOLE_SEED={seed} WHOLE_SECONDS={seconds} WHOLE_OBJECTS={objects}, log: {}",
        whole.log.path.display()
    );
    whole.bucket.add(objects / 4).await;
    let (stop, witness) = (CancellationToken::new(), Arc::new(Mutex::new(Witness::default())));
    let using = (0..2).map(|user| {
        let chance = Chance(seed ^ (user + 1));
        tokio::spawn(use_it(whole.apis.clone(), witness.clone(), chance, stop.clone()))
    });
    let using: Vec<_> = using.collect();
    whole.disturb(Duration::from_secs(seconds), objects).await;
    let missing = objects.saturating_sub(whole.bucket.next);
    whole.bucket.add(missing).await;
    whole.until_complete().await;
    whole
        .api(0)
        .until("somebody was served", async || witness.lock().is_served().then_some(()))
        .await;
    stop.cancel();
    for user in using {
        user.await.expect("whoever used it saw nothing wrong");
    }
    whole.check_catalog();
    let mut witness = std::mem::take(&mut *witness.lock());
    whole.check_ratings(&witness);
    whole.check_answers(&mut witness).await;
    whole.log.say(format_args!(
        "{} answers, {} refused, {} ratings acknowledged and kept, {} pictures",
        witness.answers,
        witness.refused,
        witness.ratings.len(),
        whole.bucket.there.len()
    ));
    eprintln!("{}", std::fs::read_to_string(&whole.log.path).unwrap_or_default());
    whole.finish().await;
}
