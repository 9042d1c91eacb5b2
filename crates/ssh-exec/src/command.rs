//! What is run on a host: fixed POSIX text, and values that reach it as quoted assignments.

use std::collections::BTreeMap;
use std::time::Duration;

/// How much of a stream is kept, in bytes.
pub(crate) const CAPTURE_LIMIT: usize = 64 * 1024;

/// One command: a fixed script and its parameters.
///
/// The script never contains a value. Each parameter becomes one quoted assignment in front of it, made by
/// [`crate::quote`], so no value can become code. The text travels over standard input to `/bin/sh -s`: values are in
/// no process list, and a script cut off by a lost connection does not parse and so does not run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteCommand {
    name: &'static str,
    body: &'static str,
    params: Vec<(&'static str, String)>,
    guard: Option<HostGuard>,
    deadline: Duration,
}

/// The host-side lock and fence that a command runs under.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostGuard {
    /// The repository; lock and fence live in `rollout/` inside its git directory.
    pub repo: String,
    /// Which store speaks.
    pub store: String,
    /// The speaker's epoch. The host refuses one lower than the last it saw from the same store.
    pub epoch: i64,
    /// Overwrite exactly this record (`store epoch`), seen on the host before, although it outranks us.
    pub replace: Option<(String, i64)>,
    /// How long to wait for the lock, in seconds.
    pub wait_seconds: u32,
}

/// What came back from a command that ran.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommandOutput {
    /// Exit code of the script, from inside the framed stream.
    pub exit: i32,
    /// What the script reported with `fact NAME VALUE`.
    pub facts: BTreeMap<String, String>,
    /// Standard output without facts and markers.
    pub stdout: Captured,
    /// Standard error.
    pub stderr: Captured,
}

/// The last part of a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Captured {
    /// At most the last 64 KiB, as bytes: hosts send anything.
    pub tail: Vec<u8>,
    /// Bytes that came in all.
    pub total: u64,
}

/// What the host's guard answered, when it did not let the command run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GuardRefusal {
    /// The lock stayed taken for the whole wait.
    Busy,
    /// The host has seen this record, which outranks ours or is another store's.
    Fenced {
        /// The store on record.
        store: String,
        /// The epoch on record.
        epoch: i64,
    },
    /// Lock or record could not be made: no repository, no right, no space.
    Unusable(String),
}

impl RemoteCommand {
    /// A command named `name` that runs `body`; we stop waiting for it after `deadline`.
    #[must_use]
    pub fn new(name: &'static str, body: &'static str, deadline: Duration) -> Self {
        Self {
            name,
            body,
            params: Vec::new(),
            guard: None,
            deadline,
        }
    }

    /// Adds a parameter: a shell variable `name` of this value.
    #[must_use]
    pub fn param(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.params.push((name, value.into()));
        self
    }

    /// Runs under the host's lock and fence.
    #[must_use]
    pub fn guarded(mut self, guard: HostGuard) -> Self {
        self.guard = Some(guard);
        self
    }

    /// The name, for messages and doubles.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The fixed text.
    #[must_use]
    pub fn body(&self) -> &'static str {
        self.body
    }

    /// All parameters, in order.
    #[must_use]
    pub fn params(&self) -> &[(&'static str, String)] {
        &self.params
    }

    /// One parameter's value.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.params
            .iter()
            .rev()
            .find(|(n, _)| *n == name)
            .map(|(_, v)| v.as_str())
    }

    /// The guard, if it runs under one.
    #[must_use]
    pub fn guard(&self) -> Option<&HostGuard> {
        self.guard.as_ref()
    }

    /// How long we wait for the end marker, lock wait included.
    #[must_use]
    pub fn deadline(&self) -> Duration {
        self.deadline
    }
}

impl CommandOutput {
    /// A fact that the script reported.
    #[must_use]
    pub fn fact(&self, name: &str) -> Option<&str> {
        self.facts.get(name).map(String::as_str)
    }

    /// The guard's refusal, if the command did not run because of it.
    #[must_use]
    pub fn refusal(&self) -> Option<GuardRefusal> {
        match self.fact("guard")? {
            "busy" => Some(GuardRefusal::Busy),
            "fenced" => Some(GuardRefusal::Fenced {
                store: self.fact("fence_store").unwrap_or_default().to_owned(),
                epoch: self
                    .fact("fence_epoch")
                    .and_then(|e| e.parse().ok())
                    .unwrap_or(i64::MAX),
            }),
            other => Some(GuardRefusal::Unusable(other.to_owned())),
        }
    }
}

impl Captured {
    /// The text with control characters shown escaped and invalid UTF-8 replaced, safe for a terminal or a page.
    #[must_use]
    pub fn text(&self) -> String {
        fleet_types::printable(&String::from_utf8_lossy(&self.tail))
    }
}
