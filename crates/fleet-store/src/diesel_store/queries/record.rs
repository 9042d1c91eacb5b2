//! What happens in an attempt, made durable under its lease.

use diesel::prelude::*;
use fleet_types::{
    AttemptStatus, Epoch, Event, EventKind, HostEvent, Outcome, Planted, Progress, Reason, StepId,
    StepOutput, planted,
};

use super::{Conn, lease_moment, settle, workers as workers_queries};
use crate::diesel_store::prepared::{update, update_returning};
use crate::diesel_store::rows::{OwnedAttempt, StepRow, count, from_json, to_json, word};
use crate::diesel_store::schema::{attempts, hosts, rollouts, steps, workers};
use crate::diesel_store::work::{Answer, Trouble, Work, refuse, widen};
use crate::error::LeaseError;
use crate::records::HostLease;

pub(crate) fn attempt_record(
    conn: &mut Conn,
    work: &mut Work,
    lease: &HostLease,
    event: &HostEvent,
) -> Answer<(), LeaseError> {
    if matches!(event, HostEvent::Settled { .. }) {
        // The order of locks everywhere: the rollout, then hosts.
        lock_rollout(conn, &lease.rollout.to_string())?;
    }
    let attempt = owned(conn, work, lease)?;
    let progress: Progress = from_json("attempts", &attempt.progress)?;
    let next = match progress.after(event) {
        Ok(next) => next,
        Err(illegal) => return refuse(illegal),
    };
    let changed = next != progress;
    let at = Attempt {
        row: attempt,
        next,
        changed,
    };
    match event {
        HostEvent::StepStarted {
            step,
            limit_seconds,
        } => at.step_started(conn, work, *step, *limit_seconds),
        HostEvent::StepFinished {
            step,
            duration_ms,
            output,
        } => at.step_ended(conn, work, *step, None, *duration_ms, output),
        HostEvent::StepFailed {
            step,
            reason,
            message,
            duration_ms,
            output,
        } => at.step_ended(
            conn,
            work,
            *step,
            Some((*reason, message)),
            *duration_ms,
            output,
        ),
        HostEvent::PreviousKnown { previous } => {
            at.previous_known(conn, work, previous.version.as_str())
        }
        HostEvent::RollbackStarted {
            step,
            reason,
            message,
        } => {
            at.keep_progress(conn)?;
            at.tell(work, |event| {
                event.status = Some("rolling_back".to_owned());
                event.step = Some(step.to_string());
                event.reason = Some(reason.to_string());
                event.message = Some(message.clone());
            })
        }
        HostEvent::ConnectionLost { step, message } => at.tell(work, |event| {
            event.status = Some("connection_lost".to_owned());
            event.step = Some(step.to_string());
            event.message = Some(message.clone());
        }),
        HostEvent::FenceReplaced {
            store,
            epoch,
            raised_to,
        } => at.tell(work, |event| {
            event.status = Some("fence_replaced".to_owned());
            event.message = Some(format!(
                "the host was on record for store {store} at epoch {epoch}; its record now says this store at epoch {raised_to}"
            ));
        }),
        HostEvent::Settled { outcome } => at.settled(conn, work, outcome),
    }
}

/// The attempt, if the lease stands: epoch and worker are those on record and the worker's lease has not run out. The
/// host's row stays locked until the transaction ends, so that no takeover comes between this look and the write. The
/// worker's row is not: all its hosts share that.
fn owned(conn: &mut Conn, work: &mut Work, lease: &HostLease) -> Answer<OwnedAttempt, LeaseError> {
    let on_record;
    let lease = if planted(Planted::OldEpochs) {
        on_record = as_on_record(conn, lease)?;
        &on_record
    } else {
        lease
    };
    let (rollout, host, worker) = (
        lease.rollout.to_string(),
        lease.host.to_string(),
        lease.worker.to_string(),
    );
    let moment = lease_moment(conn, work)?;
    let stands = workers::table
        .filter(workers::id.eq(&worker))
        .filter(workers::gone_at.is_null())
        .filter(workers::lease_era.eq(moment.era.as_ref()))
        .filter(workers::lease_until.gt(moment.at));
    let found: Option<(OwnedAttempt, bool)> = locked!(
        attempts::table
            .inner_join(hosts::table.on(hosts::id.eq(attempts::host)))
            .filter(attempts::rollout.eq(&rollout))
            .filter(attempts::host.eq(&host))
            .filter(attempts::status.eq(AttemptStatus::Updating.as_str()))
            .filter(hosts::lease_worker.eq(&worker))
            .filter(hosts::lease_epoch.eq(lease.epoch.0))
            .select((OwnedAttempt::as_select(), diesel::dsl::exists(stands)))
    )
    .get_result(conn)
    .optional()?;
    match found {
        Some((attempt, true)) => Ok(attempt),
        _ => lost(conn, work, &host, lease),
    }
}

