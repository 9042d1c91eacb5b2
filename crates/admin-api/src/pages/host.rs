//! One host: what it is, how its update went, step by step, and what it went through before.

use askama::Template;
use axum::Extension;
use axum::extract::{Path, State};
use axum::response::Response;
use fleet_store::{PastAttempt, StepRecord};
use fleet_types::{RolloutId, Timestamp, printable, view};

use crate::api::hosts::{host_name, pinned_key, record};
use crate::api::params::Params;
use crate::api::updates::find;
use crate::identity::Caller;
use crate::pages::hosts::labels;
use crate::pages::layout::{Nav, Page, go, html};
use crate::pages::show;
use crate::problem::Problem;
use crate::state::AdminApi;

const PAST: u32 = 20;
/// Lines of an output that are shown.
const LINES: usize = 500;

#[derive(Template)]
#[template(path = "host.html")]
struct HostPage {
    page: Page,
    host: view::Host,
    health_state: &'static str,
    health_message: Option<String>,
    version: String,
    previous: String,
    attention: String,
    via: String,
    owner: String,
    labels: String,
    repo: String,
    follows: String,
    service: String,
    keys: Vec<view::HostKey>,
    attempt: Option<AttemptShown>,
    steps: Vec<StepRow>,
    history: Vec<PastRow>,
    older: Option<String>,
}

struct AttemptShown {
    rollout: RolloutId,
    state: &'static str,
    word: String,
    message: String,
}

struct StepRow {
    name: String,
    state: &'static str,
    failed: bool,
    at: Timestamp,
    took: String,
    result: String,
    exit: String,
    cut: String,
    stdout: String,
    stderr: String,
}

struct PastRow {
    rollout: RolloutId,
    state: &'static str,
    word: String,
    from: String,
    to: String,
    at: Option<Timestamp>,
    took: String,
}

pub(crate) async fn show(
    State(api): State<AdminApi>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    params: Params,
) -> Result<Response, Problem> {
    let known = record(&api, &name).await?;
    let wanted = match params.text("rollout") {
        Some(id) => Some(find::rollout(&api, id).await?),
        None => None,
    };
    let before: Option<RolloutId> = params.parsed("before")?;
    let page = Page::load(&api, &caller, Nav::Hosts, known.name.to_string()).await?;
    let mut page = page.listen(&api, None).await?;
    if let Some(live) = &mut page.live {
        live.host = known.name.to_string();
        // There is no panel of a rollout here to keep true.
        live.status = String::new();
    }
    let host = api.store().host_view(&known.name, wanted).await?;
    let host = host.ok_or_else(|| Problem::not_found(format!("there is no host {name}")))?;
    let steps = match &host.attempt {
        Some(attempt) => {
            api.store()
                .attempt_steps(attempt.rollout, &known.name)
                .await?
        }
        None => Vec::new(),
    };
    let mut past = api
        .store()
        .host_history(&known.name, before, PAST + 1)
        .await?;
    let more = past.len() > PAST as usize;
    past.truncate(PAST as usize);
    let older = past.last().filter(|_| more).map(|last| {
        format!(
            "/admin/updates/hosts/{}?before={}",
            known.name, last.attempt.rollout
        )
    });
    let message = host
        .attempt
        .as_ref()
        .and_then(|attempt| attempt.message.as_deref());
    let attention = message.map_or_else(
        || "See below how its last update ended.".to_owned(),
        printable,
    );
    let app = &known.spec.app;
    html(&HostPage {
        page,
        health_state: show::health_state(host.health),
        health_message: host.health_message.as_deref().map(printable),
        version: show::short_or(host.current_version.as_ref(), "version not known"),
        previous: show::short_or(host.previous_version.as_ref(), "–"),
        attention,
        via: printable(&known.spec.jump.join(" → ")),
        owner: host
            .owner
            .as_deref()
            .map_or_else(|| "–".to_owned(), printable),
        labels: if host.labels.is_empty() {
            "–".to_owned()
        } else {
            labels(&host.labels)
        },
        repo: printable(app.repo.as_str()),
        follows: format!("{}/{}", app.remote, app.branch),
        service: app.service.to_string(),
        keys: known
            .host_keys
            .iter()
            .map(|line| pinned_key(line))
            .collect(),
        attempt: host
            .attempt
            .as_ref()
            .map(|attempt| attempt_shown(attempt, &host)),
        steps: steps.into_iter().map(StepRow::from).collect(),
        history: past.into_iter().map(PastRow::from).collect(),
        older,
        host,
    })
}

