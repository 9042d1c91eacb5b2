//! `pause`, `resume` and `abort`

use fleet_types::{RolloutId, RolloutState, view};
use rollout_orchestrator::{Orchestrator, Standing, WorkMode, Worker};
use serde_json::json;

use crate::cli::{Global, Which};
use crate::display::words;
use crate::exit::{Exit, needs_attention};
use crate::failure::{Failure, active, left_to_newer};
use crate::fleet::{self, DatabaseFleet, Fleet, Place, Rollouts as _, new_worker};
use crate::output::Output;
use crate::run::{Ended, conclude, conclude_own, work};

/// `pause`
pub(crate) async fn pause(which: &Which, global: &Global, out: Output) -> Result<Exit, Failure> {
    let (place, id) = open(which, global, out).await?;
    let fleet = place.fleet();
    fleet.pause(id).await?;
    let rollout = shown(&*fleet, out, id).await?;
    let id = id.short();
    let in_flight = words::hosts(rollout.counts.updating);
    out.say(match (rollout.counts.updating, rollout.attended) {
        (0, _) => format!("rollout {id} is paused"),
        (_, true) => format!("rollout {id} is paused; {in_flight} in flight finish"),
        (_, false) => format!("rollout {id} is paused; {in_flight} in flight are settled when it is resumed or aborted"),
    });
    out.next(&[
        (format!("rollout-cli resume {id}"), "go on"),
        (
            format!("rollout-cli abort {id}"),
            "end it; what is done stays done",
        ),
    ]);
    Ok(Exit::Done)
}

/// `resume`: does the work here unless a live process does.
pub(crate) async fn resume(which: &Which, global: &Global, out: Output) -> Result<Exit, Failure> {
    let (place, id) = open(which, global, out).await?;
    let fleet = place.fleet();
    let before = fleet.rollout(id).await?;
    // One that is ending has only to be finished.
    if !matches!(before.state, RolloutState::Halting | RolloutState::Aborting) {
        fleet.resume(id).await?;
    }
    if let Place::Database(database) = &place
        && !is_worked_on(database, &before).await?
    {
        let ended = finish(database, id).await?;
        return conclude_own(database, &ended).await;
    }
    shown(&*fleet, out, id).await?;
    let id = id.short();
    out.say(format!("rollout {id} goes on; a live process works on it"));
    out.next(&[(format!("rollout-cli watch {id}"), "follow it to its end")]);
    Ok(Exit::Done)
}

/// Whether somebody else works on a rollout that was just resumed. A process that was told to stop still counts as live
/// until it has left. So whoever resumes a paused rollout works on it as well, unless a server does: two share it.
async fn is_worked_on(database: &DatabaseFleet, before: &view::Rollout) -> Result<bool, Failure> {
    if before.state == RolloutState::Paused {
        let alive = database.store.worker_alive().await?;
        let record = database.store.rollout_get(before.id).await?;
        let needed = record.map(|record| record.schema).unwrap_or_default();
        return Ok(alive
            .iter()
            .any(|worker| worker.serves && worker.schema >= needed));
    }
    Ok(database.rollout(before.id).await?.attended)
}

