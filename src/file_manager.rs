//! Shows a file in the file manager of the desktop that this program runs on: by D-Bus, which all common ones answer, otherwise
//! by opening its folder; on macOS in the Finder. Programs are started without a shell, and get an absolute path or a `file://` address, so that no
//! name of a file can be taken for anything else.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use tokio::process::{Child, Command};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The Finder's, by its full path: there is one place for it.
const OPEN: &str = "/usr/bin/open";
/// Programs that were started and have not ended; some file managers run as long as their window is open.
const PROGRAMS_MAX: usize = 8;
const PATIENCE: Duration = Duration::from_secs(10);
/// Everything that means something to D-Bus tools (commas, quotes) is escaped, too.
const PATH_ESCAPES: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// Beginnings of variables that may hold secrets of ours, which are no concern of a file manager.
const OWN_VARIABLES: [&str; 6] = ["IMAGE_SEARCH_", "AWS_", "AZURE_", "GS_", "HF_", "PG"];

/// The ways that this desktop offers, the best first.
pub struct FileManager {
    ways: Arc<[Way]>,
    turns: Arc<Semaphore>,
}

/// With the path of the program.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Way {
    DbusSend(PathBuf),
    Gdbus(PathBuf),
    XdgOpen(PathBuf),
    Finder(PathBuf),
}

/// Why a file is not shown.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum FileManagerError {
    #[error(
        "{PROGRAMS_MAX} file managers that were opened from here still run; close one, then try again"
    )]
    Busy,
    #[error("no file manager opened: {0}")]
    Failed(String),
}

impl FileManager {
    /// None without a desktop, or without any program that opens its file manager. `variable` reads the environment.
    pub fn find(variable: impl Fn(&str) -> Option<OsString>) -> Option<Self> {
        if cfg!(target_os = "macos") {
            return Self::by(vec![Way::Finder(OPEN.into())]);
        }
        Self::of_free_desktop(variable)
    }

    fn of_free_desktop(variable: impl Fn(&str) -> Option<OsString>) -> Option<Self> {
        let has = |name: &str| variable(name).is_some_and(|value| !value.is_empty());
        if !has("DISPLAY") && !has("WAYLAND_DISPLAY") {
            return None;
        }
        let path = variable("PATH").unwrap_or_default();
        let program = |name: &str| {
            // A relative folder would be another one for everybody.
            let folders = std::env::split_paths(&path).filter(|folder| folder.is_absolute());
            folders.map(|folder| folder.join(name)).find(|file| is_program(file))
        };
        let ways = [
            program("dbus-send").map(Way::DbusSend),
            program("gdbus").map(Way::Gdbus),
            program("xdg-open").map(Way::XdgOpen),
        ];
        Self::by(ways.into_iter().flatten().collect())
    }

    fn by(ways: Vec<Way>) -> Option<Self> {
        let turns = Arc::new(Semaphore::new(PROGRAMS_MAX));
        (!ways.is_empty()).then(|| Self { ways: ways.into(), turns })
    }

    /// Shows `file`, an absolute path. Goes on if the caller gives up.
    pub async fn show(&self, file: &Path) -> Result<(), FileManagerError> {
        let turn = self.turns.clone().try_acquire_owned().map_err(|_| FileManagerError::Busy)?;
        let (ways, file) = (self.ways.clone(), file.to_owned());
        let shown = tokio::spawn(async move { try_all(&ways, &file, turn).await });
        shown.await.unwrap_or_else(|error| Err(FileManagerError::Failed(error.to_string())))
    }
}

async fn try_all(
    ways: &[Way],
    file: &Path,
    turn: OwnedSemaphorePermit,
) -> Result<(), FileManagerError> {
    let mut reasons = Vec::new();
    for way in ways {
        match way.go(file).await {
            Ok(Ended::Well) => return Ok(()),
            Ok(Ended::NotYet(mut child)) => {
                tokio::spawn(async move {
                    let _turn = turn;
                    let _ = child.wait().await;
                });
                return Ok(());
            }
            Err(reason) => reasons.push(format!("{}: {reason}", way.program().display())),
        }
    }
    Err(FileManagerError::Failed(reasons.join("; ")))
}

enum Ended {
    Well,
    /// It runs; a file manager's own window may be all of it.
    NotYet(Child),
}

impl Way {
    fn program(&self) -> &Path {
        match self {
            Self::DbusSend(program)
            | Self::Gdbus(program)
            | Self::XdgOpen(program)
            | Self::Finder(program) => program,
        }
    }

    fn arguments(&self, file: &Path) -> Vec<OsString> {
        let address = percent_encode(file.as_os_str().as_bytes(), PATH_ESCAPES);
        let timeout_s = PATIENCE.as_secs();
        let words: Vec<String> = match self {
            Self::DbusSend(_) => vec![
                "--session".to_owned(),
                "--print-reply".to_owned(),
                format!("--reply-timeout={}", PATIENCE.as_millis()),
                "--type=method_call".to_owned(),
                "--dest=org.freedesktop.FileManager1".to_owned(),
                "/org/freedesktop/FileManager1".to_owned(),
                "org.freedesktop.FileManager1.ShowItems".to_owned(),
                format!("array:string:file://{address}"),
                "string:".to_owned(),
            ],
            Self::Gdbus(_) => vec![
                "call".to_owned(),
                "--session".to_owned(),
                format!("--timeout={timeout_s}"),
                "--dest=org.freedesktop.FileManager1".to_owned(),
                "--object-path=/org/freedesktop/FileManager1".to_owned(),
                "--method=org.freedesktop.FileManager1.ShowItems".to_owned(),
                format!("['file://{address}']"),
                "''".to_owned(),
            ],
            Self::XdgOpen(_) => return vec![file.parent().unwrap_or(file).into()],
            Self::Finder(_) => return vec!["-R".into(), file.into()],
        };
        words.into_iter().map(OsString::from).collect()
    }

