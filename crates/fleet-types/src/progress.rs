//! What is remembered of an attempt under way, and the one function that carries it on.

use serde::{Deserialize, Serialize};

use crate::ids::Epoch;
use crate::names::CommitHash;
use crate::planted::{Planted, planted};
use crate::status::{Outcome, Reason, StepId};

/// What the host was like before the first mutating command; where a rollback goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Previous {
    /// HEAD.
    pub version: CommitHash,
    /// The branch HEAD was attached to; none when it was detached.
    pub branch: Option<String>,
    /// Whether the service was active.
    pub was_active: bool,
}

/// Which way an attempt goes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// To the target.
    #[default]
    Forward,
    /// Back to the previous version, because a step failed.
    Back {
        /// The step that failed.
        step: StepId,
        /// Why.
        reason: Reason,
        /// Why, for people.
        message: String,
    },
}

/// All that another worker needs to go on with an attempt whose worker died.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// What the host was like; durable before anything is changed.
    pub previous: Option<Previous>,
    /// Whether a mutating command may have been sent.
    pub touched: bool,
    /// Which way it goes.
    pub phase: Phase,
    /// The step it is in, or was in last.
    pub step: Option<StepId>,
}

/// What happens in an attempt, in the order in which it is made durable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum HostEvent {
    /// A step is about to be done. Recorded before anything is sent.
    StepStarted {
        /// The step.
        step: StepId,
        /// After this many seconds something is wrong.
        limit_seconds: u32,
    },
    /// What the host is like. Recorded before the first mutating step.
    PreviousKnown {
        /// It.
        previous: Previous,
    },
    /// A step was done.
    StepFinished {
        /// The step.
        step: StepId,
        /// How long it took, in milliseconds.
        duration_ms: u64,
        /// What it printed.
        output: StepOutput,
    },
    /// A step failed.
    StepFailed {
        /// The step.
        step: StepId,
        /// Why.
        reason: Reason,
        /// Why, for people.
        message: String,
        /// How long it took, in milliseconds.
        duration_ms: u64,
        /// What it printed.
        output: StepOutput,
    },
    /// The host is taken back from here on.
    RollbackStarted {
        /// The step that failed.
        step: StepId,
        /// Why.
        reason: Reason,
        /// Why, for people.
        message: String,
    },
    /// The connection was lost in mid-step; the host is asked again.
    ConnectionLost {
        /// The step it was lost in.
        step: StepId,
        /// What is known of the cause.
        message: String,
    },
    /// The host held a record of another store or a higher epoch, and was given ours.
    FenceReplaced {
        /// The store on record.
        store: String,
        /// The epoch on record.
        epoch: i64,
        /// Our epoch from now on.
        raised_to: Epoch,
    },
    /// The attempt is over.
    Settled {
        /// How.
        outcome: Outcome,
    },
}

/// What a step printed: the last part of each stream, made printable, and its exit code.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepOutput {
    /// Exit code, if it ended by itself.
    pub exit: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    /// Bytes of both streams before they were cut.
    pub total_bytes: u64,
}

/// An event that cannot happen in this state: a fault of the program that recorded it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{event} cannot follow in this state: {why}")]
pub struct IllegalEvent {
    /// The event's kind.
    pub event: &'static str,
    /// What is missing.
    pub why: &'static str,
}

impl Progress {
    /// The state after `event`. Used by the engine, the store and every reader.
    pub fn after(&self, event: &HostEvent) -> Result<Progress, IllegalEvent> {
        let mut next = self.clone();
        let illegal = |event, why| Err(IllegalEvent { event, why });
        match event {
            HostEvent::StepStarted { step, .. } => {
                if step.is_mutating() {
                    if self.previous.is_none() {
                        return illegal(
                            "step_started",
                            "a mutating step needs the previous version on record first",
                        );
                    }
                    next.touched = true;
                }
                next.step = Some(*step);
            }
            HostEvent::PreviousKnown { previous } => {
                if self
                    .previous
                    .as_ref()
                    .is_some_and(|known| known != previous)
                    && !planted(Planted::PreviousReread)
                {
                    return illegal("previous_known", "the previous version is written once");
                }
                next.previous = Some(previous.clone());
            }
            HostEvent::RollbackStarted {
                step,
                reason,
                message,
            } => {
                if self.previous.is_none() {
                    return illegal("rollback_started", "there is no previous version on record");
                }
                if matches!(self.phase, Phase::Back { .. }) {
                    return illegal("rollback_started", "it is going back already");
                }
                next.phase = Phase::Back {
                    step: *step,
                    reason: *reason,
                    message: message.clone(),
                };
            }
            HostEvent::StepFinished { step, .. } | HostEvent::StepFailed { step, .. } => {
                if self.step != Some(*step) {
                    return illegal("step_finished", "another step was started last");
                }
            }
            HostEvent::ConnectionLost { .. } | HostEvent::FenceReplaced { .. } => {}
            HostEvent::Settled { outcome } => {
                if !outcome.status.is_settled() {
                    return illegal("settled", "the status is not a settled one");
                }
            }
        }
        Ok(next)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn previous(digit: char) -> HostEvent {
        let version = String::from(digit).repeat(40).parse().unwrap();
        HostEvent::PreviousKnown {
            previous: Previous {
                version,
                branch: Some("main".into()),
                was_active: true,
            },
        }
    }

    fn started(step: StepId) -> HostEvent {
        HostEvent::StepStarted {
            step,
            limit_seconds: 1,
        }
    }

    #[test]
    fn nothing_is_changed_before_the_previous_version_is_on_record() {
        let fresh = Progress::default();
        assert!(fresh.after(&started(StepId::Inspect)).is_ok());
        for step in StepId::ALL.iter().filter(|s| s.is_mutating()) {
            assert!(fresh.after(&started(*step)).is_err());
            let known = fresh.after(&previous('a')).unwrap();
            assert!(!known.touched);
            assert!(known.after(&started(*step)).unwrap().touched);
        }
    }

    #[test]
    fn the_previous_version_is_written_once() {
        let known = Progress::default().after(&previous('a')).unwrap();
        assert!(known.after(&previous('a')).is_ok());
        assert!(known.after(&previous('b')).is_err());
    }

    #[test]
    fn a_rollback_starts_once() {
        let back = HostEvent::RollbackStarted {
            step: StepId::Install,
            reason: Reason::InstallFailed,
            message: "x".into(),
        };
        assert!(Progress::default().after(&back).is_err());
        let going = Progress::default()
            .after(&previous('a'))
            .unwrap()
            .after(&back)
            .unwrap();
        assert!(going.after(&back).is_err());
    }
}
