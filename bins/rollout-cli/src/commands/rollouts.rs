//! `rollouts list` and `rollouts show`

use fleet_types::view::{Attempt, Host, Rollout};
use fleet_types::{AttemptStatus, RolloutKind};
use serde_json::json;

use crate::cli::{Global, RolloutsCommand, Which};
use crate::display::table::Table;
use crate::display::words::{self, Mark};
use crate::exit::{Exit, needs_attention};
use crate::failure::{Failure, one_line};
use crate::fleet::{self, Fleet, Place};
use crate::output::{Output, Paint};

/// Runs one of them.
pub(crate) async fn run(
    command: RolloutsCommand,
    global: &Global,
    out: Output,
) -> Result<Exit, Failure> {
    let place = Place::open(global, out, Default::default()).await?;
    let fleet = place.fleet();
    match command {
        RolloutsCommand::List { limit } => list(&*fleet, out, limit).await,
        RolloutsCommand::Show(arguments) => show(&*fleet, out, &arguments.which).await,
    }
}

async fn list(fleet: &dyn Fleet, out: Output, limit: u32) -> Result<Exit, Failure> {
    let rollouts = fleet.rollouts(limit).await?;
    if out.json {
        out.object(&json!({ "rollouts": rollouts }))?;
        return Ok(Exit::Done);
    }
    if rollouts.is_empty() {
        out.say("there was no rollout yet");
        out.next(&[(
            "rollout-cli plan --all".to_owned(),
            "what an update would do",
        )]);
        return Ok(Exit::Done);
    }
    let mut table = Table::new(&[
        "ROLLOUT", "KIND", "TARGET", "STATE", "STARTED", "BY", "HOSTS",
    ]);
    for rollout in &rollouts {
        table.row(vec![
            rollout.id.short(),
            rollout.kind.to_string(),
            words::target(rollout),
            words::state_paint(rollout.state).on(words::state(rollout.state)),
            words::ago(rollout.created_at),
            one_line(&rollout.started_by),
            words::counts(&rollout.counts),
        ]);
    }
    out.data(&table.to_string())?;
    Ok(Exit::Done)
}

async fn show(fleet: &dyn Fleet, out: Output, which: &Which) -> Result<Exit, Failure> {
    let id = fleet::which(fleet, which).await?;
    let rollout = fleet.rollout(id).await?;
    let hosts = fleet.rollout_hosts(id).await?;
    if out.json {
        out.object(&json!({ "rollout": rollout, "hosts": hosts }))?;
        return Ok(Exit::Done);
    }
    out.data(&format!(
        "{}\n{}",
        head(&rollout),
        parts(rollout.kind, &hosts)
    ))?;
    let bad = hosts.iter().find(|host| {
        let status = host.attempt.as_ref().map(|attempt| attempt.status);
        matches!(
            status,
            Some(AttemptStatus::Failed | AttemptStatus::RolledBack)
        )
    });
    if let Some(host) = bad {
        out.next(&[(
            format!("rollout-cli logs {} --host {}", id.short(), host.name),
            "what the steps printed on a host",
        )]);
    }
    Ok(Exit::Done)
}

fn head(rollout: &Rollout) -> String {
    let policy = &rollout.policy;
    let stages: Vec<String> = policy.stages.iter().map(u32::to_string).collect();
    let mut lines = vec![
        (
            "rollout",
            format!("{} ({})", rollout.id.short(), rollout.id),
        ),
        (
            "state",
            words::state_paint(rollout.state).on(words::state(rollout.state)),
        ),
        ("kind", rollout.kind.to_string()),
        (
            "target",
            format!(
                "{} {}",
                rollout.target.reference,
                rollout.target.version.as_deref().unwrap_or("")
            ),
        ),
        (
            "by",
            format!(
                "{}, {}",
                one_line(&rollout.started_by),
                words::moment(rollout.created_at)
            ),
        ),
        (
            "policy",
            format!(
                "stages {}, halts over {}%, {} connections, {} under way, settle {}s",
                stages.join(","),
                policy.max_failure_percent,
                policy.concurrency,
                policy.max_in_flight,
                policy.settle_seconds
            ),
        ),
        ("hosts", words::counts(&rollout.counts)),
    ];
    if let Some(message) = &rollout.message {
        lines.push(("message", one_line(message)));
    }
    if let Some(reason) = &rollout.reason {
        lines.push(("reason", one_line(reason)));
    }
    if let Some(finished) = rollout.finished_at {
        lines.push(("took", words::duration(finished.since(rollout.created_at))));
    }
    lines
        .iter()
        .map(|(what, value)| format!("{what:8} {value}\n"))
        .collect()
}

fn parts(kind: RolloutKind, hosts: &[Host]) -> String {
    let mut table = Table::new(&["HOST", "STAGE", "RESULT", "TOOK", "STEP", "CAUSE"]);
    let mut ordered: Vec<(&Host, &Attempt)> = hosts
        .iter()
        .filter_map(|host| Some((host, host.attempt.as_ref()?)))
        .collect();
    ordered.sort_by_key(|(host, attempt)| (attempt.stage, &host.name));
    for (host, attempt) in ordered {
        let mark = Mark::in_rollout(kind, attempt.status, attempt.reason.as_deref());
        let attention = if needs_attention(host) {
            Paint::Red.on(" NEEDS ATTENTION")
        } else {
            String::new()
        };
        let reason = attempt.reason.clone().unwrap_or_default();
        let cause = match attempt
            .message
            .as_deref()
            .filter(|message| !message.is_empty())
        {
            Some(message) => format!("{reason}: {}", one_line(message)),
            None => reason,
        };
        table.row(vec![
            host.name.clone(),
            attempt.stage.to_string(),
            format!("{} {}{attention}", mark.painted(), mark.word),
            attempt
                .duration_seconds
                .map(words::seconds)
                .unwrap_or_default(),
            attempt.step.clone().unwrap_or_default(),
            cause,
        ]);
    }
    table.to_string()
}
