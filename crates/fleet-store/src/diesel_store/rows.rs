//! Rows as diesel sees them, and their conversion to records. A row that this program cannot understand is an error that
//! names the table, never a default.

use std::str::FromStr;

use diesel::prelude::*;
use fleet_types::{
    Event, EventKind, GateCounts, HostId, Invalid, Percent, Policy, Reason, RolloutId, Seq, StepId,
    Timestamp, WorkerId, view,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::schema::{
    attempt_specs, attempts, bad_versions, drivers, events, hosts, rollouts, stages, steps, workers,
};
use super::work::Trouble;
use crate::clock::LeaseMoment;
use crate::records::*;

/// Reads a word of one of our closed lists, an id or a version.
pub(crate) fn word<T: FromStr>(table: &'static str, text: &str) -> Result<T, Trouble>
where
    T::Err: std::fmt::Display,
{
    text.parse().map_err(|error: T::Err| Trouble::Corrupt {
        table,
        cause: error.to_string(),
    })
}

pub(crate) fn word_opt<T: FromStr>(
    table: &'static str,
    text: Option<&str>,
) -> Result<Option<T>, Trouble>
where
    T::Err: std::fmt::Display,
{
    text.map(|text| word(table, text)).transpose()
}

pub(crate) fn from_json<T: DeserializeOwned>(
    table: &'static str,
    text: &str,
) -> Result<T, Trouble> {
    serde_json::from_str(text).map_err(|error| Trouble::Corrupt {
        table,
        cause: error.to_string(),
    })
}

pub(crate) fn to_json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("our records have string keys and finite numbers")
}

pub(crate) fn count(table: &'static str, number: i64) -> Result<u32, Trouble> {
    u32::try_from(number).map_err(|_| Trouble::Corrupt {
        table,
        cause: format!("{number} is no count"),
    })
}

/// The machine of a host as it is compared: one spelling for each address and port.
pub(crate) fn machine(spec: &HostSpec) -> String {
    let address = spec.address.as_str().to_ascii_lowercase();
    if address.contains(':') {
        format!("[{address}]:{}", spec.port)
    } else {
        format!("{address}:{}", spec.port)
    }
}

#[derive(Clone, Debug, Queryable, Selectable, Insertable)]
#[diesel(table_name = hosts, treat_none_as_default_value = false)]
pub(crate) struct HostRow {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) machine: String,
    pub(crate) repo: String,
    pub(crate) spec: String,
    pub(crate) labels: String,
    pub(crate) owner: Option<String>,
    pub(crate) host_keys: String,
    pub(crate) current_version: Option<String>,
    pub(crate) previous_version: Option<String>,
    pub(crate) needs_attention: bool,
    pub(crate) health: String,
    pub(crate) last_rollout: Option<String>,
    pub(crate) last_update_at: Option<i64>,
    pub(crate) lease_worker: Option<String>,
    pub(crate) lease_machine: Option<String>,
    pub(crate) lease_purpose: Option<String>,
    pub(crate) lease_epoch: i64,
    pub(crate) added_at: i64,
    pub(crate) removed_at: Option<i64>,
}

impl HostRow {
    pub(crate) fn new(id: HostId, host: &NewHost, at: Timestamp) -> Self {
        Self {
            id: id.to_string(),
            name: host.name.to_string(),
            machine: machine(&host.spec),
            repo: host.spec.app.repo.to_string(),
            spec: to_json(&host.spec),
            labels: to_json(&host.labels),
            owner: host.owner.clone(),
            host_keys: "[]".to_owned(),
            current_version: None,
            previous_version: None,
            needs_attention: false,
            health: fleet_types::HealthState::Unknown.as_str().to_owned(),
            last_rollout: None,
            last_update_at: None,
            lease_worker: None,
            lease_machine: None,
            lease_purpose: None,
            lease_epoch: 0,
            added_at: at.0,
            removed_at: None,
        }
    }

    pub(crate) fn id(&self) -> Result<HostId, Trouble> {
        word("hosts", &self.id)
    }

    pub(crate) fn keys(&self) -> Result<Vec<String>, Trouble> {
        from_json("hosts", &self.host_keys)
    }

    /// `last` is the status and the target of its last attempt.
    pub(crate) fn record(&self, last: Option<&LastAttempt>) -> Result<HostRecord, Trouble> {
        let t = "hosts";
        Ok(HostRecord {
            id: self.id()?,
            name: word(t, &self.name)?,
            spec: from_json(t, &self.spec)?,
            labels: from_json(t, &self.labels)?,
            owner: self.owner.clone(),
            host_keys: self.keys()?,
            current_version: word_opt(t, self.current_version.as_deref())?,
            previous_version: word_opt(t, self.previous_version.as_deref())?,
            target_version: word_opt(t, last.and_then(|last| last.target.as_deref()))?,
            update_status: word_opt(t, last.map(|last| last.status.as_str()))?,
            needs_attention: self.needs_attention,
            last_update_at: self.last_update_at.map(Timestamp),
            health: word(t, &self.health)?,
        })
    }
}

