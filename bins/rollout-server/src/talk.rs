//! The only place that writes: everything goes to standard error, as text or as JSON.

use std::io::{self, IsTerminal, Write};

use anyhow::Context;
use serde_json::json;
use tracing_subscriber::EnvFilter;

use crate::WrongSettings;
use crate::cli::LogFormat;

/// How to write.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Talk {
    format: LogFormat,
}

impl Talk {
    pub(crate) fn new(format: LogFormat) -> Self {
        Self { format }
    }

    /// Begins the log. The demo is quieter, for a person reads along.
    pub(crate) fn start_log(self, demo: bool, said: Option<String>) -> anyhow::Result<()> {
        let default = if demo { "error" } else { "info,russh=warn" };
        let filter = said.as_deref().unwrap_or(default);
        let filter = EnvFilter::try_new(filter)
            .with_context(|| format!("ROLLOUT_LOG: {filter:?} is not a log filter"))
            .context(WrongSettings)?;
        let log = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(io::stderr)
            .with_ansi(io::stderr().is_terminal());
        match self.format {
            LogFormat::Text => log.init(),
            LogFormat::Json => log.json().flatten_event(true).init(),
        }
        Ok(())
    }

    /// Says something whatever is logged. Losing it is no reason to stop.
    pub(crate) fn say(self, text: impl AsRef<str>) {
        self.write("INFO", text.as_ref());
    }

    /// Says why the program ends.
    pub(crate) fn failure(self, error: &anyhow::Error) {
        match self.format {
            LogFormat::Text => self.write("ERROR", &format!("error: {error:#}")),
            LogFormat::Json => self.write("ERROR", &format!("{error:#}")),
        }
    }

    fn write(self, level: &str, text: &str) {
        let mut stderr = io::stderr().lock();
        let _ = match self.format {
            LogFormat::Text => writeln!(stderr, "{text}"),
            LogFormat::Json => writeln!(stderr, "{}", json!({ "level": level, "message": text })),
        };
    }
}
