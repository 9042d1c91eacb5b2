use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::names::{CommitHash, Invalid};

/// Writes an enum of plain words once: the words are the same in the database, the JSON and on the screen.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident, $what:literal { $($(#[$vdoc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "&'static str")]
        #[non_exhaustive]
        pub enum $name { $($(#[$vdoc])* $variant,)+ }

        impl $name {
            /// Every value, in the order of their declaration.
            pub const ALL: &'static [$name] = &[$($name::$variant,)+];

            /// The word for it, everywhere.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $($name::$variant => $word,)+ }
            }
        }

        #[cfg(feature = "schema")]
        crate::schema::words!($name, [$($word,)+]);

        impl FromStr for $name {
            type Err = Invalid;

            fn from_str(text: &str) -> Result<Self, Invalid> {
                match text {
                    $($word => Ok($name::$variant),)+
                    _ => Err(Invalid::new($what, text, concat!("is none of: ", $($word, " ",)+))),
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = Invalid;

            fn try_from(text: String) -> Result<Self, Invalid> {
                text.parse()
            }
        }

        impl From<$name> for &'static str {
            fn from(value: $name) -> Self {
                value.as_str()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }
    };
}

words! {
    /// Where one host stands in one rollout.
    AttemptStatus, "attempt status" {
        /// Its turn has not come.
        Pending = "pending",
        /// A worker is on it.
        Updating = "updating",
        /// Proven on the target.
        Success = "success",
        /// Anything that is neither success nor proven back; see `touched`.
        Failed = "failed",
        /// The update failed and the host is proven back on its previous version with the service active.
        RolledBack = "rolled_back",
        /// Never started.
        Skipped = "skipped",
    }
}

words! {
    /// Why an attempt ended as it did. One closed list.
    Reason, "reason" {
        /// On the target now, and was not before.
        Updated = "updated",
        /// Was on the target already, with the service active. Nothing was done.
        Unchanged = "unchanged",
        /// No connection: name, network, or no answer.
        Unreachable = "unreachable",
        /// The host does not accept our key.
        AuthRefused = "auth_refused",
        /// No host key is pinned.
        HostKeyUnknown = "host_key_unknown",
        /// The host shows another key than the pinned one, or a revoked one.
        HostKeyChanged = "host_key_changed",
        /// Our own key for this host cannot be loaded here.
        NoCredential = "no_credential",
        /// The shell does not run what it is given (start-up file, forced command, no login).
        ShellBroken = "shell_broken",
        /// A tool that the update needs is not on the host (git, flock, timeout, systemctl).
        ToolMissing = "tool_missing",
        /// Tracked files have changes that are not ours.
        DirtyTree = "dirty_tree",
        /// Host and target have each commits that the other lacks.
        Diverged = "diverged",
        /// The host has the target and more.
        Ahead = "ahead",
        /// A git lock file is in the way.
        GitLocked = "git_locked",
        /// The repository folder is no git repository that the user may use.
        NoRepo = "no_repo",
        /// The target commit cannot be had from the remote.
        TargetGone = "target_gone",
        /// `git fetch` failed for another cause: remote, network, credentials.
        FetchFailed = "fetch_failed",
        /// Git did not move to the target for another cause; what it said is kept.
        PullFailed = "pull_failed",
        /// Too little space or inodes.
        NoSpace = "no_space",
        /// The install command is not found.
        NoInstallCommand = "no_install_command",
        /// The install command failed.
        InstallFailed = "install_failed",
        /// `sudo -n` may not restart the service.
        NoSudo = "no_sudo",
        /// The unit is not loaded (missing, masked).
        UnitMissing = "unit_missing",
        /// `systemctl restart` failed.
        RestartFailed = "restart_failed",
        /// The service is not active, or the verify command failed.
        Unhealthy = "unhealthy",
        /// The service was restarted by systemd while it was watched.
        CrashLoop = "crash_loop",
        /// HEAD or tree is not what it must be after the steps went well.
        WrongHead = "wrong_head",
        /// Somebody else moved HEAD between our steps.
        ConcurrentChange = "concurrent_change",
        /// The host's lock stayed taken.
        HostBusy = "host_busy",
        /// A step took longer than its limit.
        Timeout = "timeout",
        /// The connection was lost and the host could not be asked since.
        OutcomeUnknown = "outcome_unknown",
        /// Rolling back failed: neither version is proven.
        RollbackFailed = "rollback_failed",
        /// The update failed and there is no other version to go back to.
        NoPrevious = "no_previous",
        /// The rollout ended before its turn.
        NotStarted = "not_started",
        /// The host was removed from the fleet before its turn.
        Removed = "removed",
        /// The host is no longer on the version that was to be taken back.
        MovedOn = "moved_on",
        /// A fault of this program.
        Internal = "internal",
    }
}

words! {
    /// Where a rollout stands.
    RolloutState, "rollout state" {
        /// Hosts are taken on as limits allow.
        Running = "running",
        /// No new hosts; those in flight finish.
        Paused = "paused",
        /// The gate said halt; hosts in flight finish.
        Halting = "halting",
        /// Ended by the gate, or before it began.
        Halted = "halted",
        /// A person ended it; hosts in flight finish.
        Aborting = "aborting",
        /// Ended by a person.
        Aborted = "aborted",
        /// Every host is on its target.
        Completed = "completed",
        /// It went through, and some hosts failed within what was allowed.
        CompletedWithFailures = "completed_with_failures",
    }
}

impl RolloutState {
    /// Whether it still holds the one place for an active rollout.
    #[must_use]
    pub fn is_active(self) -> bool {
        matches!(
            self,
            Self::Running | Self::Paused | Self::Halting | Self::Aborting
        )
    }
}

impl AttemptStatus {
    /// Whether it can still change.
    #[must_use]
    pub fn is_settled(self) -> bool {
        !matches!(self, Self::Pending | Self::Updating)
    }
}

words! {
    /// What kind of rollout.
    RolloutKind, "rollout kind" {
        /// To one target version.
        Update = "update",
        /// Each host back to the version it had before another rollout.
        Rollback = "rollback",
        /// The failed and never started hosts of another rollout, to the same target.
        Retry = "retry",
    }
}

words! {
    /// Where a stage stands.
    StageState, "stage state" {
        /// Its turn has not come.
        Pending = "pending",
        /// Its hosts are worked on.
        Running = "running",
        /// Through the gate.
        Passed = "passed",
        /// More failed than allowed, or the rollout ended in it.
        Failed = "failed",
    }
}

words! {
    /// What a person may ask of a rollout under way.
    Verb, "verb" {
        /// Start no further hosts.
        Pause = "pause",
        /// Go on.
        Resume = "resume",
        /// End it; done stays done.
        Abort = "abort",
    }
}

words! {
    /// What the health checker last saw of a host's service.
    HealthState, "health" {
        /// The service is active.
        Active = "active",
        /// It is not.
        Inactive = "inactive",
        /// It was restarted as often as allowed and does not stay up.
        Unhealthy = "unhealthy",
        /// The host could not be asked.
        Unreachable = "unreachable",
        /// It was not asked yet.
        Unknown = "unknown",
    }
}

words! {
    /// One thing done on a host.
    StepId, "step" {
        /// Open a connection.
        Connect = "connect",
        /// Look, change nothing.
        Inspect = "inspect",
        /// `git pull`, pinned: fetch, and move to the target.
        Pull = "pull",
        /// The install command.
        Install = "install",
        /// `systemctl restart`.
        Restart = "restart",
        /// Wait while the service settles; no connection is held.
        Settle = "settle",
        /// Service active and stable, HEAD and tree on the target.
        Verify = "verify",
        /// Forced checkout of the previous commit.
        RollbackCheckout = "rollback_checkout",
        /// Install for the previous commit.
        RollbackInstall = "rollback_install",
        /// Restart on the previous commit.
        RollbackRestart = "rollback_restart",
        /// Wait after that.
        RollbackSettle = "rollback_settle",
        /// Service active and stable, HEAD and tree on the previous commit.
        RollbackVerify = "rollback_verify",
    }
}

impl StepId {
    /// Whether the step changes the host.
    #[must_use]
    pub fn is_mutating(self) -> bool {
        matches!(
            self,
            Self::Pull
                | Self::Install
                | Self::Restart
                | Self::RollbackCheckout
                | Self::RollbackInstall
                | Self::RollbackRestart
        )
    }
}

words! {
    /// What somebody may do.
    Role, "role" {
        /// Everything: hosts, people, tokens, the audit trail.
        Admin = "admin",
        /// Start and steer rollouts.
        Operator = "operator",
        /// Look at everything but people, tokens and the audit trail.
        Viewer = "viewer",
        /// See the version and state of their own instances, nothing else.
        Owner = "owner",
    }
}

words! {
    /// What a request needs.
    Right, "right" {
        /// See one's own instances.
        Own = "own",
        /// Look.
        Read = "read",
        /// Start and steer rollouts.
        Operate = "operate",
        /// Change hosts, people and tokens; read the audit trail.
        Manage = "manage",
    }
}

impl Role {
    /// Whether this role has the right. Own instances are everybody's: they are those of one's own name.
    #[must_use]
    pub fn may(self, right: Right) -> bool {
        match right {
            Right::Own => true,
            Right::Read => matches!(self, Self::Admin | Self::Operator | Self::Viewer),
            Right::Operate => matches!(self, Self::Admin | Self::Operator),
            Right::Manage => matches!(self, Self::Admin),
        }
    }
}

words! {
    /// What came of an act.
    AuditResult, "audit result" {
        /// It was done.
        Done = "done",
        /// They may not, or could not prove who they are.
        Denied = "denied",
        /// It did not work.
        Failed = "failed",
    }
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// A settled status.
    pub status: AttemptStatus,
    /// Why, for programs.
    pub reason: Reason,
    /// The step that decided it; none for a plain success.
    pub step: Option<StepId>,
    /// Whether any mutating command may have run and left something behind.
    pub touched: bool,
    /// Whether a person must look.
    pub needs_attention: bool,
    /// Why, for people: one line, printable.
    pub message: String,
    /// The commit the host is on, as far as it was seen at the end.
    pub version: Option<CommitHash>,
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn words_round_trip_through_text_and_json() {
        for reason in Reason::ALL {
            assert_eq!(reason.as_str().parse::<Reason>().unwrap(), *reason);
            let json = serde_json::to_string(reason).unwrap();
            assert_eq!(json, format!("\"{reason}\""));
            assert_eq!(serde_json::from_str::<Reason>(&json).unwrap(), *reason);
        }
        assert!("Updated".parse::<Reason>().is_err());
    }

    #[test]
    fn four_states_are_active() {
        let active: Vec<&str> = RolloutState::ALL
            .iter()
            .filter(|s| s.is_active())
            .map(|s| s.as_str())
            .collect();
        assert_eq!(active, ["running", "paused", "halting", "aborting"]);
    }
}
