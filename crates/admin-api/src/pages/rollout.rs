//! One rollout: its stages, its hosts, what failed and why.

use askama::Template;
use axum::Extension;
use axum::extract::{Path, State};
use axum::response::Response;
use fleet_store::HostQuery;
use fleet_types::{AttemptStatus, Event, RolloutId, RolloutState, Seq, Timestamp, printable, view};

use crate::api::params::Params;
use crate::api::updates::{find, rollout_view};
use crate::identity::Caller;
use crate::pages::layout::{Nav, Page, html};
use crate::pages::rollout_shown::RolloutShown;
use crate::pages::show;
use crate::problem::Problem;
use crate::state::AdminApi;

const FAILURES_SHOWN: u32 = 100;
const EVENTS_SHOWN: u32 = 20;

#[derive(Template)]
#[template(path = "rollout.html")]
struct RolloutPage {
    page: Page,
    r: RolloutShown,
    acts: Vec<Act>,
    failures: Vec<Cause>,
    shown: u32,
    bad: u32,
    events: Events,
}

/// Some of its events, the latest first.
struct Events {
    rows: Vec<EventRow>,
    /// Whether there are later ones.
    back: bool,
    /// Earlier than these there are more.
    earlier: Option<Seq>,
}

/// Something that can be done now.
struct Act {
    verb: &'static str,
    word: &'static str,
    danger: bool,
}

/// Hosts that failed alike.
struct Cause {
    what: String,
    hosts: Vec<Failed>,
}

struct Failed {
    name: String,
    state: &'static str,
    result: String,
}

struct EventRow {
    at: Timestamp,
    what: String,
    host: Option<String>,
    stage: String,
    more: String,
}

pub(crate) async fn show(
    State(api): State<AdminApi>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    params: Params,
) -> Result<Response, Problem> {
    let id = find::rollout(&api, &id).await?;
    let before = params.parsed::<i64>("before")?.map(Seq);
    let title = format!("Rollout {}", id.short());
    let page = Page::load(&api, &caller, Nav::Rollouts, title).await?;
    let page = page.listen(&api, Some(id)).await?;
    let v = rollout_view(&api, id).await?;
    let bad = v.counts.failed + v.counts.rolled_back;
    let (failures, shown) = failures(&api, &v, bad).await?;
    html(&RolloutPage {
        acts: acts(&v),
        failures,
        shown,
        bad,
        events: events(&api, id, before).await?,
        r: RolloutShown::load(&api, v).await?,
        page,
    })
}

fn acts(v: &view::Rollout) -> Vec<Act> {
    let act = |verb, word, danger| Act { verb, word, danger };
    let bad = v.counts.failed + v.counts.rolled_back + v.counts.skipped;
    match v.state {
        RolloutState::Running => vec![act("pause", "Pause", false), act("abort", "Abort", true)],
        RolloutState::Paused => vec![act("resume", "Resume", false), act("abort", "Abort", true)],
        state if state.is_active() => Vec::new(),
        _ => {
            let mut acts = Vec::new();
            if bad > 0 {
                acts.push(act("retry", "Retry", false));
            }
            if v.counts.success > 0 {
                acts.push(act("rollback", "Roll back", true));
            }
            acts
        }
    }
}

async fn failures(
    api: &AdminApi,
    v: &view::Rollout,
    bad: u32,
) -> Result<(Vec<Cause>, u32), Problem> {
    if bad == 0 {
        return Ok((Vec::new(), 0));
    }
    let query = HostQuery {
        rollout: Some(v.id),
        status: vec![AttemptStatus::Failed, AttemptStatus::RolledBack],
        limit: FAILURES_SHOWN,
        ..HostQuery::default()
    };
    let hosts = api.store().host_page(query).await?.items;
    let shown = u32::try_from(hosts.len()).unwrap_or(u32::MAX);
    let mut causes: Vec<Cause> = Vec::new();
    for host in hosts {
        let Some(attempt) = &host.attempt else {
            continue;
        };
        let what = cause(attempt, &host.name);
        let failed = Failed {
            state: show::attempt_state(attempt, host.needs_attention),
            result: result(attempt, &host),
            name: host.name.clone(),
        };
        match causes.iter_mut().find(|cause| cause.what == what) {
            Some(known) => known.hosts.push(failed),
            None => causes.push(Cause {
                what,
                hosts: vec![failed],
            }),
        }
    }
    causes.sort_by_key(|cause| std::cmp::Reverse(cause.hosts.len()));
    Ok((causes, shown))
}

/// Why, without what differs from host to host, so that equal causes are equal.
fn cause(attempt: &view::Attempt, host: &str) -> String {
    let message = attempt.message.as_deref().or(attempt.reason.as_deref());
    let text = message
        .unwrap_or("no cause is known")
        .replace(host, "the host");
    let text = match attempt.step.as_deref() {
        Some(step) => format!("{}: {text}", show::words(step)),
        None => text,
    };
    printable(&text)
}

fn result(attempt: &view::Attempt, host: &view::Host) -> String {
    match attempt.status {
        AttemptStatus::RolledBack => format!(
            "back on {}",
            show::short_or(host.current_version.as_ref(), "its previous version")
        ),
        _ if !attempt.touched => "not touched".to_owned(),
        _ if host.needs_attention => "touched; needs a person to look".to_owned(),
        _ => "touched".to_owned(),
    }
}

/// The latest events of this rollout, or the latest before one of them; those of single steps left out.
async fn events(api: &AdminApi, id: RolloutId, before: Option<Seq>) -> Result<Events, Problem> {
    let store = api.store();
    let mut events = store.rollout_told(id, before, EVENTS_SHOWN + 1).await?;
    let more = events.len() > EVENTS_SHOWN as usize;
    events.truncate(EVENTS_SHOWN as usize);
    Ok(Events {
        earlier: events.last().map(|event| event.seq).filter(|_| more),
        back: before.is_some(),
        rows: events.into_iter().map(EventRow::from).collect(),
    })
}

impl From<Event> for EventRow {
    fn from(event: Event) -> Self {
        let what = event.kind.as_str().replace(['.', '_'], " ");
        let mut more: Vec<String> = Vec::new();
        // That a host, a stage or a rollout began is all that there is to say of it.
        let told = event
            .status
            .filter(|_| !event.kind.as_str().ends_with(".started"));
        more.extend(told.map(|status| status.replace('_', " ")));
        more.extend(event.message.or(event.reason));
        more.extend(event.duration_seconds.map(show::duration));
        more.extend(event.actor.map(|actor| format!("by {actor}")));
        Self {
            at: event.at,
            what,
            host: event.host,
            stage: event
                .stage
                .map_or_else(String::new, |stage| format!("stage {stage}")),
            more: printable(&more.join(" · ")),
        }
    }
}
