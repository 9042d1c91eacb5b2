//! What the end of an attempt changes: its host, its stage's counters, and maybe the rollout.

use diesel::dsl::Eq;
use diesel::prelude::*;
use fleet_types::{
    AttemptStatus, Event, EventKind, HealthState, Outcome, Planted, Reason, RolloutState, Verdict,
    planted,
};

use super::{Conn, audit, health, versions};
use crate::diesel_store::prepared::{update, update_returning};
use crate::diesel_store::rows::{OwnedAttempt, RolloutRow, StageRow, word};
use crate::diesel_store::schema::{attempts, hosts, rollouts, stages};
use crate::diesel_store::work::{Answer, Work};

/// The columns of a lease, to be set.
type Lease = (
    Eq<hosts::lease_worker, Option<String>>,
    Eq<hosts::lease_machine, Option<String>>,
    Eq<hosts::lease_purpose, Option<String>>,
);

/// The lease on a host that nobody holds.
pub(super) fn nobody() -> Lease {
    (
        hosts::lease_worker.eq(None),
        hosts::lease_machine.eq(None),
        hosts::lease_purpose.eq(None),
    )
}

pub(super) fn settle_host(
    conn: &mut Conn,
    work: &Work,
    row: &OwnedAttempt,
    outcome: &Outcome,
) -> QueryResult<()> {
    let now = work.now().0;
    if outcome.reason == Reason::HostKeyChanged {
        let machine: String = attempts::table
            .find((&row.rollout, &row.host))
            .select(attempts::machine)
            .get_result(conn)?;
        let (finder, message) = (format!("rollout {}", row.rollout), &outcome.message);
        audit::host_key_changed(conn, work, &finder, &row.name, &machine, message)?;
    }
    // The mark stays through everything but a success, or a person.
    let mark = match outcome.status {
        _ if outcome.needs_attention => Some(true),
        AttemptStatus::Success => Some(false),
        _ => None,
    };
    let seen = outcome.version.as_ref();
    let proven = matches!(
        outcome.status,
        AttemptStatus::Success | AttemptStatus::RolledBack
    ) && !outcome.needs_attention;
    if proven {
        health::proven_active(conn, &row.host, now)?;
    }
    update!(
        conn,
        some texts,
        diesel::update(hosts::table.find(&row.host)).set((
            nobody(),
            hosts::last_update_at.eq(now),
            seen.map(|version| hosts::current_version.eq(version.as_str())),
            mark.map(|mark| hosts::needs_attention.eq(mark)),
            proven.then(|| hosts::health.eq(HealthState::Active.as_str())),
        ))
    )?;
    Ok(())
}

/// Moves one host of the stage from `updating` to where it ended.
pub(super) fn count_outcome(
    conn: &mut Conn,
    row: &OwnedAttempt,
    outcome: &Outcome,
) -> QueryResult<StageRow> {
    let one = |yes: bool| i64::from(yes);
    let success = outcome.status == AttemptStatus::Success;
    let unchanged = success && outcome.reason == Reason::Unchanged;
    update_returning!(
        conn,
        diesel::update(stages::table.find((&row.rollout, row.stage)))
            .set((
                stages::updating.eq(stages::updating - 1),
                stages::updated.eq(stages::updated + one(success && !unchanged)),
                stages::unchanged.eq(stages::unchanged + one(unchanged)),
                stages::failed.eq(stages::failed
                    + one(outcome.status == AttemptStatus::Failed
                        && !planted(Planted::FailedNotCounted))),
                stages::rolled_back.eq(stages::rolled_back
                    + one(outcome.status == AttemptStatus::RolledBack
                        && !planted(Planted::RolledBackNotCounted))),
                stages::skipped.eq(stages::skipped + one(outcome.status == AttemptStatus::Skipped)),
                stages::blamed.eq(stages::blamed + one(blames_the_commit(outcome))),
            ))
            .returning(StageRow::as_returning()),
    )
}

/// Whether the commit may be what made the host bad: the host was touched, and not the network, the host's state or this
/// program is the cause.
fn blames_the_commit(outcome: &Outcome) -> bool {
    let bad = matches!(
        outcome.status,
        AttemptStatus::Failed | AttemptStatus::RolledBack
    );
    let innocent = matches!(
        outcome.reason,
        Reason::Unreachable
            | Reason::AuthRefused
            | Reason::HostKeyUnknown
            | Reason::HostKeyChanged
            | Reason::NoCredential
            | Reason::ShellBroken
            | Reason::ToolMissing
            | Reason::DirtyTree
            | Reason::GitLocked
            | Reason::FetchFailed
            | Reason::TargetGone
            | Reason::NoSpace
            | Reason::NoSudo
            | Reason::ConcurrentChange
            | Reason::HostBusy
            | Reason::OutcomeUnknown
            | Reason::Internal
    );
    bad && outcome.touched && !innocent
}

/// Once more of the stage failed than may, whatever the rest does, no further host is started. Where a newer program has
/// written, that is for its like to say; none of them claims a host before.
pub(crate) fn halt_if_certain(conn: &mut Conn, work: &mut Work, stage: &StageRow) -> Answer<()> {
    let rollout: RolloutRow = rollouts::table
        .find(&stage.rollout)
        .select(RolloutRow::as_select())
        .get_result(conn)?;
    let state = rollout.state()?;
    let may_halt = matches!(state, RolloutState::Running | RolloutState::Paused);
    let threshold = rollout.policy()?.max_failure_percent;
    let gate = stage.gate()?;
    if !may_halt
        || gate.verdict(threshold) != Verdict::Halt
        || versions::is_left_to_newer(work, &rollout)
    {
        return Ok(());
    }
    let reason = format!(
        "stage {}: {} of {} hosts failed, {} may",
        stage.position,
        gate.bad,
        gate.size - gate.unchanged - gate.skipped,
        gate.may_fail(threshold),
    );
    update!(
        conn,
        diesel::update(rollouts::table.find(&stage.rollout)).set((
            rollouts::state.eq(RolloutState::Halting.as_str()),
            rollouts::reason.eq(&reason),
        ))
    )?;
    work.tell(Event {
        rollout: Some(word("rollouts", &stage.rollout)?),
        stage: u32::try_from(stage.position).ok(),
        status: Some(RolloutState::Halting.as_str().to_owned()),
        message: Some(reason),
        ..Event::new(EventKind::RolloutHalting, work.now())
    });
    Ok(())
}