/// What a host's entry shows of its last attempt.
#[derive(Clone, Debug, Queryable, Selectable)]
#[diesel(table_name = attempts)]
pub(crate) struct LastAttempt {
    pub(crate) status: String,
    #[diesel(column_name = target_version)]
    pub(crate) target: Option<String>,
}

#[derive(Clone, Debug, Queryable, Selectable, Insertable)]
#[diesel(table_name = rollouts, treat_none_as_default_value = false)]
pub(crate) struct RolloutRow {
    pub(crate) id: String,
    pub(crate) number: i64,
    pub(crate) kind: String,
    pub(crate) state: String,
    pub(crate) target: Option<String>,
    pub(crate) target_ref: String,
    pub(crate) policy: String,
    pub(crate) source: Option<String>,
    pub(crate) started_by: String,
    pub(crate) message: Option<String>,
    pub(crate) created_at: i64,
    pub(crate) finished_at: Option<i64>,
    pub(crate) stage: i64,
    pub(crate) reason: Option<String>,
    pub(crate) hosts: i64,
    pub(crate) forced: bool,
}

impl RolloutRow {
    pub(crate) fn policy(&self) -> Result<Policy, Trouble> {
        from_json("rollouts", &self.policy)
    }

    pub(crate) fn state(&self) -> Result<fleet_types::RolloutState, Trouble> {
        word("rollouts", &self.state)
    }

    pub(crate) fn kind(&self) -> Result<fleet_types::RolloutKind, Trouble> {
        word("rollouts", &self.kind)
    }

    pub(crate) fn id(&self) -> Result<RolloutId, Trouble> {
        word("rollouts", &self.id)
    }

    pub(crate) fn record(&self) -> Result<RolloutRecord, Trouble> {
        let t = "rollouts";
        Ok(RolloutRecord {
            id: self.id()?,
            kind: self.kind()?,
            state: self.state()?,
            target: word_opt(t, self.target.as_deref())?,
            target_ref: self.target_ref.clone(),
            policy: self.policy()?,
            source: word_opt(t, self.source.as_deref())?,
            started_by: self.started_by.clone(),
            message: self.message.clone(),
            created_at: Timestamp(self.created_at),
            finished_at: self.finished_at.map(Timestamp),
            stage: count(t, self.stage)?,
            reason: self.reason.clone(),
            hosts: count(t, self.hosts)?,
        })
    }
}

#[derive(Clone, Debug, Queryable, Selectable, Insertable)]
#[diesel(table_name = stages, treat_none_as_default_value = false)]
pub(crate) struct StageRow {
    pub(crate) rollout: String,
    pub(crate) position: i64,
    pub(crate) percent: i64,
    pub(crate) size: i64,
    pub(crate) state: String,
    pub(crate) updating: i64,
    pub(crate) updated: i64,
    pub(crate) unchanged: i64,
    pub(crate) failed: i64,
    pub(crate) rolled_back: i64,
    pub(crate) skipped: i64,
    pub(crate) blamed: i64,
}

impl StageRow {
    pub(crate) fn bad(&self) -> i64 {
        self.failed + self.rolled_back
    }

    pub(crate) fn settled(&self) -> i64 {
        self.updated + self.unchanged + self.bad() + self.skipped
    }

    pub(crate) fn pending(&self) -> i64 {
        self.size - self.settled() - self.updating
    }

    pub(crate) fn gate(&self) -> Result<GateCounts, Trouble> {
        let t = "stages";
        Ok(GateCounts {
            size: count(t, self.size)?,
            good: count(t, self.updated)?,
            bad: count(t, self.bad())?,
            unchanged: count(t, self.unchanged)?,
            skipped: count(t, self.skipped)?,
        })
    }

    pub(crate) fn counts(&self) -> Result<view::Counts, Trouble> {
        let t = "stages";
        Ok(view::Counts {
            pending: count(t, self.pending())?,
            updating: count(t, self.updating)?,
            success: count(t, self.updated + self.unchanged)?,
            failed: count(t, self.failed)?,
            rolled_back: count(t, self.rolled_back)?,
            skipped: count(t, self.skipped)?,
        })
    }

    pub(crate) fn view(&self, threshold: Percent) -> Result<view::Stage, Trouble> {
        let t = "stages";
        Ok(view::Stage {
            index: count(t, self.position)?,
            percent: count(t, self.percent)?,
            hosts: count(t, self.size)?,
            may_fail: self.gate()?.may_fail(threshold),
            state: word(t, &self.state)?,
            counts: self.counts()?,
        })
    }
}

