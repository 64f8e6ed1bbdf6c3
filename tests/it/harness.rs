//! Starts the real binary on folders of its own and talks to it. Every wait has a deadline and says what it waited for.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use image::{Rgb, RgbImage};
use reqwest::{RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};

const DEADLINE: Duration = Duration::from_mins(2);
const POLL: Duration = Duration::from_millis(30);

/// Folders of one test, removed with it.
pub(crate) struct World {
    dir: tempfile::TempDir,
    pub(crate) environment: Vec<(String, String)>,
    model: String,
    /// Where pictures come from, if not from `images/`.
    source: Option<String>,
    file_limit: Option<String>,
}

impl World {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        std::fs::create_dir(dir.path().join("images")).expect("mkdir");
        let environment = [
            ("IMAGE_SEARCH_INGEST__SETTLE_MS", "50"),
            ("IMAGE_SEARCH_INGEST__SCAN_INTERVAL_MS", "60000"),
            ("RUST_BACKTRACE", "1"),
        ];
        let environment =
            environment.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec();
        Self { dir, environment, model: "emoji-clip".to_owned(), source: None, file_limit: None }
    }

    /// Another model than the bundled one: a name or a folder.
    pub(crate) fn model(mut self, model: &str) -> Self {
        model.clone_into(&mut self.model);
        self
    }

    /// Takes pictures from this address, and not from `images/`.
    pub(crate) fn source(mut self, address: &str) -> Self {
        self.source = Some(address.to_owned());
        self
    }

    /// Limits open files, in the words of `ulimit`.
    pub(crate) fn file_limit(mut self, limit: &str) -> Self {
        self.file_limit = Some(limit.to_owned());
        self
    }

    /// Sets a variable that is no configuration key.
    pub(crate) fn variable(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sets a configuration key by its environment variable.
    pub(crate) fn set(mut self, key: &str, value: &str) -> Self {
        self.environment.push((format!("IMAGE_SEARCH_{key}"), value.to_owned()));
        self
    }

    pub(crate) fn path(&self, below: &str) -> PathBuf {
        self.dir.path().join(below)
    }

    pub(crate) fn image(&self, name: &str) -> PathBuf {
        self.path("images").join(name)
    }

    /// Writes a file into `images/`, with folders as needed.
    pub(crate) fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.image(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("mkdir");
        std::fs::write(path, bytes).expect("write");
    }

    /// The program with this world's folders, ready for more arguments.
    pub(crate) fn command(&self, command: &str) -> Command {
        let program = env!("CARGO_BIN_EXE_image-search");
        let mut process = match &self.file_limit {
            None => Command::new(program),
            Some(limit) => {
                let mut shell = Command::new("sh");
                shell.args(["-c", &format!("ulimit {limit} && exec \"$0\" \"$@\""), program]);
                shell
            }
        };
        process
            .arg(command)
            .arg("--images")
            .arg(self.source.as_ref().map_or_else(|| self.path("images"), PathBuf::from))
            .arg("--data-dir")
            .arg(self.path("data"))
            .args(["--model", &self.model]);
        process
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("TMPDIR", std::env::temp_dir())
            .envs(self.environment.iter().map(|(key, value)| (key, value)))
            .stdin(Stdio::null());
        process
    }

    /// Runs a command to its end.
    pub(crate) fn run(&self, command: &str, arguments: &[&str]) -> Output {
        self.command(command).args(arguments).output().expect("the program starts")
    }

    /// The same, for tests that need nothing else of the world.
    pub(crate) async fn serve_alone(self) -> (Self, Server) {
        let server = self.serve().await;
        (self, server)
    }

    /// Starts the server on a free port and waits until it is ready.
    pub(crate) async fn serve(&self) -> Server {
        let server = self.start();
        server.until_ready().await;
        server
    }

    /// Starts the server and waits only for its address.
    pub(crate) fn start(&self) -> Server {
        // Whoever had it is dead; its address must not be taken for the new one's.
        let _ = std::fs::remove_file(self.path("data/LOCK"));
        let log = self.path("log.txt");
        let log_file =
            std::fs::File::options().create(true).append(true).open(&log).expect("a log file");
        let mut command = self.command("serve");
        let child = command
            .args(["--port", "0"])
            .stdout(Stdio::null())
            .stderr(log_file)
            .spawn()
            .expect("the program starts");
        let mut server = Server { child, url: String::new(), log, client: client() };
        let lock = self.path("data/LOCK");
        let started = Instant::now();
        while server.url.is_empty() {
            assert!(started.elapsed() < DEADLINE, "no address in time: {}", server.log_text());
            assert!(
                server.child.try_wait().expect("a child").is_none(),
                "the server ended: {}",
                server.log_text()
            );
            std::thread::sleep(POLL);
            server.url = std::fs::read_to_string(&lock).unwrap_or_default();
        }
        server
    }
}

pub(crate) fn client() -> reqwest::Client {
    // The second test to come here finds it done.
    let _ = rustls::crypto::ring::default_provider().install_default();
    // Well before the server closes connections that rest: a request that crosses with that is lost.
    let builder = reqwest::Client::builder().pool_idle_timeout(Duration::from_secs(2));
    builder.no_proxy().build().expect("a client")
}

