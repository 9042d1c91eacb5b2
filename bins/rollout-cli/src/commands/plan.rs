//! `plan`, and `update --dry-run`

use fleet_types::view::PolicyView;
use rollout_orchestrator::{Plan, PlanRequest, PlannedStage};
use serde_json::json;

use crate::cli::{Global, Update};
use crate::context::Context;
use crate::display::table::Table;
use crate::display::words::{hosts, short};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::Output;

/// Shows what an update would do.
pub(crate) async fn run(arguments: &Update, global: &Global, out: Output) -> Result<Exit, Failure> {
    let context = Context::open(global, out, arguments.policy.layer()).await?;
    let orchestrator = context.orchestrator()?;
    let plan = orchestrator.plan(&request(&context, arguments)).await?;
    orchestrator.check_identities(&plan).await?;
    show(&context, &plan)?;
    context.out.next(&[(again(arguments), "carry it out")]);
    Ok(Exit::Done)
}

/// Flags and settings as a request.
pub(crate) fn request(context: &Context, arguments: &Update) -> PlanRequest {
    PlanRequest {
        selection: arguments.choice.selection(),
        to: arguments.to.clone(),
        policy: context.settings.rollout.policy(rand::random()),
        message: arguments.message.clone(),
        actor: context.actor.clone(),
        force: arguments.force,
    }
}

/// Writes the plan.
pub(crate) fn show(context: &Context, plan: &Plan) -> Result<(), Failure> {
    if !context.out.json {
        return context.out.line(text(plan));
    }
    let policy = &plan.rollout.policy;
    let stage = |stage: &PlannedStage| json!({ "index": stage.index, "percent": stage.percent, "hosts": stage.hosts, "may_fail": stage.may_fail });
    context.out.object(&json!({
        "kind": plan.rollout.kind,
        "target": { "version": plan.rollout.target, "ref": plan.rollout.target_ref },
        "policy": PolicyView {
            stages: policy.stages.percents().to_vec(),
            max_failure_percent: policy.max_failure_percent.into(),
            concurrency: policy.concurrency,
            max_in_flight: policy.max_in_flight,
            settle_seconds: policy.settle.as_secs_f64(),
        },
        "hosts": plan.hosts.len(),
        "stages": plan.stages.iter().map(stage).collect::<Vec<_>>(),
        "gone": plan.gone,
    }))
}

/// The plan as people read it.
pub(crate) fn text(plan: &Plan) -> String {
    let policy = &plan.rollout.policy;
    let count = u32::try_from(plan.hosts.len()).unwrap_or(u32::MAX);
    let mut table = Table::new(&["  stage", "hosts", "may fail", "which"]);
    for stage in &plan.stages {
        table.row(vec![
            format!("  {}  {:>3} %", stage.index, stage.percent),
            stage.hosts.len().to_string(),
            stage.may_fail.to_string(),
            first_names(stage),
        ]);
    }
    let versions = versions(plan);
    let gone = if plan.gone.is_empty() {
        String::new()
    } else {
        let names: Vec<&str> = plan.gone.iter().map(|name| name.as_str()).collect();
        format!("  left out, no longer in the fleet: {}\n", names.join(", "))
    };
    format!(
        "Plan: {} to {}\n\n{table}\n{gone}  as last seen: {versions}\n  {} connections at once, {} hosts under way at once, settle {}s; halts when more than {} of a stage fail",
        hosts(count),
        plan.rollout.target_ref,
        policy.concurrency,
        policy.max_in_flight,
        policy.settle.as_secs_f64(),
        policy.max_failure_percent,
    )
}

fn first_names(stage: &PlannedStage) -> String {
    let names: Vec<&str> = stage
        .hosts
        .iter()
        .take(4)
        .map(|name| name.as_str())
        .collect();
    let more = stage.hosts.len().saturating_sub(names.len());
    if more > 0 {
        format!("{} … and {more} more", names.join(" "))
    } else {
        names.join(" ")
    }
}

fn versions(plan: &Plan) -> String {
    let mut counts = std::collections::BTreeMap::<&str, u32>::new();
    for host in &plan.hosts {
        *counts
            .entry(
                host.current_version
                    .as_ref()
                    .map_or("unknown", |version| short(version.as_str())),
            )
            .or_default() += 1;
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|(version, count)| (std::cmp::Reverse(*count), *version));
    counts
        .into_iter()
        .take(5)
        .map(|(version, count)| format!("{count} on {version}"))
        .collect::<Vec<_>>()
        .join(", ")
}

/// The command that carries the plan out.
fn again(arguments: &Update) -> String {
    let mut command = "rollout-cli update".to_owned();
    if let Some(to) = &arguments.to {
        command.push_str(&format!(" --to {to}"));
    }
    if arguments.choice.all {
        command.push_str(" --all");
    }
    for word in &arguments.choice.on {
        command.push_str(&format!(" --on '{word}'"));
    }
    command
}
