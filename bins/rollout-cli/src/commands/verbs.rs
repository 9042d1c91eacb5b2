//! `pause`, `resume` and `abort`

use fleet_types::{RolloutId, RolloutState, view};
use rollout_orchestrator::{Orchestrator, Standing, WorkMode, Worker};
use serde_json::json;

use crate::cli::{Global, Which};
use crate::context::{Context, new_worker};
use crate::display::words;
use crate::exit::{Exit, needs_attention};
use crate::failure::{Failure, active};
use crate::follow::rollout_view;
use crate::output::Output;
use crate::run::{Ended, conclude, work};

/// `pause`
pub(crate) async fn pause(which: &Which, global: &Global, out: Output) -> Result<Exit, Failure> {
    let (context, orchestrator, id) = open(which, global, out).await?;
    orchestrator.pause(id, &context.actor).await?;
    let rollout = shown(&context, id).await?;
    let id = id.short();
    let in_flight = words::hosts(rollout.counts.updating);
    context.out.say(match (rollout.counts.updating, rollout.attended) {
        (0, _) => format!("rollout {id} is paused"),
        (_, true) => format!("rollout {id} is paused; {in_flight} in flight finish"),
        (_, false) => format!("rollout {id} is paused; {in_flight} in flight are settled when it is resumed or aborted"),
    });
    context.out.next(&[
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
    let (context, orchestrator, id) = open(which, global, out).await?;
    let before = rollout_view(&context.store, id).await?;
    // One that is ending has only to be finished.
    if !matches!(before.state, RolloutState::Halting | RolloutState::Aborting) {
        orchestrator.resume(id, &context.actor).await?;
    }
    // A process that was told to stop still counts as live until it has left. So whoever resumes a paused rollout works on
    // it as well, unless a server does: two share it.
    let works_on = if before.state == RolloutState::Paused {
        let alive = context.store.worker_alive().await?;
        alive.iter().any(|worker| worker.serves)
    } else {
        rollout_view(&context.store, id).await?.attended
    };
    if works_on {
        shown(&context, id).await?;
        context.out.say(format!(
            "rollout {} goes on; a live process works on it",
            id.short()
        ));
        context.out.next(&[(
            format!("rollout-cli watch {}", id.short()),
            "follow it to its end",
        )]);
        return Ok(Exit::Done);
    }
    let worker = Worker::start(&orchestrator, new_worker(), WorkMode::One(id)).await?;
    let ended = work(&context, &orchestrator, id, worker).await?;
    conclude(&context, &ended).await
}

/// `abort`: settles the hosts in flight here unless a live process does.
pub(crate) async fn abort(which: &Which, global: &Global, out: Output) -> Result<Exit, Failure> {
    let (context, orchestrator, id) = open(which, global, out).await?;
    let before = rollout_view(&context.store, id).await?;
    orchestrator.abort(id, &context.actor).await?;
    let short = id.short();
    if before.attended {
        let rollout = shown(&context, id).await?;
        let in_flight = words::hosts(rollout.counts.updating);
        context.out.say(format!(
            "rollout {short} is {}; {in_flight} in flight finish",
            words::state(rollout.state)
        ));
        context
            .out
            .next(&[(format!("rollout-cli watch {short}"), "follow it to its end")]);
        return Ok(Exit::Done);
    }
    if before.state.is_active() {
        let ended = finish(&context, &orchestrator, id).await?;
        if ended.rollout.state.is_active() || ended.hosts.iter().any(needs_attention) {
            return conclude(&context, &ended).await;
        }
    }
    let rollout = shown(&context, id).await?;
    context.out.say(format!(
        "rollout {short} is {}",
        words::state(rollout.state)
    ));
    context.out.next(&[
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

async fn open(
    which: &Which,
    global: &Global,
    out: Output,
) -> Result<(Context, Orchestrator, RolloutId), Failure> {
    let context = Context::open(global, out, Default::default()).await?;
    let orchestrator = context.orchestrator()?;
    let id = context.rollout(which).await?;
    Ok((context, orchestrator, id))
}

/// The rollout as it stands now; as JSON where that was asked for.
async fn shown(context: &Context, id: RolloutId) -> Result<view::Rollout, Failure> {
    let rollout = rollout_view(&context.store, id).await?;
    if context.out.json {
        context.out.object(&json!({ "rollout": rollout }))?;
    }
    Ok(rollout)
}

/// Works on a rollout that is ending until it has ended. Its events are shown, but it is not what the command is about.
async fn finish(
    context: &Context,
    orchestrator: &Orchestrator,
    id: RolloutId,
) -> Result<Ended, Failure> {
    let worker = Worker::start(orchestrator, new_worker(), WorkMode::One(id)).await?;
    work(context, orchestrator, id, worker).await
}

/// Ends a rollout whose processes are gone: no further host is started, those in flight are settled. Returns how it
/// ended, and whether a signal came meanwhile.
pub(crate) async fn settle_interrupted(
    context: &Context,
    orchestrator: &Orchestrator,
    id: RolloutId,
) -> Result<Ended, Failure> {
    match orchestrator.abort(id, &context.actor).await {
        // It may be over by now.
        Ok(()) | Err(fleet_store::VerbError::WrongState { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    let ended = finish(context, orchestrator, id).await?;
    if ended.rollout.state.is_active() {
        return Err(Failure::new(
            Exit::Interrupted,
            format!("rollout {} was not settled to its end", id.short()),
        )
        .help(format!("rollout-cli resume {} settles it", id.short())));
    }
    context.out.say(format!(
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
    })
}
