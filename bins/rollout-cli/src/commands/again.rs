//! `retry` and `rollback`

use fleet_types::{RolloutId, RolloutKind, view};
use rollout_orchestrator::{AgainRequest, Orchestrator, Plan, PlanError};

use super::update::{Started, detach, start};
use super::{on_server, plan, verbs};
use crate::ask::Question;
use crate::cli::{Again, Global};
use crate::display::words::hosts;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::fleet::{self, Asked, DatabaseFleet, Fleet, Place};
use crate::output::Output;

/// `retry`
pub(crate) async fn retry(
    arguments: &Again,
    global: &Global,
    out: Output,
) -> Result<Exit, Failure> {
    run(arguments, global, out, RolloutKind::Retry).await
}

/// `rollback`
pub(crate) async fn rollback(
    arguments: &Again,
    global: &Global,
    out: Output,
) -> Result<Exit, Failure> {
    run(arguments, global, out, RolloutKind::Rollback).await
}

async fn run(
    arguments: &Again,
    global: &Global,
    out: Output,
    kind: RolloutKind,
) -> Result<Exit, Failure> {
    let place = Place::open(global, out, arguments.policy.layer()).await?;
    let source = source(&*place.fleet(), arguments, kind).await?;
    match &place {
        Place::Database(database) => on_database(database, arguments, kind, source).await,
        Place::Server(server) => {
            let asked = Asked::again(kind, source, arguments);
            if arguments.dry_run {
                plan::show(out, &server.plan(&asked).await?.plan)?;
                return Ok(Exit::Done);
            }
            let sure = arguments.yes || !out.can_ask();
            let options = (sure, arguments.detach);
            on_server::carry_out(server, &asked, options, question).await
        }
    }
}

async fn on_database(
    database: &DatabaseFleet,
    arguments: &Again,
    kind: RolloutKind,
    source: RolloutId,
) -> Result<Exit, Failure> {
    let orchestrator = database.orchestrator()?;
    let request = request(database, arguments, source).await?;
    let plan = planned(&orchestrator, &request, kind).await?;
    orchestrator.check_identities(&plan).await?;
    if arguments.dry_run {
        plan::show(database.out, &plan.view())?;
        return Ok(Exit::Done);
    }
    if !arguments.yes && database.out.can_ask() && !confirm(database.out, &plan.view()) {
        return Ok(Exit::Refused);
    }
    if arguments.detach {
        return detach(database, &orchestrator, &plan).await;
    }
    match start(database, &orchestrator, &plan).await {
        Ok(exit) => Ok(exit),
        Err(Started::Failed(failure)) => Err(failure),
        Err(Started::Taken) => Err(verbs::conflict(&orchestrator).await?),
    }
}

/// Which rollout is retried or taken back.
async fn source(
    fleet: &dyn Fleet,
    arguments: &Again,
    kind: RolloutKind,
) -> Result<RolloutId, Failure> {
    let source = fleet::which(fleet, &arguments.which).await?;
    // Said twice by a script, it must not bring the bad release back.
    if kind == RolloutKind::Rollback
        && arguments.which.rollout.is_none()
        && fleet.rollout(source).await?.kind == RolloutKind::Rollback
    {
        let short = source.short();
        return Err(
            Failure::refused(format!("the latest rollout, {short}, is a rollback itself")).help(
                format!("rollout-cli rollback {short} takes it back all the same"),
            ),
        );
    }
    Ok(source)
}

async fn request(
    database: &DatabaseFleet,
    arguments: &Again,
    source: RolloutId,
) -> Result<AgainRequest, Failure> {
    let record = database.store.rollout_get(source).await?;
    let record = record.ok_or(PlanError::UnknownRollout { id: source })?;
    let configured = database.settings.chosen_in_flight();
    Ok(AgainRequest {
        source,
        policy: Some(arguments.policy.over(record.policy, configured)),
        message: arguments.message.clone(),
        actor: database.actor.clone(),
    })
}

async fn planned(
    orchestrator: &Orchestrator,
    request: &AgainRequest,
    kind: RolloutKind,
) -> Result<Plan, PlanError> {
    match kind {
        RolloutKind::Rollback => orchestrator.plan_rollback(request).await,
        _ => orchestrator.plan_retry(request).await,
    }
}

fn confirm(out: Output, plan: &view::Plan) -> bool {
    out.say(plan::text(plan));
    let sure = question(plan).ask(out);
    if !sure {
        out.say("nothing was changed");
    }
    sure
}

fn question(plan: &view::Plan) -> Question {
    let count = hosts(plan.hosts);
    let text = match plan.kind {
        RolloutKind::Rollback => format!("Bring {count} back, each to its own previous version?"),
        _ => format!("Try {count} again, to {}?", plan.target.reference),
    };
    Question::about(text, plan.hosts, false)
}
