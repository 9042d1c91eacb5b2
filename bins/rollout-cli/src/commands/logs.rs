//! `logs`

use fleet_types::view::{self, StepOutput};
use serde_json::json;

use crate::cli::{Global, Logs};
use crate::display::words;
use crate::exit::Exit;
use crate::failure::{Failure, one_line};
use crate::fleet::{self, Place};
use crate::output::{Output, Paint};

/// What the steps printed on a host.
pub(crate) async fn run(arguments: &Logs, global: &Global, out: Output) -> Result<Exit, Failure> {
    let place = Place::open(global, out, Default::default()).await?;
    let fleet = place.fleet();
    let id = fleet::which(&*fleet, &arguments.which).await?;
    let Some(mut steps) = fleet.steps(id, &arguments.host).await? else {
        return Err(Failure::refused(format!(
            "{} has no part in rollout {}",
            arguments.host,
            id.short()
        ))
        .help(format!(
            "rollout-cli rollouts show {} lists its hosts",
            id.short()
        )));
    };
    steps.retain(|record| arguments.step.is_none_or(|step| record.step == step));
    if out.json {
        out.object(&json!({ "rollout": id, "host": arguments.host, "steps": steps }))?;
        return Ok(Exit::Done);
    }
    if steps.is_empty() {
        out.say("no step was begun");
    }
    for record in &steps {
        out.data(&as_text(record))?;
    }
    Ok(Exit::Done)
}

fn as_text(record: &StepOutput) -> String {
    let took = match record.finished_at {
        Some(end) => words::duration(end.since(record.started_at)),
        None => "its end was not seen".to_owned(),
    };
    let result = match (record.reason, &record.message) {
        (Some(reason), message) => {
            let message = one_line(message.as_deref().unwrap_or_default());
            Paint::Red.on(format!("✗ {reason}: {message}"))
        }
        (None, _) if record.finished_at.is_some() => Paint::Green.on("✓"),
        (None, _) => "…".to_owned(),
    };
    let exit = record
        .exit
        .filter(|exit| *exit != 0)
        .map(|exit| format!("  exit {exit}"))
        .unwrap_or_default();
    let head = format!(
        "── {}  {}  {took}{exit}  {result}\n",
        record.step,
        words::moment(record.started_at)
    );
    let stream = |name: &str, text: &str| {
        // It was made printable when it was stored; a store may be older than the rule.
        let text = fleet_types::printable(text);
        let lines: String = text
            .lines()
            .map(|line| format!("{name} {line}\n"))
            .collect();
        lines
    };
    let removed = record.removed_after_days.map(|days| {
        let told = view::output_removed(days, record.total_bytes);
        format!("   {}\n", Paint::Dim.on(told))
    });
    format!(
        "{head}{}{}{}",
        stream("  ", &record.stdout),
        stream("! ", &record.stderr),
        removed.unwrap_or_default()
    )
}