/// A running server; killed when dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) url: String,
    log: PathBuf,
    client: reqwest::Client,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    pub(crate) fn log_text(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub(crate) fn get(&self, path: &str) -> RequestBuilder {
        self.client.get(format!("{}{path}", self.url))
    }

    pub(crate) fn post(&self, path: &str) -> RequestBuilder {
        self.client.post(format!("{}{path}", self.url))
    }

    pub(crate) fn request(&self, method: reqwest::Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.url))
    }

    pub(crate) fn delete(&self, path: &str) -> RequestBuilder {
        self.client.delete(format!("{}{path}", self.url))
    }

    pub(crate) async fn get_json(&self, path: &str) -> Value {
        let response = self.get(path).send().await.expect("an answer");
        let status = response.status();
        assert!(!status.is_server_error(), "{path}: {status}: {}", self.log_text());
        ok_json(response).await
    }

    pub(crate) async fn until_ready(&self) {
        self.until("the server is ready", async || match self.get("/readyz").send().await {
            Ok(response) if response.status() == StatusCode::OK => Some(()),
            _ => None,
        })
        .await;
    }

    /// Waits until `look` finds something.
    pub(crate) async fn until<T>(&self, what: &str, look: impl AsyncFn() -> Option<T>) -> T {
        let started = Instant::now();
        loop {
            if let Some(found) = look().await {
                return found;
            }
            assert!(started.elapsed() < DEADLINE, "not in time: {what}\n{}", self.log_text());
            tokio::time::sleep(POLL).await;
        }
    }

    /// Waits until so many images are indexed and failed and nothing is pending.
    pub(crate) async fn until_counts(&self, indexed: u64, failed: u64) -> Value {
        self.until(&format!("{indexed} indexed, {failed} failed"), async || {
            let status = self.get_json("/api/v1/status").await;
            let images = &status["images"];
            let wanted = images["indexed"] == indexed
                && images["failed"] == failed
                && images["pending"] == 0;
            (wanted && status["ingest"]["state"] == "idle").then_some(status)
        })
        .await
    }

    pub(crate) async fn search(&self, body: Value) -> Value {
        ok_json(self.post("/api/v1/search-image").json(&body).send().await.expect("an answer"))
            .await
    }

    /// Names of the best `limit` matches for a text.
    pub(crate) async fn names(&self, text: &str, limit: usize) -> Vec<String> {
        let answer = self.search(json!({"text": text, "limit": limit})).await;
        let name = |found: &Value| found["image_name"].as_str().expect("a name").to_owned();
        answer["matches"].as_array().expect("matches").iter().map(name).collect()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn kill_9(mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("waited");
    }

    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill")
            .args([&format!("-{name}"), &self.child.id().to_string()])
            .status()
            .expect("kill runs");
        assert!(sent.success());
    }

    /// Sends SIGTERM and waits for the end.
    pub(crate) async fn terminate(mut self) -> ExitStatus {
        self.signal("TERM");
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status;
            }
            assert!(started.elapsed() < DEADLINE, "it does not end: {}", self.log_text());
            tokio::time::sleep(POLL).await;
        }
    }
}

pub(crate) async fn ok_json(response: Response) -> Value {
    let status = response.status();
    let text = response.text().await.expect("a body");
    assert!(status.is_success(), "{status}: {text}");
    serde_json::from_str(&text).expect("JSON")
}

/// Sends and checks that the answer is a problem document with this status and code.
pub(crate) async fn problem(request: RequestBuilder, status: u16, code: &str) -> Value {
    let response = request.send().await.expect("an answer");
    let got = response.status().as_u16();
    let kind = response
        .headers()
        .get("content-type")
        .and_then(|kind| kind.to_str().ok())
        .unwrap_or_default()
        .to_owned();
    let text = response.text().await.expect("a body");
    assert_eq!((got, kind.as_str()), (status, "application/problem+json"), "{text}");
    let problem: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(
        (problem["code"].as_str(), problem["status"].as_u64()),
        (Some(code), Some(u64::from(status))),
        "{text}"
    );
    problem
}

/// A PNG that differs in colour and pattern from that of every other number.
pub(crate) fn picture(number: u32) -> Vec<u8> {
    let shade = |shift: u32| (number.wrapping_mul(2_654_435_761) >> shift & 0xff) as u8;
    let colours = [Rgb([shade(0), shade(8), shade(16)]), Rgb([shade(24), shade(4), shade(12)])];
    let stripe = number % 13 + 2;
    let image = RgbImage::from_fn(48, 40, |x, y| colours[((x + number * y) / stripe % 2) as usize]);
    let mut png = std::io::Cursor::new(Vec::new());
    image.write_to(&mut png, image::ImageFormat::Png).expect("a PNG");
    png.into_inner()
}

/// Begins like a picture, and is none.
pub(crate) const BROKEN_PICTURE: &[u8] = b"\x89PNG\r\n\x1a\nand nothing more";

/// What a command says on both streams, for tests on several threads.
pub(crate) fn run(world: &World, command: &str, arguments: &[&str]) -> (Output, String) {
    let output = tokio::task::block_in_place(|| world.run(command, arguments));
    let text = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text)).concat();
    (output, text)
}

/// Copies a folder with all that is in it.
pub(crate) fn copy_folder(from: &Path, to: &Path) {
    for entry in walkdir::WalkDir::new(from) {
        let entry = entry.expect("listed");
        let target = to.join(entry.path().strip_prefix(from).expect("below"));
        if entry.file_type().is_dir() {
            std::fs::create_dir_all(&target).expect("made");
        } else {
            std::fs::copy(entry.path(), &target).expect("copied");
        }
    }
}

/// Root of the repository.
pub(crate) fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
