//! `status`

use fleet_types::view::{Fleet, InFlight, LeftToOthers, Rollout, Stage, Status, VersionCount};
use fleet_types::{RolloutKind, RolloutState};

use crate::cli::{Global, Which};
use crate::display::table::Table;
use crate::display::words;
use crate::exit::Exit;
use crate::failure::{Failure, one_line};
use crate::fleet::{self, Place};
use crate::output::{Output, Paint, next_lines};

/// How wide the largest bar of the versions is.
const BAR: u32 = 30;

/// One screen: what is going on, and why nothing moves.
pub(crate) async fn run(which: &Which, global: &Global, out: Output) -> Result<Exit, Failure> {
    let place = Place::open(global, out, Default::default()).await?;
    let fleet = place.fleet();
    let mut status = fleet.status().await?;
    if which.rollout.is_some() {
        let id = fleet::which(&*fleet, which).await?;
        status.rollout = Some(fleet.rollout(id).await?);
    }
    if out.json {
        out.object(&status)?;
    } else {
        out.data(&screen(&status))?;
    }
    Ok(Exit::Done)
}

fn screen(status: &Status) -> String {
    let mut text = fleet(&status.fleet);
    match &status.rollout {
        Some(shown) => text.push_str(&rollout(shown)),
        None => text.push_str("rollout      there was none yet\n"),
    }
    format!("{text}\n{}\n", next_lines(&next(status)))
}

fn fleet(fleet: &Fleet) -> String {
    let mut parts = vec![words::hosts(fleet.hosts)];
    if fleet.updating > 0 {
        parts.push(format!("▸ {} updating", fleet.updating));
    }
    if fleet.needs_attention > 0 {
        parts.push(Paint::Red.on(format!("! {} need attention", fleet.needs_attention)));
    }
    let mut text = format!(
        "fleet        {}   {}\n",
        parts.join("   "),
        words::moment(words::now())
    );
    let most = fleet
        .versions
        .iter()
        .map(|version| version.hosts)
        .max()
        .unwrap_or(0)
        .max(1);
    for (at, version) in fleet.versions.iter().enumerate() {
        let head = if at == 0 { "versions" } else { "" };
        text.push_str(&format!("{head:12} {}\n", version_line(version, most)));
    }
    let health = &fleet.health;
    let shown = [
        (health.active, "✓", "active"),
        (health.inactive, "✗", "inactive"),
        (health.unhealthy, "✗", "unhealthy"),
        (health.unreachable, "✗", "unreachable"),
        (health.unknown, "·", "unknown"),
    ];
    let shown: Vec<String> = shown
        .iter()
        .filter(|(count, ..)| *count > 0)
        .map(|(count, symbol, word)| format!("{symbol} {count} {word}"))
        .collect();
    if !shown.is_empty() {
        text.push_str(&format!("health       {}\n", shown.join("   ")));
    }
    text
}

fn version_line(version: &VersionCount, most: u32) -> String {
    let name = version.version.as_deref().map_or("unknown", words::short);
    let bar = (version.hosts * BAR).div_ceil(most) as usize;
    format!("{name:10} {:4}  {}", version.hosts, "█".repeat(bar))
}

fn rollout(rollout: &Rollout) -> String {
    let id = rollout.id.short();
    let state = words::state_paint(rollout.state).on(words::state(rollout.state));
    let stage = format!("stage {}/{}", rollout.stage, rollout.stages.len());
    let kind = match rollout.kind {
        RolloutKind::Update => String::new(),
        other => format!("{other} "),
    };
    let target = words::target(rollout);
    let by = format!(
        "{} {}",
        one_line(&rollout.started_by),
        words::ago(rollout.created_at)
    );
    let mut text = format!("rollout      {id}  {state}, {stage}: {kind}{target}, by {by}\n");
    if let Some(message) = &rollout.message {
        text.push_str(&format!("             “{}”\n", one_line(message)));
    }
    let mut table = Table::new(&["             stage", "hosts", "may fail", "state", ""]);
    for stage in &rollout.stages {
        table.row(stage_row(stage));
    }
    text.push_str(&table.to_string());
    for flight in &rollout.in_flight {
        text.push_str(&in_flight(flight));
    }
    for left in &rollout.left_to_others {
        text.push_str(&left_to_others(left));
    }
    if let Some(why) = why(rollout) {
        text.push_str(&format!("why          {why}\n"));
    }
    text
}

