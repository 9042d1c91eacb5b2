//! One host: what it is, how its update went, step by step, and what it went through before.

use askama::Template;
use axum::Extension;
use axum::extract::{Path, State};
use axum::response::Response;
use fleet_store::{HostRecord, PastAttempt, StepRecord};
use fleet_types::{HostName, RolloutId, StepId, Timestamp, printable, view};

use crate::api::hosts::{host_name, pinned_key};
use crate::api::now;
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
    /// Whether the last look is older than it should be.
    stale: bool,
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

/// What a host went through in a rollout that is in the fleet no more.
#[derive(Template)]
#[template(path = "gone.html")]
struct GonePage {
    page: Page,
    name: String,
    attempt: Option<AttemptShown>,
    steps: Vec<StepRow>,
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
    at: Timestamp,
    took: String,
    result: String,
    exit: String,
    cut: String,
    stdout: String,
    stderr: String,
    /// Why there is no text, where it was removed.
    removed: Option<String>,
    open: bool,
    /// Where the whole is, as plain text.
    whole: String,
    earlier: Option<String>,
    later: Option<String>,
}

struct PastRow {
    /// What the host was called then.
    name: String,
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
    let wanted = match params.text("rollout") {
        Some(id) => Some(find::rollout(&api, id).await?),
        None => None,
    };
    let back: usize = params.parsed("earlier")?.unwrap_or(0);
    let name = host_name(&name)?;
    let Some(known) = called(&api, &name, wanted).await? else {
        return gone(&api, &caller, name, wanted, back).await;
    };
    let before: Option<RolloutId> = params.parsed("before")?;
    let page = Page::load(&api, &caller, Nav::Hosts, known.name.to_string()).await?;
    let mut page = page.listen(&api, None).await?;
    if let Some(live) = &mut page.live {
        live.host = known.name.to_string();
        // There is no panel of a rollout here to keep true.
        live.status = String::new();
    }
    let name_then = match wanted {
        Some(_) => named_then(&api, wanted, &known).await?,
        None => Some(known.name.clone()),
    };
    let Some(name_then) = name_then else {
        // It has no part in that rollout, and neither has anybody else of this name.
        return gone(&api, &caller, name, wanted, back).await;
    };
    let host = api.store().host_view(&name_then, wanted).await?;
    let mut host = host.ok_or_else(|| Problem::not_found(format!("there is no host {name}")))?;
    let attempt = host.attempt.as_ref();
    let attempt = attempt.map(|attempt| attempt_shown(attempt, &host));
    host.name = known.name.to_string();
    host.needs_attention = known.needs_attention;
    let last = host.attempt.as_ref().map(|attempt| attempt.rollout);
    let name_then = named_then(&api, last, &known).await?;
    let name_then = name_then.unwrap_or_else(|| known.name.clone());
    let steps = match last {
        Some(rollout) => api.store().attempt_steps(rollout, &name_then).await?,
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
    let shown = Output {
        host: name_then.to_string(),
        rollout: host.attempt.as_ref().map(|attempt| attempt.rollout),
    };
    let app = &known.spec.app;
    html(&HostPage {
        page,
        health_state: show::health_state(host.health),
        stale: api
            .settings()
            .stale_before(now())
            .zip(host.checked_at)
            .is_some_and(|(before, at)| at < before),
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
        attempt,
        steps: steps
            .into_iter()
            .map(|step| StepRow::of(step, &shown, back))
            .collect(),
        history: past.into_iter().map(PastRow::from).collect(),
        older,
        host,
    })
}

/// The host of this name: the one that was called so in the rollout, as it is now, or the one that is called so now.
async fn called(
    api: &AdminApi,
    name: &HostName,
    rollout: Option<RolloutId>,
) -> Result<Option<HostRecord>, Problem> {
    if let Some(rollout) = rollout
        && api.store().host_view(name, Some(rollout)).await?.is_some()
    {
        return Ok(api.store().host_once(name, rollout).await?);
    }
    Ok(api.store().host_get(name).await?)
}

/// What this host was called in a rollout, if it has a part in it.
async fn named_then(
    api: &AdminApi,
    rollout: Option<RolloutId>,
    host: &HostRecord,
) -> Result<Option<HostName>, Problem> {
    let Some(rollout) = rollout else {
        return Ok(None);
    };
    let part = api.store().attempt_get(rollout, host.id).await?;
    Ok(part.map(|attempt| attempt.name))
}

/// Lists of a rollout lead to hosts that were removed since: their part in it is still to be seen.
async fn gone(
    api: &AdminApi,
    caller: &Caller,
    name: HostName,
    rollout: Option<RolloutId>,
    back: usize,
) -> Result<Response, Problem> {
    let part = match rollout {
        Some(id) => api.store().host_view(&name, Some(id)).await?,
        None => None,
    };
    let part = part.and_then(|host| Some((host.attempt.clone()?, host)));
    let Some((attempt, host)) = part else {
        return Err(Problem::not_found(format!("there is no host {name}")));
    };
    let steps = api.store().attempt_steps(attempt.rollout, &name).await?;
    let output = Output {
        host: name.to_string(),
        rollout: Some(attempt.rollout),
    };
    html(&GonePage {
        page: Page::load(api, caller, Nav::Hosts, name.to_string()).await?,
        name: name.to_string(),
        attempt: Some(attempt_shown(&attempt, &host)),
        steps: steps
            .into_iter()
            .map(|step| StepRow::of(step, &output, back))
            .collect(),
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

/// Whose output is shown, of which rollout.
struct Output {
    /// What the host was called in the rollout.
    host: String,
    rollout: Option<RolloutId>,
}

impl Output {
    fn whole(&self, step: StepId) -> String {
        let rollout = self.rollout.map(|id| id.to_string()).unwrap_or_default();
        format!(
            "/admin/updates/rollouts/{rollout}/hosts/{}/output?step={step}",
            self.host
        )
    }

    /// This page with other lines of every step.
    fn at(&self, back: usize) -> String {
        let rollout = self.rollout.map(|id| id.to_string()).unwrap_or_default();
        format!(
            "/admin/updates/hosts/{}?rollout={rollout}&earlier={back}#attempt",
            self.host
        )
    }
}

/// Some lines of an output: the last ones, or those so many times as many further back; the first ones where there are
/// no earlier ones.
struct Lines {
    text: String,
    before: usize,
    after: usize,
}

fn lines(text: &str, back: usize) -> Lines {
    let all = text.lines().count();
    let most = all.saturating_sub(1) / LINES;
    let after = back.min(most) * LINES;
    let before = all.saturating_sub(after + LINES);
    let some: Vec<&str> = text
        .split_inclusive('\n')
        .skip(before)
        .take(all - before - after)
        .collect();
    Lines {
        text: printable(&some.concat()),
        before,
        after,
    }
}

impl StepRow {
    fn of(step: StepRecord, output: &Output, back: usize) -> Self {
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
        let stdout = lines(&step.output.stdout, back);
        let stderr = lines(&step.output.stderr, back);
        let (before, after) = (stdout.before + stderr.before, stdout.after + stderr.after);
        // No further back than there are lines.
        let back = stdout.after.max(stderr.after) / LINES;
        let mut cut = String::new();
        let removed = step
            .removed_after_days
            .map(|days| view::output_removed(days.get(), step.output.total_bytes));
        if step.output.total_bytes > kept as u64 {
            cut.push_str(", only the end was kept");
        }
        if before > 0 {
            cut.push_str(&format!(", {before} earlier lines not shown"));
        }
        if after > 0 {
            cut.push_str(&format!(", {after} later lines not shown"));
        }
        Self {
            name,
            state,
            at: step.started_at,
            took: step.finished_at.map_or_else(String::new, |end| {
                show::duration(end.since(step.started_at).as_secs_f64())
            }),
            result: printable(&result),
            exit: step
                .output
                .exit
                .map_or_else(String::new, |exit| format!("exit code {exit}")),
            cut,
            removed,
            open: step.failed.is_some() || after > 0,
            whole: output.whole(step.step),
            earlier: (before > 0).then(|| output.at(back + 1)),
            later: (after > 0).then(|| output.at(back.saturating_sub(1))),
            stdout: stdout.text,
            stderr: stderr.text,
        }
    }
}

impl From<PastAttempt> for PastRow {
    fn from(past: PastAttempt) -> Self {
        let attention = past.attempt.reason.as_deref() == Some("rollback_failed");
        let state = show::attempt_state(&past.attempt, attention);
        Self {
            name: past.name.to_string(),
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
    use super::lines;

    #[test]
    fn every_line_is_on_one_page() {
        let text: String = (1..=1203).map(|n| format!("line {n}\n")).collect();
        let mut whole = String::new();
        for (back, before, after) in [(2, 0, 1000), (1, 203, 500), (0, 703, 0)] {
            let shown = lines(&text, back);
            assert_eq!((shown.before, shown.after), (before, after), "{back}");
            whole.push_str(&shown.text);
        }
        assert_eq!(whole, text);
    }

    #[test]
    fn there_is_nothing_before_the_first_line() {
        for (text, shown) in [("", ""), ("one", "one"), ("ä\u{1b}[31m", "ä\\x1b[31m")] {
            for back in [0, 1, usize::MAX] {
                let some = lines(text, back);
                assert_eq!((some.text.as_str(), some.before, some.after), (shown, 0, 0));
            }
        }
        let exactly: String = (1..=1000).map(|n| format!("{n}\n")).collect();
        let some = lines(&exactly, 7);
        assert_eq!((some.before, some.after), (0, 500));
        assert!(some.text.starts_with("1\n"));
    }
}
