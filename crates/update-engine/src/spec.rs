use std::time::Duration;

use fleet_types::{AppSettings, BranchName, CommitHash, Epoch, Progress};
use ssh_exec::Endpoint;

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
    /// Whether what a health checker or an earlier attempt sent may be under way on the host still, or on its way there. The
    /// first look is then taken under the host's lock: after what runs has ended, and so that what comes later is refused. The
    /// lock and the epoch are then on the host, also where nothing is changed otherwise.
    pub left_behind: bool,
}

/// Where an attempt goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Goal {
    /// Forward to this commit.
    Update {
        /// The commit.
        target: CommitHash,
        /// The branch that was asked for, where it was one. Its commit was told by a single host, so each host takes it only
        /// when its own remote has it on that branch; a commit asked for by its hash is taken from wherever the remote has it.
        branch: Option<BranchName>,
    },
    /// From one commit to an earlier one, when the host still is on the first.
    Back {
        /// Where it must be.
        from: CommitHash,
        /// Where it goes.
        to: CommitHash,
    },
}

impl Goal {
    /// The commit that the host is to be on at the end.
    #[must_use]
    pub fn target(&self) -> &CommitHash {
        match self {
            Self::Update { target, .. } => target,
            Self::Back { to, .. } => to,
        }
    }
}

/// As whom the host is spoken to: it refuses a lower epoch of the same store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuardSpec {
    /// Which store.
    pub store: String,
    /// The epoch of our lease on the host.
    pub epoch: i64,
}

/// A higher epoch than any store reaches: a record that claims it is not one to follow.
const ABSURD_EPOCH: i64 = 1_000_000_000_000_000;

impl GuardSpec {
    /// What our epoch must be raised above when the host has this one on record, from any store.
    #[must_use]
    pub fn above(&self, on_record: i64) -> Epoch {
        Epoch(if on_record < ABSURD_EPOCH {
            on_record.max(self.epoch)
        } else {
            self.epoch
        })
    }
}