/// The lease as it would be if it were whoever's asks.
fn as_on_record(conn: &mut Conn, lease: &HostLease) -> Answer<HostLease, LeaseError> {
    let now: Option<(Option<String>, i64)> = hosts::table
        .find(lease.host.to_string())
        .select((hosts::lease_worker, hosts::lease_epoch))
        .get_result(conn)
        .optional()?;
    let mut lease = lease.clone();
    if let Some((Some(worker), epoch)) = now {
        lease.worker = word("hosts", &worker)?;
        lease.epoch = Epoch(epoch);
    }
    Ok(lease)
}

/// Says why the lease does not stand.
fn lost(
    conn: &mut Conn,
    work: &mut Work,
    host: &str,
    lease: &HostLease,
) -> Answer<OwnedAttempt, LeaseError> {
    let now: Option<(String, Option<String>, i64)> = hosts::table
        .find(host)
        .select((hosts::name, hosts::lease_worker, hosts::lease_epoch))
        .get_result(conn)
        .optional()?;
    if let Some((_, Some(holder), epoch)) = &now
        && *holder == lease.worker.to_string()
        && *epoch == lease.epoch.0
    {
        workers_queries::require_lease(conn, work, holder)?;
    }
    let what = match now {
        None => format!("there is no host {host}"),
        Some((name, None, epoch)) => format!("nobody holds {name}; its epoch is {epoch}"),
        Some((name, Some(holder), epoch)) => {
            format!("worker {holder} holds {name} at epoch {epoch}")
        }
    };
    refuse(LeaseError::Lost {
        what: format!("{what}, not ours ({})", lease.epoch),
    })
}

/// A rollout that is not there is found out with the attempt that is not there.
fn lock_rollout(conn: &mut Conn, rollout: &str) -> QueryResult<()> {
    let key = rollouts::table.find(rollout).select(rollouts::id);
    let _: Option<String> = locked!(key).get_result(conn).optional()?;
    Ok(())
}

/// An event about this attempt.
fn about(kind: EventKind, attempt: &OwnedAttempt, work: &Work) -> Result<Event, Trouble> {
    Ok(Event {
        rollout: Some(word("attempts", &attempt.rollout)?),
        stage: Some(count("attempts", attempt.stage)?),
        host: Some(attempt.name.clone()),
        ..Event::new(kind, work.now())
    })
}

/// An attempt that is ours, and what becomes of it.
struct Attempt {
    row: OwnedAttempt,
    next: Progress,
    changed: bool,
}

impl Attempt {
    fn tell(&self, work: &mut Work, say: impl FnOnce(&mut Event)) -> Answer<(), LeaseError> {
        let mut event = about(EventKind::HostStep, &self.row, work)?;
        say(&mut event);
        work.tell(event);
        Ok(())
    }

    fn keep_progress(&self, conn: &mut Conn) -> QueryResult<()> {
        update!(
            conn,
            diesel::update(attempts::table.find((&self.row.rollout, &self.row.host))).set((
                attempts::progress.eq(to_json(&self.next)),
                attempts::touched.eq(self.next.touched),
            )),
        )?;
        Ok(())
    }

    fn step_started(
        &self,
        conn: &mut Conn,
        work: &mut Work,
        step: StepId,
        limit_seconds: u32,
    ) -> Answer<(), LeaseError> {
        let now = work.now().0;
        let number = self.row.steps + 1;
        update!(
            conn,
            diesel::update(attempts::table.find((&self.row.rollout, &self.row.host))).set((
                attempts::progress.eq(to_json(&self.next)),
                attempts::touched.eq(self.next.touched),
                attempts::step.eq(step.as_str()),
                attempts::step_since.eq(now),
                attempts::step_deadline.eq(now + 1000 * i64::from(limit_seconds)),
                attempts::steps.eq(number),
            )),
        )?;
        let row = StepRow {
            rollout: self.row.rollout.clone(),
            position: self.row.position,
            number,
            step: step.to_string(),
            started_at: now,
            finished_at: None,
            duration_ms: None,
            reason: None,
            message: None,
            output: None,
        };
        diesel::insert_into(steps::table)
            .values(&row)
            .execute(conn)?;
        self.tell(work, |event| {
            event.status = Some("started".to_owned());
            event.step = Some(step.to_string());
        })
    }

