//! The exit codes: part of what the program promises to scripts.

use fleet_types::RolloutState;
use fleet_types::view;

/// How the program ended. [`Exit::code`] is the one place where a number is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Every chosen host is on its target; what was asked for was done.
    Done,
    /// A fault of this program, or of the machine under it.
    Unexpected,
    /// Wrong without looking at store or hosts: usage, configuration.
    Usage,
    /// Finished; some hosts rolled back or were refused untouched.
    SomeFailed,
    /// Halted or aborted.
    Halted,
    /// A host needs attention.
    Attention,
    /// The server cannot be reached, or refuses the login.
    Unreached,
    /// Another rollout is active.
    Active,
    /// Refused after looking, before any host was touched.
    Refused,
    /// Interrupted; the message says what still runs.
    Interrupted,
}

impl Exit {
    /// The number.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Unexpected => 1,
            Self::Usage => 2,
            Self::SomeFailed => 3,
            Self::Halted => 4,
            Self::Attention => 5,
            Self::Unreached => 6,
            Self::Active => 7,
            Self::Refused => 8,
            Self::Interrupted => 130,
        }
    }

    /// How a rollout that is over ended, the worst first: a host needs attention, halted or aborted, some failed.
    pub(crate) fn of_rollout(rollout: &view::Rollout, hosts: &[view::Host]) -> Self {
        if hosts.iter().any(needs_attention) {
            return Self::Attention;
        }
        match rollout.state {
            RolloutState::Halted if is_before_any_host(rollout) => Self::Refused,
            RolloutState::Halted | RolloutState::Aborted => Self::Halted,
            RolloutState::Completed => Self::Done,
            RolloutState::CompletedWithFailures => Self::SomeFailed,
            RolloutState::Running
            | RolloutState::Paused
            | RolloutState::Halting
            | RolloutState::Aborting => Self::Interrupted,
            _ => Self::Unexpected,
        }
    }
}

/// Whether the host's part in the rollout ended so that a person must look.
pub(crate) fn needs_attention(host: &view::Host) -> bool {
    let failed = |attempt: &view::Attempt| attempt.status == fleet_types::AttemptStatus::Failed;
    host.needs_attention && host.attempt.as_ref().is_some_and(failed)
}

/// Whether the rollout ended before it began: its target could not be found, or is known to be bad.
pub(crate) fn is_before_any_host(rollout: &view::Rollout) -> bool {
    let reason = rollout.reason.as_deref().unwrap_or_default();
    reason.starts_with("cannot_resolve_target") || reason.starts_with("known_bad")
}

/// The help text on exit codes, shown under `--help`.
pub(crate) const HELP: &str = "\
Exit codes:
    0  every chosen host is on its target
    1  unexpected error
    2  wrong without looking at store or hosts: usage, configuration
    3  finished; some hosts rolled back or were refused untouched
    4  halted or aborted
    5  a host needs attention
    6  the server cannot be reached, or refuses the login
    7  another rollout is active
    8  refused after looking, before any host was touched
  130  interrupted; the message says what still runs
If several apply, the worst wins: 5, 4, 3.";
