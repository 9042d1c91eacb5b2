//! `retry` and `rollback`

use fleet_types::RolloutKind;
use rollout_orchestrator::{AgainRequest, Orchestrator, Plan, PlanError};

use super::update::{Started, detach, start};
use super::{plan, verbs};
use crate::cli::{Again, Global};
use crate::context::Context;
use crate::display::words::hosts;
use crate::exit::Exit;
use crate::failure::Failure;
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
    let context = Context::open(global, out, arguments.policy.layer()).await?;
    let orchestrator = context.orchestrator()?;
    let request = request(&context, arguments, kind).await?;
    let plan = planned(&orchestrator, &request, kind).await?;
    orchestrator.check_identities(&plan).await?;
    if arguments.dry_run {
        plan::show(&context, &plan)?;
        return Ok(Exit::Done);
    }
    if !arguments.yes && context.out.can_ask() && !confirm(&context, &plan, kind) {
        return Ok(Exit::Refused);
    }
    if arguments.detach {
        return detach(&context, &orchestrator, &plan, true).await;
    }
    match start(&context, &orchestrator, &plan).await {
        Ok(exit) => Ok(exit),
        Err(Started::Failed(failure)) => Err(failure),
        Err(Started::Taken) => Err(verbs::conflict(&orchestrator).await?),
    }
}

async fn request(
    context: &Context,
    arguments: &Again,
    kind: RolloutKind,
) -> Result<AgainRequest, Failure> {
    let source = context.rollout(&arguments.which).await?;
    let record = context
        .store
        .rollout_get(source)
        .await?
        .ok_or(PlanError::UnknownRollout { id: source })?;
    // Said twice by a script, it must not bring the bad release back.
    let twice = kind == RolloutKind::Rollback && record.kind == RolloutKind::Rollback;
    if twice && arguments.which.rollout.is_none() {
        let short = source.short();
        return Err(
            Failure::refused(format!("the latest rollout, {short}, is a rollback itself")).help(
                format!("rollout-cli rollback {short} takes it back all the same"),
            ),
        );
    }
    Ok(AgainRequest {
        source,
        policy: Some(arguments.policy.over(record.policy)),
        message: arguments.message.clone(),
        actor: context.actor.clone(),
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

fn confirm(context: &Context, plan: &Plan, kind: RolloutKind) -> bool {
    let count = hosts(u32::try_from(plan.hosts.len()).unwrap_or(u32::MAX));
    context.out.say(plan::text(plan));
    let question = match kind {
        RolloutKind::Rollback => format!("Bring {count} back, each to its own previous version?"),
        _ => format!("Try {count} again, to {}?", plan.rollout.target_ref),
    };
    let sure = context.out.ask(&question);
    if !sure {
        context.out.say("nothing was changed");
    }
    sure
}
