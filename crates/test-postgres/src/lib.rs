//! Starts a real PostgreSQL server for tests, from the binaries of Debian's package, in a temporary folder and on a free port.
//! A shell watches over it: when the test ends, in whatever way, the server ends too and its folder is removed.

use std::io::Write;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

pub const USER: &str = "image_search";
pub const PASSWORD: &str = "only-for-tests";

/// PostgreSQL refuses to run as root, so it runs as nobody then.
const NOBODY: u32 = 65534;
const UP_WITHIN: Duration = Duration::from_mins(2);
/// Runs the server (the arguments) until somebody closes the pipe, and removes the folder if told so.
const WATCH: &str = r#"dir=$1; shift; "$@" & server=$!; word=$(cat); kill -QUIT $server; wait $server; [ "$word" = keep ] || rm -rf "$dir""#;

/// A server of its own.
#[derive(Debug)]
pub struct Server {
    bin: PathBuf,
    dir: PathBuf,
    port: u16,
    watch: Option<Child>,
    databases: AtomicU32,
}

impl Server {
    /// Makes a new server and waits until it answers.
    pub fn start() -> Result<Self, String> {
        let bin = binaries().ok_or("no PostgreSQL is installed: make test-postgres gets it")?;
        let dir =
            tempfile::Builder::new().prefix("test-postgres-").tempdir().map_err(words)?.keep();
        if is_root(&dir) {
            chown(&dir, Some(NOBODY), Some(NOBODY)).map_err(words)?;
        }
        let password_file = dir.join("password");
        std::fs::write(&password_file, PASSWORD).map_err(words)?;
        let initdb = command(&bin.join("initdb"), &dir)
            .args(["--no-sync", "--encoding=UTF8", "--locale=C.UTF-8", "--auth=scram-sha-256"])
            .args(["--username", USER, "--pwfile"])
            .arg(&password_file)
            .arg("--pgdata")
            .arg(dir.join("data"))
            .output()
            .map_err(words)?;
        if !initdb.status.success() {
            let said = String::from_utf8_lossy(&initdb.stderr).into_owned();
            let _ = std::fs::remove_dir_all(&dir);
            return Err(format!("initdb: {said}"));
        }
        let port = free_port()?;
        let mut server = Self { bin, dir, port, watch: None, databases: AtomicU32::new(0) };
        server.start_again()?;
        Ok(server)
    }

    /// Starts it on the same port and with the same data, after [`Self::stop`].
    pub fn start_again(&mut self) -> Result<(), String> {
        let postgres = self.bin.join("postgres");
        let log = std::fs::File::create(self.dir.join("log")).map_err(words)?;
        let watch = command(Path::new("/bin/sh"), &self.dir)
            .args(["-c", WATCH, "sh"])
            .arg(&self.dir)
            .arg(postgres)
            .arg("-D")
            .arg(self.dir.join("data"))
            .args(["-p", &self.port.to_string(), "-c", "listen_addresses=127.0.0.1"])
            .arg("-c")
            .arg(format!("unix_socket_directories={}", self.dir.display()))
            // Nobody cuts the power of a test.
            .args(["-c", "fsync=off", "-c", "full_page_writes=off", "-c", "max_connections=400"])
            .args(["-c", "autovacuum_naptime=5s"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        self.watch = Some(watch.map_err(words)?);
        let began = Instant::now();
        while let Err(said) = self.sql("postgres", "SELECT 1") {
            if began.elapsed() > UP_WITHIN {
                return Err(format!("the server does not come up: {said}\n{}", self.log()));
            }
            sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// What it has logged since its last start.
    pub fn log(&self) -> String {
        let bytes = std::fs::read(self.dir.join("log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Ends it as an operator in a hurry does; whatever is under way breaks off.
    pub fn stop(&mut self) {
        self.end(b"keep");
    }

    /// Halts all of its processes where they stand, or lets them go on.
    pub fn pause(&self, is_paused: bool) -> Result<(), String> {
        let file = std::fs::read_to_string(self.dir.join("data/postmaster.pid")).map_err(words)?;
        let main = file.lines().next().unwrap_or_default().trim().to_owned();
        let children = format!("/proc/{main}/task/{main}/children");
        let children = std::fs::read_to_string(children).map_err(words)?;
        let signal = if is_paused { "-STOP" } else { "-CONT" };
        // One that has ended meanwhile is no fault.
        let all = std::iter::once(main.as_str()).chain(children.split_whitespace());
        Command::new("kill").arg(signal).args(all).stderr(Stdio::null()).status().map_err(words)?;
        Ok(())
    }

    fn end(&mut self, word: &[u8]) {
        if let Some(mut watch) = self.watch.take() {
            if let Some(mut pipe) = watch.stdin.take() {
                let _ = pipe.write_all(word);
            }
            let _ = watch.wait();
        }
    }

    /// Address of a database, without the password.
    pub fn address(&self, database: &str) -> String {
        format!("postgres://{USER}@127.0.0.1:{}/{database}", self.port)
    }

    /// Makes an empty database with a name of its own. Returns that.
    pub fn database(&self) -> Result<String, String> {
        let name = format!("test_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.sql("postgres", &format!("CREATE DATABASE {name}"))?;
        Ok(name)
    }

    /// Runs SQL as its operator would. Returns what it printed, without headings.
    pub fn sql(&self, database: &str, sql: &str) -> Result<String, String> {
        let said = command(&self.bin.join("psql"), &self.dir)
            .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1"])
            .args(["-p", &self.port.to_string(), "-U", USER, "-d", database, "-c", sql])
            .env("PGPASSWORD", PASSWORD)
            .output()
            .map_err(words)?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        if said.status.success() { Ok(text(&said.stdout)) } else { Err(text(&said.stderr)) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end(b"remove");
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// The newest that is installed, or the one that `POSTGRES_BIN` names.
pub fn binaries() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("POSTGRES_BIN") {
        return Some(named.into());
    }
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?;
    let installed = versions.filter_map(|entry| {
        let bin = entry.ok()?.path().join("bin");
        let version: u32 = bin.parent()?.file_name()?.to_str()?.parse().ok()?;
        bin.join("initdb").is_file().then_some((version, bin))
    });
    installed.max().map(|(_, bin)| bin)
}

fn command(program: &Path, dir: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(dir).stdin(Stdio::null());
    if is_root(Path::new("/proc/self")) {
        command.uid(NOBODY).gid(NOBODY);
    }
    command
}

fn is_root(own: &Path) -> bool {
    std::fs::metadata(own).is_ok_and(|metadata| metadata.uid() == 0)
}

fn free_port() -> Result<u16, String> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(words)?;
    Ok(listener.local_addr().map_err(words)?.port())
}

fn words(error: impl std::fmt::Display) -> String {
    error.to_string()
}
