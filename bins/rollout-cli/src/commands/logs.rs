//! `logs`

use fleet_store::StepRecord;
use serde_json::json;

use crate::cli::{Global, Logs};
use crate::context::Context;
use crate::display::words;
use crate::exit::Exit;
use crate::failure::{Failure, one_line};
use crate::output::{Output, Paint};

/// What the steps printed on a host.
pub(crate) async fn run(arguments: &Logs, global: &Global, out: Output) -> Result<Exit, Failure> {
    let context = Context::open(global, out, Default::default()).await?;
    let id = context.rollout(&arguments.which).await?;
    let attempts = context.store.attempt_list(id).await?;
    if !attempts
        .iter()
        .any(|attempt| attempt.name == arguments.host)
    {
        return Err(Failure::refused(format!(
            "{} has no part in rollout {}",
            arguments.host,
            id.short()
        ))
        .help(format!(
            "rollout-cli rollouts show {} lists its hosts",
            id.short()
        )));
    }
    let mut steps = context.store.attempt_steps(id, &arguments.host).await?;
    steps.retain(|record| arguments.step.is_none_or(|step| record.step == step));
    if out.json {
        let steps: Vec<_> = steps.iter().map(as_json).collect();
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

fn as_json(record: &StepRecord) -> serde_json::Value {
    let failed = record.failed.as_ref();
    json!({
        "step": record.step,
        "started_at": record.started_at,
        "finished_at": record.finished_at,
        "duration_seconds": record.finished_at.map(|end| end.since(record.started_at).as_secs_f64()),
        "reason": failed.map(|(reason, _)| reason),
        "message": failed.map(|(_, message)| message),
        "exit": record.output.exit,
        "stdout": record.output.stdout,
        "stderr": record.output.stderr,
        "total_bytes": record.output.total_bytes,
    })
}

fn as_text(record: &StepRecord) -> String {
    let took = match record.finished_at {
        Some(end) => words::duration(end.since(record.started_at)),
        None => "its end was not seen".to_owned(),
    };
    let result = match &record.failed {
        Some((reason, message)) => Paint::Red.on(format!("✗ {reason}: {}", one_line(message))),
        None if record.finished_at.is_some() => Paint::Green.on("✓"),
        None => "…".to_owned(),
    };
    let exit = record
        .output
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
    format!(
        "{head}{}{}",
        stream("  ", &record.output.stdout),
        stream("! ", &record.output.stderr)
    )
}
