//! `plan`, and `update --dry-run`

use fleet_types::view::{Plan, PlannedStage, VersionCount};
use rollout_orchestrator::{PlanRequest, TargetAnswer, ask_target};
use serde::Deserialize;

use crate::cli::{Global, Update};
use crate::display::table::Table;
use crate::display::words::{hosts, short};
use crate::environment;
use crate::exit::Exit;
use crate::failure::{Failure, no_target, one_line};
use crate::fleet::{Asked, DatabaseFleet, Place};
use crate::output::{Output, Paint};

/// Shows what an update would do.
pub(crate) async fn run(arguments: &Update, global: &Global, out: Output) -> Result<Exit, Failure> {
    let place = Place::open(global, out, arguments.policy.layer()).await?;
    let planned = match &place {
        Place::Database(database) => on_database(database, arguments).await?,
        Place::Server(server) => server.plan(&Asked::update(arguments)).await?,
    };
    if let Some(why) = &planned.unresolved {
        unresolved(out, &planned.plan, why);
    }
    show(out, &planned.plan)?;
    out.next(&[(environment::command_to_carry_out(), "carry it out")]);
    Ok(Exit::Done)
}

/// A plan, and why it does not say which commit it goes to, if it does not.
#[derive(Debug, Deserialize)]
pub(crate) struct Planned {
    /// The plan.
    pub plan: Plan,
    /// Why no host could be asked for the commit.
    pub unresolved: Option<String>,
}

/// Says that the plan does not know its commit.
pub(crate) fn unresolved(out: Output, plan: &Plan, why: &str) {
    out.say(format!(
        "{} no host could be asked which commit {} is: {}",
        Paint::Yellow.on("warning:"),
        plan.target.reference,
        one_line(why)
    ));
}

async fn on_database(database: &DatabaseFleet, arguments: &Update) -> Result<Planned, Failure> {
    let orchestrator = database.orchestrator()?;
    let mut plan = orchestrator.plan(&request(database, arguments)).await?;
    orchestrator.check_identities(&plan).await?;
    let defaults = database.ssh_defaults();
    let asked = database
        .looking(async |_, _, transport| ask_target(&transport, &plan, &defaults).await)
        .await?;
    let mut unresolved = None;
    match asked? {
        TargetAnswer::Commit(commit) => plan.rollout.target = Some(commit),
        TargetAnswer::Missing(why) => {
            return Err(no_target(&plan.rollout.target_ref).why(why));
        }
        TargetAnswer::Nothing(why) => unresolved = Some(why),
    }
    Ok(Planned {
        plan: plan.view(),
        unresolved,
    })
}

/// Flags and settings as a request.
pub(crate) fn request(database: &DatabaseFleet, arguments: &Update) -> PlanRequest {
    PlanRequest {
        selection: arguments.choice.selection(),
        to: arguments.to.clone(),
        policy: database.settings.rollout.policy(rand::random()),
        message: arguments.message.clone(),
        actor: database.actor.clone(),
        force: arguments.force,
    }
}

/// Writes the plan.
pub(crate) fn show(out: Output, plan: &Plan) -> Result<(), Failure> {
    if out.json {
        out.object(plan)
    } else {
        out.line(text(plan))
    }
}

/// The plan as people read it.
pub(crate) fn text(plan: &Plan) -> String {
    let policy = &plan.policy;
    let mut table = Table::new(&["  stage", "hosts", "may fail", "which"]);
    for stage in &plan.stages {
        table.row(vec![
            format!("  {}  {:>3} %", stage.index, stage.percent),
            stage.hosts.len().to_string(),
            stage.may_fail.to_string(),
            first_names(stage),
        ]);
    }
    let reference = &plan.target.reference;
    let commit = match &plan.target.version {
        Some(commit) if commit != reference => format!(" ({})", short(commit)),
        _ => String::new(),
    };
    let gone = if plan.gone.is_empty() {
        String::new()
    } else {
        let names = plan.gone.join(", ");
        format!("  left out, no longer in the fleet: {names}\n")
    };
    format!(
        "Plan: {} to {}{}\n\n{table}\n{gone}  as last seen: {}\n  {} connections at once, {} hosts under way at once, settle {}s; halts when more than {}% of a stage fail",
        hosts(plan.hosts),
        short(reference),
        commit,
        versions(&plan.versions),
        policy.concurrency,
        policy.max_in_flight,
        policy.settle_seconds,
        policy.max_failure_percent,
    )
}

fn first_names(stage: &PlannedStage) -> String {
    let names: Vec<&str> = stage.hosts.iter().take(4).map(String::as_str).collect();
    let more = stage.hosts.len().saturating_sub(names.len());
    if more > 0 {
        format!("{} … and {more} more", names.join(" "))
    } else {
        names.join(" ")
    }
}

fn versions(versions: &[VersionCount]) -> String {
    let shown = |count: &VersionCount| match &count.version {
        None => format!("{} never updated from here", count.hosts),
        Some(version) => format!("{} on {}", count.hosts, short(version)),
    };
    let shown: Vec<String> = versions.iter().take(5).map(shown).collect();
    shown.join(", ")
}
