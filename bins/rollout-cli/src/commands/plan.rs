//! `plan`, and `update --dry-run`

use std::time::Duration;

use fleet_types::view::PolicyView;
use fleet_types::{CommitHash, TargetRef};
use rollout_orchestrator::{Orchestrator, Plan, PlanRequest, PlannedStage, endpoint};
use rollout_parts::ssh_defaults;
use serde_json::json;
use tokio::time::timeout;
use update_engine::{ResolveError, resolve_target};

use crate::cli::{Global, Update};
use crate::context::Context;
use crate::display::table::Table;
use crate::display::words::{hosts, short};
use crate::environment;
use crate::exit::Exit;
use crate::failure::{Failure, one_line};
use crate::output::{Output, Paint};

/// How long hosts are asked for the target. A plan is worth something without it.
const PATIENCE: Duration = Duration::from_secs(15);
/// So many hosts are asked, one after the other.
const ASKED: usize = 3;

/// Shows what an update would do.
pub(crate) async fn run(arguments: &Update, global: &Global, out: Output) -> Result<Exit, Failure> {
    let context = Context::open(global, out, arguments.policy.layer()).await?;
    let orchestrator = context.orchestrator()?;
    let mut plan = orchestrator.plan(&request(&context, arguments)).await?;
    orchestrator.check_identities(&plan).await?;
    match resolve(&context, &orchestrator, &plan).await? {
        Answer::Commit(commit) => plan.rollout.target = Some(commit),
        Answer::Missing(why) => {
            return Err(
                Failure::refused(format!("{} cannot be found", plan.rollout.target_ref))
                    .why(why)
                    .help("name a commit in full, or a branch of the remote, with --to"),
            );
        }
        Answer::Nothing(why) => out.say(format!(
            "{} no host could be asked which commit {} is: {}",
            Paint::Yellow.on("warning:"),
            plan.rollout.target_ref,
            one_line(&why)
        )),
    }
    show(&context, &plan)?;
    out.next(&[(environment::command_to_carry_out(), "carry it out")]);
    Ok(Exit::Done)
}

/// What hosts said about the target.
enum Answer {
    Commit(CommitHash),
    Missing(String),
    Nothing(String),
}

/// Asks the first hosts of the plan which commit the target is. Changes nothing on them.
async fn resolve(
    context: &Context,
    orchestrator: &Orchestrator,
    plan: &Plan,
) -> Result<Answer, Failure> {
    let target: TargetRef = plan.rollout.target_ref.parse()?;
    let mut worker = context.looker(orchestrator).await?;
    let transport = worker.transport();
    let defaults = ssh_defaults(&context.settings.ssh, context.home.clone());
    let asking = async {
        let mut last = "the plan has no hosts".to_owned();
        for host in plan.hosts.iter().take(ASKED) {
            let endpoint = match endpoint(&host.name, &host.spec, &host.host_keys, &defaults) {
                Ok(endpoint) => endpoint,
                Err(error) => {
                    last = error.to_string();
                    continue;
                }
            };
            match resolve_target(&transport, &endpoint, &host.spec.app, &target).await {
                Ok(commit) => return Answer::Commit(commit),
                Err(ResolveError::Missing { message }) => return Answer::Missing(message),
                Err(error) => last = error.to_string(),
            }
        }
        Answer::Nothing(last)
    };
    let answer = timeout(PATIENCE, asking).await.unwrap_or_else(|_| {
        Answer::Nothing(format!(
            "there was no answer within {} s",
            PATIENCE.as_secs()
        ))
    });
    worker.abandon();
    worker.finished().await?;
    Ok(answer)
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
    let commit = match &plan.rollout.target {
        Some(commit) if commit.as_str() != plan.rollout.target_ref => {
            format!(" ({})", commit.short())
        }
        _ => String::new(),
    };
    let gone = if plan.gone.is_empty() {
        String::new()
    } else {
        let names: Vec<&str> = plan.gone.iter().map(|name| name.as_str()).collect();
        format!("  left out, no longer in the fleet: {}\n", names.join(", "))
    };
    format!(
        "Plan: {} to {}{}\n\n{table}\n{gone}  as last seen: {versions}\n  {} connections at once, {} hosts under way at once, settle {}s; halts when more than {} of a stage fail",
        hosts(count),
        short(&plan.rollout.target_ref),
        commit,
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
                    .map_or("", |version| short(version.as_str())),
            )
            .or_default() += 1;
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|(version, count)| (std::cmp::Reverse(*count), *version));
    counts
        .into_iter()
        .take(5)
        .map(|(version, count)| match version {
            "" => format!("{count} never updated from here"),
            version => format!("{count} on {version}"),
        })
        .collect::<Vec<_>>()
        .join(", ")
}
