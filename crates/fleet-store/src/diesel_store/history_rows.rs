//! Rows of steps, events and workers.

use std::num::NonZeroU32;

use diesel::prelude::*;
use fleet_types::{
    Event, EventKind, Invalid, Reason, Seq, StepId, StepOutput, Timestamp, WorkerId,
};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::rows::{count, from_json, to_json, word, word_opt};
use super::schema::{events, steps, workers};
use super::work::Trouble;
use crate::clock::LeaseMoment;
use crate::records::*;

#[derive(Clone, Debug, Queryable, Selectable, Insertable)]
#[diesel(table_name = steps, treat_none_as_default_value = false)]
pub(crate) struct StepRow {
    pub(crate) rollout: String,
    pub(crate) position: i64,
    pub(crate) number: i64,
    pub(crate) step: String,
    pub(crate) started_at: i64,
    pub(crate) finished_at: Option<i64>,
    pub(crate) duration_ms: Option<i64>,
    pub(crate) reason: Option<String>,
    pub(crate) message: Option<String>,
    pub(crate) output: Option<String>,
}

impl StepRow {
    pub(crate) fn record(&self) -> Result<StepRecord, Trouble> {
        let t = "steps";
        let reason: Option<Reason> = word_opt(t, self.reason.as_deref())?;
        let output = self.output.as_deref().map(|text| from_json(t, text));
        let kept: KeptOutput = output.transpose()?.unwrap_or_default();
        Ok(StepRecord {
            step: word::<StepId>(t, &self.step)?,
            started_at: Timestamp(self.started_at),
            finished_at: self.finished_at.map(Timestamp),
            failed: reason.map(|reason| (reason, self.message.clone().unwrap_or_default())),
            output: kept.output,
            removed_after_days: kept.removed_after_days,
        })
    }
}

/// What there is of a step's output. Programs from before removal see one without text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub(crate) struct KeptOutput {
    #[serde(flatten)]
    output: StepOutput,
    /// The text was removed, for it had been kept for so many days.
    #[serde(default)]
    removed_after_days: Option<NonZeroU32>,
}

impl KeptOutput {
    /// The same as JSON, with a mark in place of the text. None where there is no text, or none that can be told from the
    /// rest. What a newer program may have put beside it stays.
    pub(crate) fn without_text(json: &str, kept_days: NonZeroU32) -> Option<String> {
        let mut kept: Map<String, Value> = serde_json::from_str(json).ok()?;
        let mut removed = 0;
        for stream in ["stdout", "stderr"] {
            if let Some(Value::String(text)) = kept.get_mut(stream) {
                removed += std::mem::take(text).len();
            }
        }
        kept.insert("removed_after_days".to_owned(), kept_days.get().into());
        (removed > 0).then(|| to_json(&kept))
    }
}

#[derive(Clone, Debug, Queryable, Selectable, Insertable)]
#[diesel(table_name = events, treat_none_as_default_value = false)]
pub(crate) struct EventRow {
    pub(crate) seq: i64,
    pub(crate) at: i64,
    pub(crate) kind: String,
    pub(crate) rollout: Option<String>,
    pub(crate) stage: Option<i64>,
    pub(crate) host: Option<String>,
    pub(crate) step: Option<String>,
    pub(crate) status: Option<String>,
    pub(crate) reason: Option<String>,
    pub(crate) message: Option<String>,
    pub(crate) from_version: Option<String>,
    pub(crate) to_version: Option<String>,
    pub(crate) duration_ms: Option<i64>,
    pub(crate) actor: Option<String>,
}

impl From<Event> for EventRow {
    fn from(event: Event) -> Self {
        let plain = |text: Option<String>| text.map(|text| fleet_types::printable(&text));
        // Durations are under a few centuries, so the cast is exact enough; a nonsense float saturates.
        #[expect(
            clippy::cast_possible_truncation,
            reason = "saturating, whole milliseconds"
        )]
        let millis = |seconds: f64| (seconds * 1000.0).round() as i64;
        Self {
            seq: event.seq.0,
            at: event.at.0,
            kind: event.kind.as_str().to_owned(),
            rollout: event.rollout.map(|id| id.to_string()),
            stage: event.stage.map(i64::from),
            host: event.host,
            step: event.step,
            status: event.status,
            reason: plain(event.reason),
            message: plain(event.message),
            from_version: event.from,
            to_version: event.to,
            duration_ms: event.duration_seconds.map(millis),
            actor: plain(event.actor),
        }
    }
}

impl EventRow {
    /// None for a kind that a newer program wrote: readers skip what they do not know.
    pub(crate) fn event(self) -> Result<Option<Event>, Trouble> {
        let t = "events";
        let kind: Result<EventKind, Invalid> = self.kind.parse();
        let Ok(kind) = kind else { return Ok(None) };
        #[expect(clippy::cast_precision_loss, reason = "under 2^52 milliseconds")]
        let seconds = |millis: i64| millis as f64 / 1000.0;
        Ok(Some(Event {
            seq: Seq(self.seq),
            at: Timestamp(self.at),
            kind,
            rollout: word_opt(t, self.rollout.as_deref())?,
            stage: self.stage.map(|stage| count(t, stage)).transpose()?,
            host: self.host,
            step: self.step,
            status: self.status,
            reason: self.reason,
            message: self.message,
            from: self.from_version,
            to: self.to_version,
            duration_seconds: self.duration_ms.map(seconds),
            actor: self.actor,
        }))
    }
}

#[derive(Clone, Debug, Queryable, Selectable, Insertable)]
#[diesel(table_name = workers, treat_none_as_default_value = false)]
pub(crate) struct WorkerRow {
    pub(crate) id: String,
    pub(crate) label: String,
    pub(crate) serves: bool,
    pub(crate) process: Option<String>,
    pub(crate) since: i64,
    pub(crate) schema: i64,
    #[diesel(embed)]
    pub(crate) lease: LeaseRow,
}

/// A worker's lease.
#[derive(Clone, Debug, Queryable, Selectable, Insertable)]
#[diesel(table_name = workers, treat_none_as_default_value = false)]
pub(crate) struct LeaseRow {
    pub(crate) lease_era: String,
    pub(crate) lease_until: i64,
    pub(crate) gone_at: Option<i64>,
}

impl LeaseRow {
    pub(crate) fn stands(&self, moment: &LeaseMoment) -> bool {
        self.gone_at.is_none() && *self.lease_era == *moment.era && self.lease_until > moment.at
    }
}

impl WorkerRow {
    /// A process that cannot be read is one that cannot be judged: its lease alone counts.
    pub(crate) fn process(&self) -> Option<ProcessId> {
        serde_json::from_str(self.process.as_deref()?).ok()
    }

    pub(crate) fn record(&self) -> Result<WorkerRecord, Trouble> {
        Ok(WorkerRecord {
            id: word::<WorkerId>("workers", &self.id)?,
            label: self.label.clone(),
            serves: self.serves,
            process: self.process(),
            since: Timestamp(self.since),
            schema: Schema(self.schema),
        })
    }
}
