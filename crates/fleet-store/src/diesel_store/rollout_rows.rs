//! Rows of rollouts, stages and attempts.

use diesel::prelude::*;
use fleet_types::{GateCounts, Percent, Policy, RolloutId, Timestamp, view};

use super::rows::{count, from_json, word, word_opt};
use super::schema::{attempt_specs, attempts, rollouts, stages};
use super::work::Trouble;
use crate::records::*;

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
    pub(crate) schema: i64,
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
            schema: Schema(self.schema),
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