fn attempt_shown(attempt: &view::Attempt, host: &view::Host) -> AttemptShown {
    let state = show::attempt_state(attempt, host.needs_attention);
    let mut word = show::words(state);
    if let Some(seconds) = attempt.duration_seconds {
        word = format!("{word}, {}", show::duration(seconds));
    }
    AttemptShown {
        rollout: attempt.rollout,
        state,
        word,
        message: attempt
            .message
            .as_deref()
            .map_or_else(String::new, printable),
    }
}

/// The last lines, and how many were left out.
fn tail(text: &str) -> (String, usize) {
    let all = text.lines().count();
    let skip = all.saturating_sub(LINES);
    let mut start = 0;
    for _ in 0..skip {
        start += text
            .get(start..)
            .and_then(|rest| rest.find('\n'))
            .map_or(0, |at| at + 1);
    }
    (printable(text.get(start..).unwrap_or(text)), skip)
}

impl From<StepRecord> for StepRow {
    fn from(step: StepRecord) -> Self {
        let name = show::words(step.step.as_str());
        let (state, result) = match (&step.failed, step.finished_at) {
            (Some((reason, message)), _) => (
                "failed",
                format!("{}: {message}", show::words(reason.as_str())),
            ),
            (None, Some(_)) => ("success", "done".to_owned()),
            (None, None) => ("updating", "under way, or its end was not seen".to_owned()),
        };
        let kept = step.output.stdout.len() + step.output.stderr.len();
        let (stdout, left_out) = tail(&step.output.stdout);
        let (stderr, more) = tail(&step.output.stderr);
        let cut = step.output.total_bytes > kept as u64;
        Self {
            name,
            state,
            failed: step.failed.is_some(),
            at: step.started_at,
            took: step.finished_at.map_or_else(String::new, |end| {
                show::duration(end.since(step.started_at).as_secs_f64())
            }),
            result: printable(&result),
            exit: step
                .output
                .exit
                .map_or_else(String::new, |exit| format!("exit code {exit}")),
            cut: match (cut, left_out + more) {
                (false, 0) => String::new(),
                (true, 0) => ", only the end was kept".to_owned(),
                (_, lines) => format!(", {lines} earlier lines not shown"),
            },
            stdout,
            stderr,
        }
    }
}

impl From<PastAttempt> for PastRow {
    fn from(past: PastAttempt) -> Self {
        let attention = past.attempt.reason.as_deref() == Some("rollback_failed");
        let state = show::attempt_state(&past.attempt, attention);
        Self {
            rollout: past.attempt.rollout,
            state,
            word: show::words(past.attempt.status.as_str()),
            from: show::short_or(past.from.as_ref(), "–"),
            to: show::short_or(past.to.as_ref(), "–"),
            at: past.finished_at.or(past.started_at),
            took: past
                .attempt
                .duration_seconds
                .map_or_else(String::new, show::duration),
        }
    }
}

pub(crate) async fn clear(
    State(api): State<AdminApi>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    let name = host_name(&name)?;
    api.store()
        .host_clear_attention(&name, &caller.actor())
        .await?;
    Ok(go(format!("/admin/updates/hosts/{name}")))
}

#[cfg(test)]
mod tests {
    use super::tail;

    #[test]
    fn only_the_end_is_shown() {
        let text: String = (1..=502).map(|n| format!("line {n}\n")).collect();
        let (shown, left_out) = tail(&text);
        assert_eq!((shown.lines().count(), left_out), (500, 2));
        assert!(shown.starts_with("line 3\n"), "{shown:.20}");
        assert_eq!(tail("ä\u{1b}[31m"), ("ä\\x1b[31m".to_owned(), 0));
    }
}
