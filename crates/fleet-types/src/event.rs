use serde::{Deserialize, Serialize};

use crate::ids::{RolloutId, Seq};
use crate::names::Invalid;
use crate::time::Timestamp;

/// One entry of the feed that the command line, the page, the event stream and webhooks all read. Fields that do not
/// apply are absent. Readers ignore fields and kinds that they do not know.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Event {
    /// Position in the feed.
    pub seq: Seq,
    /// When.
    pub at: Timestamp,
    /// What happened.
    #[serde(rename = "type")]
    pub kind: EventKind,
    /// The rollout.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<RolloutId>,
    /// The stage, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<u32>,
    /// The host's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// What it came to: a status, a stage state, or `started`, `ok`, `failed` for a step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// Why, for programs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Why, for people. Printable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Version before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Version after.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// How long it took.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_seconds: Option<f64>,
    /// Who did it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
}

impl Event {
    /// An event of this kind with nothing else said; the store gives it its number.
    #[must_use]
    pub fn new(kind: EventKind, at: Timestamp) -> Self {
        Self {
            seq: Seq(0),
            at,
            kind,
            rollout: None,
            stage: None,
            host: None,
            step: None,
            status: None,
            reason: None,
            message: None,
            from: None,
            to: None,
            duration_seconds: None,
            actor: None,
        }
    }
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $variant:ident = $word:literal,)+) => {
        /// What happened. Grows; a reader skips what it does not know.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "&'static str")]
        #[non_exhaustive]
        pub enum EventKind { $($(#[$doc])* $variant,)+ }

        impl EventKind {
            /// The word for it.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }
        }

        #[cfg(feature = "schema")]
        crate::schema::words!(EventKind, [$($word,)+]);

        impl std::str::FromStr for EventKind {
            type Err = Invalid;

            fn from_str(text: &str) -> Result<Self, Invalid> {
                match text {
                    $($word => Ok(Self::$variant),)+
                    _ => Err(Invalid::new("event type", text, "is not known")),
                }
            }
        }
    };
}

kinds! {
    /// A rollout was planned and may begin.
    RolloutStarted = "rollout.started",
    /// The target was resolved to a commit.
    RolloutResolved = "rollout.resolved",
    /// No new hosts from here on.
    RolloutPaused = "rollout.paused",
    /// It goes on.
    RolloutResumed = "rollout.resumed",
    /// The gate said halt; hosts in flight finish.
    RolloutHalting = "rollout.halting",
    /// It is over, halted.
    RolloutHalted = "rollout.halted",
    /// A person ended it; hosts in flight finish.
    RolloutAborting = "rollout.aborting",
    /// It is over, aborted.
    RolloutAborted = "rollout.aborted",
    /// It went through.
    RolloutFinished = "rollout.finished",
    /// A stage began.
    StageStarted = "stage.started",
    /// A stage was judged.
    StageFinished = "stage.finished",
    /// A worker took a host on.
    HostStarted = "host.started",
    /// Another worker took over a host whose worker died.
    HostTakenOver = "host.taken_over",
    /// A step began or ended.
    HostStep = "host.step",
    /// A host settled.
    HostFinished = "host.finished",
    /// The health checker saw a change.
    HostHealth = "host.health",
    /// A host was added to the fleet.
    HostAdded = "host.added",
    /// A host's entry was changed.
    HostEdited = "host.edited",
    /// A host was removed from the fleet.
    HostRemoved = "host.removed",
    /// Host keys were pinned.
    HostTrusted = "host.trusted",
    /// A person cleared the mark that a host needs attention.
    HostCleared = "host.cleared",
}

impl TryFrom<String> for EventKind {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        text.parse()
    }
}

impl From<EventKind> for &'static str {
    fn from(value: EventKind) -> Self {
        value.as_str()
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn absent_fields_are_absent() {
        let event = Event {
            seq: Seq(7),
            host: Some("a".into()),
            ..Event::new(EventKind::HostStarted, Timestamp(0))
        };
        let json = serde_json::to_string(&event).unwrap();
        assert_eq!(
            json,
            r#"{"seq":7,"at":"1970-01-01T00:00:00.000Z","type":"host.started","host":"a"}"#
        );
        assert_eq!(serde_json::from_str::<Event>(&json).unwrap(), event);
    }
}
