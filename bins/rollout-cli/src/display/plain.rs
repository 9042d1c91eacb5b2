//! For pipes and logs: one line per event that a person wants to know of; or every event as JSON; or nothing.

use fleet_types::{AttemptStatus, Event, EventKind};

use super::Display;
use super::model::{Model, short_counts, status};
use super::words::{self, Mark};
use crate::failure::{Failure, one_line};
use crate::output::Output;

/// One line per event, with the time in front.
#[derive(Debug)]
pub(crate) struct PlainDisplay {
    out: Output,
}

impl PlainDisplay {
    /// Writes to standard error.
    pub(crate) fn new(out: Output) -> Self {
        Self { out }
    }
}

impl Display for PlainDisplay {
    fn event(&mut self, event: &Event, model: &Model) -> Result<(), Failure> {
        if let Some(text) = line(event, model) {
            self.out.say(format!("{} {text}", words::moment(event.at)));
        }
        Ok(())
    }

    fn note(&mut self, text: &str) {
        self.out.shout(text);
    }
}

/// What is said of an event, if anything.
pub(crate) fn line(event: &Event, model: &Model) -> Option<String> {
    let id = model.rollout.id.short();
    let by = event
        .actor
        .as_deref()
        .map(|actor| format!(" by {}", one_line(actor)))
        .unwrap_or_default();
    let text = match event.kind {
        EventKind::RolloutStarted => {
            let sizes: Vec<String> = model
                .rollout
                .stages
                .iter()
                .map(|stage| stage.hosts.to_string())
                .collect();
            let target = words::target(&model.rollout);
            format!(
                "rollout {id} started{by}: {target}, hosts={} stages={}",
                model.hosts(),
                sizes.join(",")
            )
        }
        EventKind::RolloutResolved => format!(
            "rollout {id} target is {}",
            event.to.as_deref().unwrap_or("-")
        ),
        EventKind::RolloutPaused => format!("rollout {id} paused{by}"),
        EventKind::RolloutResumed => format!("rollout {id} resumed{by}"),
        EventKind::RolloutHalting => {
            let why = event
                .message
                .as_deref()
                .or(event.reason.as_deref())
                .unwrap_or("more failed than allowed");
            format!("rollout {id} halting: {}", one_line(why))
        }
        EventKind::RolloutAborting => format!("rollout {id} aborting{by}"),
        EventKind::RolloutHalted | EventKind::RolloutAborted | EventKind::RolloutFinished => {
            let took = event
                .duration_seconds
                .map(|time| format!("  {}", words::seconds(time)))
                .unwrap_or_default();
            format!("rollout {id} {}{took}", words::state(model.state))
        }
        EventKind::StageStarted => {
            let stage = model.planned()?;
            format!(
                "stage {}/{} started: {} %, {}, may fail {}",
                stage.index,
                model.rollout.stages.len(),
                stage.percent,
                words::hosts(stage.hosts),
                stage.may_fail
            )
        }
        EventKind::StageFinished => stage_end(event, model)?,
        EventKind::HostTakenOver => {
            format!(
                "{} {:11} {}",
                counter(model),
                "taken-over",
                event.host.as_deref()?
            )
        }
        EventKind::HostFinished => host_end(event, model)?,
        _ => return None,
    };
    Some(text)
}

fn stage_end(event: &Event, model: &Model) -> Option<String> {
    let stage = event.stage?;
    let ended = model.ended_of(stage);
    Some(format!(
        "stage {stage}/{} {}: {}  may fail {}, failed {}",
        model.rollout.stages.len(),
        event.status.as_deref().unwrap_or("ended"),
        short_counts(ended),
        model.may_fail(stage),
        ended.bad()
    ))
}

fn counter(model: &Model) -> String {
    let width = model.hosts().to_string().len();
    format!("[{:>width$}/{}]", model.done, model.hosts())
}

fn host_end(event: &Event, model: &Model) -> Option<String> {
    let status = status(event)?;
    let word = Mark::in_rollout(model.rollout.kind, status, event.reason.as_deref())
        .word
        .replace(' ', "-");
    let took = event
        .duration_seconds
        .map(words::seconds)
        .unwrap_or_default();
    let text = format!(
        "{} {word:11} {}  {took}",
        counter(model),
        event.host.as_deref()?
    );
    Some(match cause(event, status) {
        Some(cause) => format!("{text}  {cause}"),
        None => text.trim_end().to_owned(),
    })
}

/// `verify: crash_loop: it was restarted 4 times`, for a host that did not make it.
pub(crate) fn cause(event: &Event, status: AttemptStatus) -> Option<String> {
    if status == AttemptStatus::Success {
        return None;
    }
    let parts = [
        event.step.as_deref(),
        event.reason.as_deref(),
        event.message.as_deref(),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().map(one_line).collect();
    (!parts.is_empty()).then(|| parts.join(": "))
}

/// Every event as a line of JSON on standard output.
#[derive(Debug)]
pub(crate) struct JsonDisplay {
    out: Output,
}

impl JsonDisplay {
    /// Writes to standard output.
    pub(crate) fn new(out: Output) -> Self {
        Self { out }
    }
}

impl Display for JsonDisplay {
    fn event(&mut self, event: &Event, _model: &Model) -> Result<(), Failure> {
        self.out.object(event)
    }

    fn note(&mut self, text: &str) {
        self.out.shout(text);
    }
}

/// Nothing but what must be said.
#[derive(Debug)]
pub(crate) struct SilentDisplay {
    out: Output,
}

impl SilentDisplay {
    /// Writes to standard error.
    pub(crate) fn new(out: Output) -> Self {
        Self { out }
    }
}

impl Display for SilentDisplay {
    fn event(&mut self, _event: &Event, _model: &Model) -> Result<(), Failure> {
        Ok(())
    }

    fn note(&mut self, text: &str) {
        self.out.shout(text);
    }
}