fn stage_row(stage: &Stage) -> Vec<String> {
    vec![
        format!("             {}  {:>3} %", stage.index, stage.percent),
        stage.hosts.to_string(),
        stage.may_fail.to_string(),
        stage.state.to_string(),
        words::counts(&stage.counts),
    ]
}

/// `left         2 hosts by rollout-server on db-1, which cannot load the key; its log says why: kiwi-01, kiwi-02`
fn left_to_others(left: &LeftToOthers) -> String {
    let hosts = words::hosts(left.hosts);
    let process = one_line(&left.process);
    let first: Vec<String> = left.first.iter().map(|name| one_line(name)).collect();
    let first = words::names_of(&first, left.hosts as usize);
    format!(
        "left         {hosts} by {process}, which cannot load the key; its log says why: {first}\n"
    )
}

/// `in flight    kiwi-03  restart  since 12:04:20Z (4.0s), limit in 26.0s`
fn in_flight(flight: &InFlight) -> String {
    let now = words::now();
    let limit = match flight.deadline {
        Some(deadline) if deadline > now => {
            format!(", limit in {}", words::duration(deadline.since(now)))
        }
        Some(deadline) => Paint::Red.on(format!(
            ", {} past its limit",
            words::duration(now.since(deadline))
        )),
        None => String::new(),
    };
    format!(
        "in flight    {}  {}  since {} ({}){limit}\n",
        flight.host,
        flight.step.as_deref().unwrap_or("starting"),
        words::moment(flight.since),
        words::duration(now.since(flight.since)),
    )
}

/// Why nothing moves, or why it ended.
fn why(rollout: &Rollout) -> Option<String> {
    let id = rollout.id.short();
    let reason = rollout.reason.as_deref().map(one_line);
    let waiting = words::hosts(rollout.counts.updating);
    match rollout.state {
        RolloutState::Paused => Some(format!(
            "{}: run rollout-cli resume {id}",
            reason.unwrap_or_else(|| "it is paused".to_owned())
        )),
        _ if rollout.state.is_active() && !rollout.attended => Some(format!(
            "no live process works on it: run rollout-cli resume {id}"
        )),
        RolloutState::Halting | RolloutState::Aborting => {
            let reason = reason
                .map(|reason| format!("{reason}; "))
                .unwrap_or_default();
            Some(format!("{reason}waiting for {waiting} in flight"))
        }
        RolloutState::Running
            if rollout.target.version.is_none() && rollout.kind != RolloutKind::Rollback =>
        {
            Some(format!(
                "hosts are being asked which commit {} is",
                rollout.target.reference
            ))
        }
        RolloutState::Running if rollout.counts.updating > 0 => {
            Some(format!("{waiting} in flight"))
        }
        _ => reason,
    }
}

fn next(status: &Status) -> Vec<(String, &'static str)> {
    if status.fleet.hosts == 0 {
        return vec![
            (
                "rollout-cli hosts add NAME --address A".to_owned(),
                "add a host",
            ),
            ("rollout-cli hosts import FILE".to_owned(), "add many"),
        ];
    }
    let Some(rollout) = &status.rollout else {
        return vec![(
            "rollout-cli plan --all".to_owned(),
            "what an update would do",
        )];
    };
    let id = rollout.id.short();
    let mut commands = Vec::new();
    if rollout.state == RolloutState::Paused || (rollout.state.is_active() && !rollout.attended) {
        commands.push((format!("rollout-cli resume {id}"), "go on"));
        commands.push((
            format!("rollout-cli abort {id}"),
            "end it; what is done stays done",
        ));
    } else if rollout.state.is_active() {
        commands.push((format!("rollout-cli watch {id}"), "follow it to its end"));
        commands.push((format!("rollout-cli pause {id}"), "start no further hosts"));
    } else {
        commands.push((
            format!("rollout-cli rollouts show {id}"),
            "each host's part in it",
        ));
    }
    if status.fleet.needs_attention > 0 {
        commands.push((
            "rollout-cli hosts list".to_owned(),
            "which hosts need attention",
        ));
    }
    commands
}