#[derive(Clone, Debug, Queryable, Selectable, Insertable)]
#[diesel(table_name = attempts, treat_none_as_default_value = false)]
pub(crate) struct AttemptRow {
    pub(crate) rollout: String,
    pub(crate) host: String,
    pub(crate) position: i64,
    pub(crate) stage: i64,
    pub(crate) name: String,
    pub(crate) machine: String,
    pub(crate) status: String,
    pub(crate) reason: Option<String>,
    pub(crate) touched: bool,
    pub(crate) needs_attention: bool,
    pub(crate) progress: String,
    pub(crate) step: Option<String>,
    pub(crate) step_since: Option<i64>,
    pub(crate) step_deadline: Option<i64>,
    pub(crate) message: Option<String>,
    pub(crate) previous_version: Option<String>,
    pub(crate) target_version: Option<String>,
    pub(crate) from_version: Option<String>,
    pub(crate) takeovers: i64,
    pub(crate) steps: i64,
    pub(crate) started_at: Option<i64>,
    pub(crate) finished_at: Option<i64>,
}

impl AttemptRow {
    pub(crate) fn record(&self, spec: &str) -> Result<AttemptRecord, Trouble> {
        let t = "attempts";
        Ok(AttemptRecord {
            rollout: word(t, &self.rollout)?,
            host: word(t, &self.host)?,
            name: word(t, &self.name)?,
            stage: count(t, self.stage)?,
            spec: from_json("attempt_specs", spec)?,
            target: word_opt(t, self.target_version.as_deref())?,
            from: word_opt(t, self.from_version.as_deref())?,
            status: word(t, &self.status)?,
            reason: word_opt(t, self.reason.as_deref())?,
            touched: self.touched,
            needs_attention: self.needs_attention,
            progress: from_json(t, &self.progress)?,
            step: word_opt(t, self.step.as_deref())?,
            message: self.message.clone(),
            started_at: self.started_at.map(Timestamp),
            finished_at: self.finished_at.map(Timestamp),
            takeovers: count(t, self.takeovers)?,
        })
    }

    pub(crate) fn view(&self, now: Timestamp) -> Result<view::Attempt, Trouble> {
        let t = "attempts";
        let until = self.finished_at.map_or(now, Timestamp);
        let duration = self
            .started_at
            .map(|at| until.since(Timestamp(at)).as_secs_f64());
        Ok(view::Attempt {
            rollout: word(t, &self.rollout)?,
            stage: count(t, self.stage)?,
            status: word(t, &self.status)?,
            reason: self.reason.clone(),
            touched: self.touched,
            step: self.step.clone(),
            message: self.message.clone(),
            duration_seconds: duration,
        })
    }
}

/// What of an attempt is needed to write its next event: read at every step, so no more than that.
#[derive(Clone, Debug, Queryable, Selectable)]
#[diesel(table_name = attempts)]
pub(crate) struct OwnedAttempt {
    pub(crate) rollout: String,
    pub(crate) host: String,
    pub(crate) position: i64,
    pub(crate) stage: i64,
    pub(crate) name: String,
    pub(crate) progress: String,
    pub(crate) previous_version: Option<String>,
    pub(crate) steps: i64,
    pub(crate) started_at: Option<i64>,
}

#[derive(Clone, Debug, Queryable, Selectable, Insertable)]
#[diesel(table_name = attempt_specs, treat_none_as_default_value = false)]
pub(crate) struct SpecRow {
    pub(crate) rollout: String,
    pub(crate) host: String,
    pub(crate) spec: String,
}

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
        Ok(StepRecord {
            step: word::<StepId>(t, &self.step)?,
            started_at: Timestamp(self.started_at),
            finished_at: self.finished_at.map(Timestamp),
            failed: reason.map(|reason| (reason, self.message.clone().unwrap_or_default())),
            output: output.transpose()?.unwrap_or_default(),
        })
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
    pub(crate) lease_era: String,
    pub(crate) lease_until: i64,
    pub(crate) gone_at: Option<i64>,
}

/// A worker's lease by itself.
#[derive(Clone, Debug, Queryable, Selectable)]
#[diesel(table_name = workers)]
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
    pub(crate) fn lease_stands(&self, moment: &LeaseMoment) -> bool {
        self.gone_at.is_none() && *self.lease_era == *moment.era && self.lease_until > moment.at
    }

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
        })
    }
}

#[derive(Clone, Debug, Insertable)]
#[diesel(table_name = drivers, treat_none_as_default_value = false)]
pub(crate) struct DriverRow {
    pub(crate) rollout: String,
    pub(crate) worker: String,
}

#[derive(Clone, Debug, Insertable)]
#[diesel(table_name = bad_versions, treat_none_as_default_value = false)]
pub(crate) struct BadVersionRow {
    pub(crate) version: String,
    pub(crate) rollout: String,
    pub(crate) at: i64,
}