    fn step_ended(
        &self,
        conn: &mut Conn,
        work: &mut Work,
        step: StepId,
        failed: Option<(Reason, &String)>,
        duration_ms: u64,
        output: &StepOutput,
    ) -> Answer<(), LeaseError> {
        let duration = i64::try_from(duration_ms).unwrap_or(i64::MAX);
        let key = (&self.row.rollout, self.row.position, self.row.steps);
        let open = steps::table.find(key).filter(steps::finished_at.is_null());
        let ended: Option<i64> = update_returning!(
            conn,
            diesel::update(open)
                .set((
                    steps::finished_at.eq(work.now().0),
                    steps::duration_ms.eq(duration),
                    steps::reason.eq(failed.map(|(reason, _)| reason.as_str())),
                    steps::message.eq(failed.map(|(_, message)| fleet_types::printable(message))),
                    steps::output.eq(to_json(output)),
                ))
                .returning(steps::number),
        )
        .optional()?;
        if ended.is_none() {
            // Told again, because the answer to the first time was lost: no news.
            return Ok(());
        }
        // Between two steps nothing is overdue.
        update!(
            conn,
            diesel::update(attempts::table.find((&self.row.rollout, &self.row.host)))
                .set(attempts::step_deadline.eq(None::<i64>)),
        )?;
        #[expect(clippy::cast_precision_loss, reason = "milliseconds of one step")]
        let seconds = duration_ms as f64 / 1000.0;
        self.tell(work, |event| {
            event.status = Some(if failed.is_some() { "failed" } else { "ok" }.to_owned());
            event.step = Some(step.to_string());
            event.reason = failed.map(|(reason, _)| reason.to_string());
            event.message = failed.map(|(_, message)| message.clone());
            event.duration_seconds = Some(seconds);
        })
    }

    fn previous_known(
        &self,
        conn: &mut Conn,
        work: &mut Work,
        version: &str,
    ) -> Answer<(), LeaseError> {
        if !self.changed {
            return Ok(());
        }
        update!(
            conn,
            diesel::update(
                attempts::table
                    .find((&self.row.rollout, &self.row.host))
                    .filter(attempts::previous_version.is_null()),
            )
            .set((
                attempts::progress.eq(to_json(&self.next)),
                attempts::previous_version.eq(version),
            )),
        )?;
        update!(
            conn,
            diesel::update(hosts::table.find(&self.row.host)).set((
                hosts::previous_version.eq(version),
                hosts::current_version.eq(version),
            ))
        )?;
        self.tell(work, |event| {
            event.status = Some("previous_known".to_owned());
            event.from = Some(version.to_owned());
        })
    }

    /// Ends the attempt, gives the host back, counts, and asks the gate: all or nothing.
    fn settled(
        self,
        conn: &mut Conn,
        work: &mut Work,
        outcome: &Outcome,
    ) -> Answer<(), LeaseError> {
        let now = work.now();
        let row = self.row;
        let message = fleet_types::printable(&outcome.message);
        update!(
            conn,
            diesel::update(attempts::table.find((&row.rollout, &row.host))).set((
                attempts::status.eq(outcome.status.as_str()),
                attempts::reason.eq(outcome.reason.as_str()),
                attempts::touched.eq(outcome.touched),
                attempts::needs_attention.eq(outcome.needs_attention),
                attempts::progress.eq(to_json(&self.next)),
                attempts::step.eq(outcome.step.map(StepId::as_str)),
                attempts::step_deadline.eq(None::<i64>),
                attempts::message.eq(&message),
                attempts::finished_at.eq(now.0),
            )),
        )?;
        settle::settle_host(conn, work, &row, outcome)?;
        let stage = settle::count_outcome(conn, &row, outcome)?;
        let began = row.started_at.map(fleet_types::Timestamp);
        let told = Event {
            step: outcome.step.map(|step| step.to_string()),
            status: Some(outcome.status.to_string()),
            reason: Some(outcome.reason.to_string()),
            message: Some(message).filter(|message| !message.is_empty()),
            from: row.previous_version.clone(),
            to: outcome.version.as_ref().map(ToString::to_string),
            duration_seconds: began.map(|began| now.since(began).as_secs_f64()),
            ..about(EventKind::HostFinished, &row, work)?
        };
        if !planted(Planted::EndNotTold) {
            work.tell(told);
        }
        widen(settle::halt_if_certain(conn, work, &stage))
    }
}

pub(crate) fn attempt_raise(
    conn: &mut Conn,
    work: &mut Work,
    lease: &HostLease,
    above: Epoch,
) -> Answer<HostLease, LeaseError> {
    let attempt = owned(conn, work, lease)?;
    let epoch = raised(lease.epoch, above)?;
    update!(
        conn,
        diesel::update(hosts::table.find(&attempt.host)).set(hosts::lease_epoch.eq(epoch.0))
    )?;
    Ok(HostLease {
        epoch,
        ..lease.clone()
    })
}

/// One above both. What is on the host is from outside: a number that leaves no room above it is refused.
pub(super) fn raised(own: Epoch, above: Epoch) -> Answer<Epoch, LeaseError> {
    match above.0.max(own.0).checked_add(1) {
        Some(epoch) => Ok(Epoch(epoch)),
        None => refuse(LeaseError::Store(crate::error::StoreError::Database {
            cause: format!("the epoch {above} on the host leaves none above it"),
        })),
    }
}
