//! Logs: to standard error, so that output can be piped, with everything escaped that a name in a line may do to a terminal or
//! to who reads the lines. For people a line of fields, for programs a JSON object.

use std::io::{self, IsTerminal, Write};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::MakeExt;
use tracing_subscriber::fmt::format::{Writer, debug_fn};

use crate::config::{LogConfig, LogFormat};
use crate::printable::{printable, printable_json};
use crate::vector_store::embedded::ENGINE_LOG_TARGET;

/// Commands other than `serve` only warn, unless told otherwise.
pub(super) fn start(config: &LogConfig, quiet: bool) -> anyhow::Result<()> {
    // Their summaries list what could not be indexed; the pipeline need not say it as well.
    let level = if quiet && config.level == "info" {
        "warn,image_search::ingest::pipeline=error"
    } else {
        &config.level
    };
    // What was done in whose name is told at every level, unless the level names it.
    let audit = if quiet { "" } else { "audit=info," };
    // The engine warns of its own internals at every start; what matters of it comes back as an error.
    let filter = EnvFilter::builder()
        .parse(format!("{ENGINE_LOG_TARGET}=error,{audit}{level}"))
        .map_err(|error| anyhow::anyhow!("log.level: {error}"))?;
    let pretty = match config.format {
        LogFormat::Auto => io::stderr().is_terminal(),
        LogFormat::Pretty => true,
        LogFormat::Json => false,
    };
    let logs = tracing_subscriber::fmt().with_env_filter(filter);
    // A second call (in tests) keeps the first one's logger.
    let _ = if pretty {
        let fields = debug_fn(|writer, field, value| {
            let value = format!("{value:?}");
            write_field(writer, field.name(), &value)
        });
        let logs = logs.with_writer(io::stderr).with_ansi(io::stderr().is_terminal());
        logs.fmt_fields(fields.delimited(" ")).with_target(false).try_init()
    } else {
        logs.json().flatten_event(true).with_writer(|| JsonLines(io::stderr())).try_init()
    };
    Ok(())
}

fn write_field(writer: &mut Writer<'_>, name: &str, value: &str) -> std::fmt::Result {
    let value = printable(value);
    match (name, writer.has_ansi_escapes()) {
        ("message", _) => write!(writer, "{value}"),
        (name, true) => write!(writer, "\u{1b}[3m{name}\u{1b}[0m\u{1b}[2m=\u{1b}[0m{value}"),
        (name, false) => write!(writer, "{name}={value}"),
    }
}

/// JSON escapes only what JSON must.
struct JsonLines<W>(W);

impl<W: Write> Write for JsonLines<W> {
    /// An event comes in one piece.
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        self.0.write_all(printable_json(&String::from_utf8_lossy(event)).as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}
