//! `health`

use std::sync::Arc;

use fleet_types::{HealthState, HostId};
use rollout_orchestrator::{CheckDone, Checked, HealthSweeper, SweepSettings};
use serde_json::json;

use crate::cli::{Global, Health};
use crate::context::Context;
use crate::display::table::Table;
use crate::display::words;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{Output, Paint};

/// Looks whether services are active, and with `--fix` starts those again that are not.
pub(crate) async fn run(arguments: &Health, global: &Global, out: Output) -> Result<Exit, Failure> {
    let context = Context::open(global, out, Default::default()).await?;
    let chosen = super::hosts::chosen(&context, &arguments.hosts.selection()).await?;
    if chosen.is_empty() {
        return Err(Failure::refused("the selection leaves no host")
            .help("rollout-cli hosts list shows the fleet"));
    }
    let ids: Vec<HostId> = chosen.iter().map(|host| host.id).collect();
    let checked = sweep(&context, arguments.fix, ids).await?;
    show(&context, &checked)?;
    let busy = chosen.len().saturating_sub(checked.len());
    conclude(&context, &checked, busy, arguments.fix);
    Ok(exit(&checked))
}

async fn sweep(context: &Context, fix: bool, ids: Vec<HostId>) -> Result<Vec<Checked>, Failure> {
    let orchestrator = context.orchestrator()?;
    let mut worker = context.looker(&orchestrator).await?;
    let settings = SweepSettings {
        every: context.settings.health.every,
        settle: context.settings.rollout.settle,
        fix,
        ..SweepSettings::default()
    };
    let health: Arc<dyn fleet_store::Health> =
        Arc::<dyn fleet_store::AdminStore>::clone(&context.admin);
    let sweeper = HealthSweeper::beside(&worker, &orchestrator, health, settings);
    let checked = sweeper.sweep_once(fix, Some(ids)).await;
    worker.abandon();
    worker.finished().await?;
    checked.map_err(|error| Failure::unexpected("the hosts could not be looked at").why(error))
}

fn show(context: &Context, checked: &[Checked]) -> Result<(), Failure> {
    if context.out.json {
        let hosts: Vec<_> = checked.iter().map(as_json).collect();
        return context.out.object(&json!({ "hosts": hosts }));
    }
    let mut table = Table::new(&["HOST", "HEALTH", "DONE", "WHAT WAS SEEN"]);
    for one in checked {
        let paint = match one.health {
            HealthState::Active => Paint::Green,
            HealthState::Unknown => Paint::Dim,
            _ => Paint::Red,
        };
        table.row(vec![
            one.host.to_string(),
            paint.on(one.health.as_str()),
            done(one.done).to_owned(),
            one.message.clone(),
        ]);
    }
    context.out.data(&table.to_string())
}

fn done(done: CheckDone) -> &'static str {
    match done {
        CheckDone::Looked => "-",
        CheckDone::Restarted => "restarted",
        CheckDone::UsedUp => "restarted too often",
        CheckDone::LeftAlone => "left alone",
    }
}

fn as_json(one: &Checked) -> serde_json::Value {
    let done = match one.done {
        CheckDone::Looked => "looked",
        CheckDone::Restarted => "restarted",
        CheckDone::UsedUp => "used_up",
        CheckDone::LeftAlone => "left_alone",
    };
    json!({ "name": one.host, "health": one.health, "message": one.message, "done": done })
}

/// Says what there is to do.
fn conclude(context: &Context, checked: &[Checked], busy: usize, fix: bool) {
    if busy > 0 {
        let busy = words::hosts(u32::try_from(busy).unwrap_or(u32::MAX));
        context
            .out
            .say(format!("{busy} left out: a rollout is working there"));
    }
    let down = checked
        .iter()
        .any(|one| one.health == HealthState::Inactive);
    if down && !fix {
        let next = "rollout-cli health --fix".to_owned();
        context
            .out
            .next(&[(next, "start again what is not active")]);
    }
}

/// A service that was given up waits for a person; what is not active or cannot be asked is some that failed.
fn exit(checked: &[Checked]) -> Exit {
    let any = |state| checked.iter().any(|one| one.health == state);
    if any(HealthState::Unhealthy) {
        Exit::Attention
    } else if checked.iter().any(|one| one.health != HealthState::Active) {
        Exit::SomeFailed
    } else {
        Exit::Done
    }
}