    /// In a group of its own, so that whoever interrupts this program does not close the file manager.
    async fn go(&self, file: &Path) -> Result<Ended, String> {
        // Only xdg-open may become the file manager itself.
        let stays = matches!(self, Self::XdgOpen(_));
        let mut command = Command::new(self.program());
        command.args(self.arguments(file)).process_group(0).kill_on_drop(!stays).current_dir("/");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        for (name, _) in std::env::vars_os().filter(|(name, _)| is_own(name)) {
            command.env_remove(name);
        }
        let mut child = command.spawn().map_err(|error| error.to_string())?;
        match tokio::time::timeout(PATIENCE, child.wait()).await {
            Ok(Ok(status)) if status.success() => Ok(Ended::Well),
            Ok(Ok(status)) => Err(ending(status)),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) if stays => Ok(Ended::NotYet(child)),
            Err(_) => Err(format!("no answer within {} s", PATIENCE.as_secs())),
        }
    }
}

fn ending(status: ExitStatus) -> String {
    match status.code() {
        Some(code) => format!("it ended with {code}"),
        None => "it was ended by a signal".to_owned(),
    }
}

fn is_own(name: &OsStr) -> bool {
    OWN_VARIABLES.iter().any(|own| name.as_bytes().starts_with(own.as_bytes()))
}

fn is_program(file: &Path) -> bool {
    let is_executable =
        |data: std::fs::Metadata| data.is_file() && data.permissions().mode() & 0o111 != 0;
    std::fs::metadata(file).is_ok_and(is_executable)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder with programs that are shell scripts.
    fn programs(scripts: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("temp");
        for (name, script) in scripts {
            let file = dir.path().join(name);
            std::fs::write(&file, format!("#!/bin/sh\n{script}\n")).expect("written");
            let executable = std::fs::Permissions::from_mode(0o755);
            std::fs::set_permissions(&file, executable).expect("allowed");
        }
        dir
    }

    fn on(desktop: &str, path: &Path) -> Option<FileManager> {
        FileManager::of_free_desktop(|name| match name {
            "DISPLAY" => Some(desktop.into()),
            "PATH" => Some(path.into()),
            _ => None,
        })
    }

    #[test]
    fn there_is_none_without_a_desktop_or_without_a_program() {
        let dir = programs(&[("xdg-open", "")]);
        assert!(on("", dir.path()).is_none() && on(":0", Path::new("/nowhere")).is_none());
        assert!(on(":0", Path::new("relative")).is_none());
        std::fs::write(dir.path().join("gdbus"), "no program").expect("written");
        let found = on(":0", dir.path()).expect("a desktop");
        assert_eq!(*found.ways, [Way::XdgOpen(dir.path().join("xdg-open"))]);
    }

    #[test]
    fn no_name_of_a_file_means_anything_to_the_programs() {
        let file = Path::new("/pictures/-a/it's, \"b\" ü$(c).png");
        let last = |way: Way, from_end: usize| {
            let arguments = way.arguments(file);
            arguments[arguments.len() - from_end].to_str().expect("UTF-8").to_owned()
        };
        let address = "file:///pictures/-a/it%27s%2C%20%22b%22%20%C3%BC%24%28c%29.png";
        let sent = last(Way::DbusSend("d".into()), 2);
        assert_eq!(sent, format!("array:string:{address}"));
        assert_eq!(last(Way::Gdbus("g".into()), 2), format!("['{address}']"));
        assert_eq!(last(Way::XdgOpen("x".into()), 1), "/pictures/-a");
        let revealed = Way::Finder(OPEN.into()).arguments(file);
        assert_eq!(revealed, [OsStr::new("-R"), file.as_os_str()], "a path without a shell");
    }

    #[tokio::test]
    async fn the_next_way_is_tried_and_failures_are_told() {
        let file = Path::new("/pictures/a.png");
        let dir = programs(&[("dbus-send", "exit 1"), ("xdg-open", "echo \"$1\" >\"$0.told\"")]);
        on(":0", dir.path()).expect("a desktop").show(file).await.expect("shown");
        let told = std::fs::read_to_string(dir.path().join("xdg-open.told")).expect("called");
        assert_eq!(told, "/pictures\n");
        let dir = programs(&[("dbus-send", "exit 1"), ("xdg-open", "exit 3")]);
        let failed = on(":0", dir.path()).expect("a desktop").show(file).await;
        let text = failed.expect_err("both fail").to_string();
        assert!(
            text.contains("dbus-send: it ended with 1; ") && text.ends_with("with 3"),
            "{text}"
        );
    }

    #[tokio::test]
    async fn only_so_many_are_started_at_once() {
        let dir = programs(&[("xdg-open", "")]);
        let manager = on(":0", dir.path()).expect("a desktop");
        let all = manager.turns.clone().try_acquire_many_owned(PROGRAMS_MAX as u32).expect("free");
        assert_eq!(manager.show(Path::new("/a")).await, Err(FileManagerError::Busy));
        drop(all);
        assert_eq!(manager.show(Path::new("/a")).await, Ok(()));
        assert_eq!(manager.turns.available_permits(), PROGRAMS_MAX);
    }
}
