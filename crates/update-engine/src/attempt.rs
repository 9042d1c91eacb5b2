//! The way of one attempt, from the first look to the proof.

use std::time::Duration;

use fleet_types::{AppSettings, CommitHash, Outcome, Progress};
use ssh_exec::{Endpoint, Transport};

use crate::journal::{Journal, Stopped};

/// What an attempt is to do.
#[derive(Clone, Debug)]
pub struct AttemptSpec {
    /// The host.
    pub endpoint: Endpoint,
    /// How its service is updated.
    pub app: AppSettings,
    /// Where to.
    pub goal: Goal,
    /// How long a restarted service is watched.
    pub settle: Duration,
    /// As whom the host is spoken to.
    pub guard: GuardSpec,
    /// What is on record of this attempt already; the default for a fresh one.
    pub progress: Progress,
}

/// Where an attempt goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Goal {
    /// Forward to this commit.
    Update {
        /// The commit.
        target: CommitHash,
    },
    /// From one commit to an earlier one, when the host still is on the first.
    Back {
        /// Where it must be.
        from: CommitHash,
        /// Where it goes.
        to: CommitHash,
    },
}

/// As whom the host is spoken to: it refuses a lower epoch of the same store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuardSpec {
    /// Which store.
    pub store: String,
    /// The epoch of our lease on the host.
    pub epoch: i64,
}

/// Takes one host to its goal, or back, and proves where it ended.
///
/// Every event is durable in the journal before the engine acts on it. `Err` means that the attempt was given up without
/// a result; the journal has all that another worker needs to go on.
pub async fn run_attempt(
    spec: AttemptSpec,
    transport: &dyn Transport,
    journal: &mut dyn Journal,
) -> Result<Outcome, Stopped> {
    let _ = (spec, transport, journal);
    Err(Stopped("not written yet".to_owned()))
}
