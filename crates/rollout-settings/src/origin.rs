use std::fmt;
use std::path::PathBuf;

use serde::{Serialize, Serializer};

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody said anything.
    Default,
    /// The configuration file.
    File(PathBuf),
    /// An environment variable.
    Environment,
    /// The command line.
    Flag,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Environment => f.write_str("environment"),
            Self::Flag => f.write_str("flag"),
        }
    }
}

impl Serialize for Origin {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// One setting as `config show` shows it. Passwords are taken out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// `rollout.concurrency`, ...
    pub key: &'static str,
    /// The value as it would stand in the file; none when nothing is set.
    pub value: Option<String>,
    /// Where it came from.
    pub origin: Origin,
}

impl Entry {
    /// The unit of a value that is a plain number, or what the number stands for; none where it counts things, or says its
    /// unit itself.
    #[must_use]
    pub fn unit(&self) -> Option<&'static str> {
        match self.key {
            "app.min_free_mib" => Some("MiB"),
            "history.output_days" if self.value.as_deref() == Some("0") => Some("(for ever)"),
            "history.output_days" => Some("days"),
            key if key.starts_with("app.timeouts.") => Some("s"),
            _ => None,
        }
    }
}
