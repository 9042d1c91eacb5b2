//! `health`

use fleet_types::HealthState;
use fleet_types::view::{CheckDone, HealthCheck};
use serde_json::json;

use crate::cli::{Global, Health};
use crate::display::table::Table;
use crate::display::words;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::fleet::Place;
use crate::output::{Output, Paint};

/// Looks whether services are active, and with `--fix` starts those again that are not.
pub(crate) async fn run(arguments: &Health, global: &Global, out: Output) -> Result<Exit, Failure> {
    let place = Place::open(global, out, Default::default()).await?;
    let fleet = place.fleet();
    let chosen = super::hosts::chosen(&*fleet, &arguments.hosts.selection()).await?;
    if chosen.is_empty() {
        return Err(Failure::refused("the selection leaves no host")
            .help("rollout-cli hosts list shows the fleet"));
    }
    let names = super::hosts::names(&chosen);
    let checked = fleet.check_health(names, arguments.fix).await?;
    show(out, &checked)?;
    let busy = chosen.len().saturating_sub(checked.len());
    conclude(out, &checked, busy, arguments.fix);
    Ok(exit(&checked, busy))
}

fn show(out: Output, checked: &[HealthCheck]) -> Result<(), Failure> {
    if out.json {
        return out.object(&json!({ "hosts": checked }));
    }
    let mut table = Table::new(&["HOST", "HEALTH", "DONE", "WHAT WAS SEEN"]);
    for one in checked {
        let paint = match one.health {
            HealthState::Active => Paint::Green,
            HealthState::Unknown => Paint::Dim,
            _ => Paint::Red,
        };
        table.row(vec![
            one.name.clone(),
            paint.on(one.health.as_str()),
            done(one.done).to_owned(),
            one.message.clone(),
        ]);
    }
    out.data(&table.to_string())
}

fn done(done: CheckDone) -> &'static str {
    match done {
        CheckDone::Looked => "-",
        CheckDone::Restarted => "restarted",
        CheckDone::UsedUp => "restarted too often",
        CheckDone::LeftAlone => "left alone",
    }
}

/// Says what there is to do.
fn conclude(out: Output, checked: &[HealthCheck], busy: usize, fix: bool) {
    if busy > 0 {
        let busy = words::hosts(u32::try_from(busy).unwrap_or(u32::MAX));
        out.say(format!("{busy} left out: a rollout is working there"));
    }
    let down = checked
        .iter()
        .any(|one| one.health == HealthState::Inactive);
    if down && !fix {
        let next = "rollout-cli health --fix".to_owned();
        out.next(&[(next, "start again what is not active")]);
    }
}

/// A service that was given up waits for a person; what is not active, cannot be asked or was left alone is some that
/// failed: nobody knows that it is active.
fn exit(checked: &[HealthCheck], busy: usize) -> Exit {
    let any = |state| checked.iter().any(|one| one.health == state);
    let is_up = |one: &HealthCheck| one.health == HealthState::Active && one.was_looked_at();
    if any(HealthState::Unhealthy) {
        Exit::Attention
    } else if busy > 0 || !checked.iter().all(is_up) {
        Exit::SomeFailed
    } else {
        Exit::Done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_seen_active_is_well() {
        let one = |health, done| HealthCheck {
            name: "web-1".to_owned(),
            health,
            message: String::new(),
            done,
        };
        let up = one(HealthState::Active, CheckDone::Looked);
        let check = |others: &[HealthCheck], busy, expected| {
            let all: Vec<_> = others.iter().cloned().chain([up.clone()]).collect();
            assert_eq!(exit(&all, busy), expected, "{all:?}, {busy}");
        };
        check(&[], 0, Exit::Done);
        check(&[], 1, Exit::SomeFailed);
        let restarted = one(HealthState::Active, CheckDone::Restarted);
        check(&[restarted], 0, Exit::Done);
        for health in [HealthState::Active, HealthState::Unknown] {
            check(&[one(health, CheckDone::LeftAlone)], 0, Exit::SomeFailed);
        }
        let given_up = one(HealthState::Unhealthy, CheckDone::UsedUp);
        check(&[given_up], 1, Exit::Attention);
    }
}