/// `abort`: settles the hosts in flight here unless a live process does.
pub(crate) async fn abort(which: &Which, global: &Global, out: Output) -> Result<Exit, Failure> {
    let (place, id) = open(which, global, out).await?;
    let fleet = place.fleet();
    let before = fleet.rollout(id).await?;
    fleet.abort(id).await?;
    // Also asked after that: servers of an older version leave to others what this one has written to.
    let after = fleet.rollout(id).await?;
    let is_left = !before.attended || after.state.is_active() && !after.attended;
    if let Place::Database(database) = &place
        && before.state.is_active()
        && is_left
    {
        let mut ended = finish(database, id).await?;
        if let Some(over) = ended.over.take() {
            over.not_yet();
        }
        if ended.rollout.state.is_active() || ended.hosts.iter().any(needs_attention) {
            return conclude(&**database, out, &ended).await;
        }
    }
    let rollout = shown(&*fleet, out, id).await?;
    let (short, state) = (id.short(), words::state(rollout.state));
    if rollout.state.is_active() {
        let in_flight = words::hosts(rollout.counts.updating);
        out.say(format!(
            "rollout {short} is {state}; {in_flight} in flight finish"
        ));
        out.next(&[(format!("rollout-cli watch {short}"), "follow it to its end")]);
        return Ok(Exit::Done);
    }
    out.say(format!("rollout {short} is {state}"));
    out.next(&[
        (
            format!("rollout-cli rollouts show {short}"),
            "each host's part in it",
        ),
        (
            format!("rollout-cli retry {short}"),
            "the failed and the never started ones again",
        ),
        (
            format!("rollout-cli rollback {short}"),
            "bring the updated ones back",
        ),
    ]);
    Ok(Exit::Done)
}

async fn open(which: &Which, global: &Global, out: Output) -> Result<(Place, RolloutId), Failure> {
    let place = Place::open(global, out, Default::default()).await?;
    let id = fleet::which(&*place.fleet(), which).await?;
    Ok((place, id))
}

/// The rollout as it stands now; as JSON where that was asked for.
async fn shown(fleet: &dyn Fleet, out: Output, id: RolloutId) -> Result<view::Rollout, Failure> {
    let rollout = fleet.rollout(id).await?;
    if out.json {
        out.object(&json!({ "rollout": rollout }))?;
    }
    Ok(rollout)
}

/// Works on a rollout until it has ended.
async fn finish(database: &DatabaseFleet, id: RolloutId) -> Result<Ended, Failure> {
    let record = database.store.rollout_get(id).await?;
    let known = database.store.schema_known();
    if record.is_some_and(|record| record.schema > known) {
        return Err(left_to_newer(Exit::Refused, id));
    }
    let orchestrator = database.orchestrator()?;
    let worker = Worker::start(&orchestrator, new_worker(), WorkMode::One(id)).await?;
    work(database, id, worker).await
}

/// Ends a rollout whose processes are gone: no further host is started, those in flight are settled. Returns how it
/// ended, and whether a signal came meanwhile.
pub(crate) async fn settle_interrupted(
    database: &DatabaseFleet,
    id: RolloutId,
) -> Result<Ended, Failure> {
    match database.orchestrator()?.abort(id, &database.actor).await {
        // It may be over by now.
        Ok(()) | Err(fleet_store::VerbError::WrongState { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    let mut ended = finish(database, id).await?;
    // What is asked for is something else, and its exit code is not known yet.
    if let Some(over) = ended.over.take() {
        over.not_yet();
    }
    if ended.rollout.state.is_active() {
        return Err(Failure::new(
            Exit::Interrupted,
            format!("rollout {} was not settled to its end", id.short()),
        )
        .help(format!("rollout-cli resume {} settles it", id.short())));
    }
    database.out.say(format!(
        "rollout {} is {}",
        id.short(),
        words::state(ended.rollout.state)
    ));
    Ok(ended)
}

/// The rollout that is in the way.
pub(crate) async fn conflict(orchestrator: &Orchestrator) -> Result<Failure, Failure> {
    Ok(match orchestrator.standing().await? {
        Standing::Free => {
            Failure::new(Exit::Active, "another rollout was active").help("run the command again")
        }
        Standing::Attended(record) => active(
            record.id,
            &record.started_by,
            record.created_at,
            true,
            false,
        ),
        Standing::Paused(record) => active(
            record.id,
            &record.started_by,
            record.created_at,
            false,
            true,
        ),
        Standing::Interrupted(record) => active(
            record.id,
            &record.started_by,
            record.created_at,
            false,
            false,
        ),
        Standing::LeftToNewer(record) => left_to_newer(Exit::Active, record.id),
    })
}
