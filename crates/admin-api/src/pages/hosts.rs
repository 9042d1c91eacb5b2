//! The fleet, filtered and page by page.

use askama::Template;
use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use fleet_store::{HostOrder, HostQuery};
use fleet_types::{AttemptStatus, HealthState, RolloutId, Timestamp, printable, view};

use crate::api::params::Params;
use crate::api::updates::find;
use crate::identity::Caller;
use crate::pages::form::Typed;
use crate::pages::layout::{Nav, Page, html};
use crate::pages::show;
use crate::problem::Problem;
use crate::state::AdminApi;

const PAGE: u32 = 100;
const FILTERS: [&str; 13] = [
    "rollout",
    "stage",
    "search",
    "on",
    "status",
    "reason",
    "health",
    "version",
    "owner",
    "needs_attention",
    "in_fleet",
    "sort",
    "desc",
];
/// What the list can be sorted by, and the column that says so.
const SORTS: [(&str, HostOrder, &str); 4] = [
    ("name", HostOrder::Name, "Host"),
    ("state", HostOrder::State, "Health"),
    ("version", HostOrder::Version, "Version"),
    ("updated", HostOrder::LastUpdate, "Last update"),
];

#[derive(Template)]
#[template(path = "hosts.html")]
struct Hosts {
    page: Page,
    form: Typed,
    rollout: Option<RolloutId>,
    statuses: Vec<(String, String)>,
    healths: Vec<&'static str>,
    rows: Vec<Row>,
    total: u32,
    /// Whether they are those that were asked for, or all.
    filtered: bool,
    next: Option<String>,
    /// The same hosts as a spreadsheet.
    csv: String,
    heads: Vec<Head>,
}

/// A column by which the list can be sorted.
struct Head {
    text: &'static str,
    /// None for the hosts of a rollout, which are in plan order.
    href: Option<String>,
    sorted: Option<&'static str>,
}

struct Row {
    href: String,
    name: String,
    needs_attention: bool,
    health: HealthState,
    health_state: &'static str,
    version: String,
    checked: Option<Timestamp>,
    stale: bool,
    state: Option<&'static str>,
    word: String,
    at: Option<Timestamp>,
    address: String,
    labels: String,
    owner: String,
}

/// A path with what was asked for and one thing more.
pub(crate) fn query(path: &str, kept: &[(String, String)], name: &str, value: &str) -> String {
    let more = [(name.to_owned(), value.to_owned())];
    asked(path, kept.iter().chain(&more))
}

/// A path with what is asked for.
fn asked<'a>(path: &str, what: impl Iterator<Item = &'a (String, String)>) -> String {
    let mut text = path.to_owned();
    for (at, (name, value)) in what.enumerate() {
        text.push(if at == 0 { '?' } else { '&' });
        text.push_str(&format!("{name}={}", percent(value)));
    }
    text
}

fn percent(text: &str) -> String {
    crate::rights::percent(text)
}

/// Labels as they are written in a selector.
pub(crate) fn labels(labels: &std::collections::BTreeMap<String, String>) -> String {
    let texts: Vec<String> = labels
        .iter()
        .map(|(key, value)| {
            if value.is_empty() {
                key.clone()
            } else {
                format!("{key}={value}")
            }
        })
        .collect();
    printable(&texts.join(" "))
}

impl Row {
    fn of(host: view::Host, rollout: Option<RolloutId>, stale_before: Option<Timestamp>) -> Self {
        let state = match (&host.attempt, rollout) {
            (Some(attempt), Some(_)) => Some(show::attempt_state(attempt, host.needs_attention)),
            _ => host
                .update_status
                .map(|status| show::cell_state(status, None, host.needs_attention)),
        };
        let within = rollout.map_or_else(String::new, |id| format!("?rollout={id}"));
        Self {
            href: format!("/admin/updates/hosts/{}{within}", host.name),
            needs_attention: host.needs_attention,
            health: host.health,
            checked: host.checked_at,
            stale: stale_before
                .zip(host.checked_at)
                .is_some_and(|(before, at)| at < before),
            health_state: show::health_state(host.health),
            version: show::short_or(host.current_version.as_ref(), "not known"),
            word: state.map_or_else(String::new, show::words),
            state,
            at: host.last_update_at,
            address: format!("{}:{}", host.address, host.port),
            labels: labels(&host.labels),
            owner: host.owner.as_deref().map_or_else(String::new, printable),
            name: host.name,
        }
    }
}

pub(crate) async fn show(
    State(api): State<AdminApi>,
    Extension(caller): Extension<Caller>,
    params: Params,
) -> Result<Response, Problem> {
    let text = |name| params.text(name).map(str::to_owned);
    let rollout = match params.text("rollout") {
        Some(id) => Some(find::rollout(&api, id).await?),
        None => None,
    };
    let order = order(&params)?;
    let descending = params.flag("desc")?;
    let wanted = HostQuery {
        rollout,
        status: params.all("status")?,
        health: params.parsed("health")?,
        version: text("version"),
        reason: params.all("reason")?,
        needs_attention: params.either("needs_attention")?,
        owner: text("owner"),
        search: text("search"),
        on: params.selection()?,
        in_fleet: params.flag("in_fleet")?,
        order,
        descending,
        stage: params.parsed("stage")?,
        after: text("cursor"),
        limit: PAGE,
        uncounted: false,
    };
    let kept: Vec<(String, String)> = FILTERS
        .into_iter()
        .filter_map(|name| {
            let value = match name {
                "on" | "status" | "reason" => params.joined(name),
                _ => text(name),
            };
            Some((name.to_owned(), value?))
        })
        .collect();
    let page = Page::load(&api, &caller, Nav::Hosts, "Hosts").await?;
    let page = page.listen(&api, None).await?;
    let stale_before = api.settings().stale_before(page.now);
    let found = api.store().host_page(wanted).await?;
    html(&Hosts {
        page,
        rollout,
        statuses: statuses(),
        healths: HealthState::ALL
            .iter()
            .map(|health| health.as_str())
            .collect(),
        rows: found
            .items
            .into_iter()
            .map(|host| Row::of(host, rollout, stale_before))
            .collect(),
        total: found.total,
        filtered: kept
            .iter()
            .any(|given| given.0 != "rollout" && !sorts(given)),
        next: found
            .next
            .map(|next| query("/admin/updates/hosts", &kept, "cursor", &next)),
        csv: asked("/api/hosts.csv", kept.iter().filter(|given| !sorts(given))),
        heads: heads(&kept, order, descending, rollout.is_some()),
        form: Typed::of(kept),
    })
}

/// Whether this says in which order hosts come, not which.
fn sorts(given: &(String, String)) -> bool {
    given.0 == "sort" || given.0 == "desc"
}

fn order(params: &Params) -> Result<HostOrder, Problem> {
    let Some(wanted) = params.text("sort") else {
        return Ok(HostOrder::Name);
    };
    let known = SORTS.iter().find(|(word, ..)| *word == wanted);
    known
        .map(|(_, order, _)| *order)
        .ok_or_else(|| Problem::field("invalid", "sort", "must be name, state, version or updated"))
}

/// The heads of the columns: a link sorts by it, and turns it round where the list is sorted by it already.
fn heads(
    kept: &[(String, String)],
    order: HostOrder,
    descending: bool,
    planned: bool,
) -> Vec<Head> {
    let filters: Vec<(String, String)> =
        kept.iter().filter(|given| !sorts(given)).cloned().collect();
    let head = |(word, of, text): &(&'static str, HostOrder, &'static str)| {
        let here = *of == order && !planned;
        let turn = here && !descending;
        let mut href = query("/admin/updates/hosts", &filters, "sort", word);
        if turn {
            href.push_str("&desc=true");
        }
        Head {
            text,
            href: (!planned).then_some(href),
            sorted: here.then_some(if descending {
                "descending"
            } else {
                "ascending"
            }),
        }
    };
    SORTS.iter().map(head).collect()
}

fn statuses() -> Vec<(String, String)> {
    let one = |status: &AttemptStatus| (status.to_string(), show::words(status.as_str()));
    let mut all: Vec<(String, String)> = AttemptStatus::ALL.iter().map(one).collect();
    all.push((
        "failed,rolled_back".to_owned(),
        "failed or rolled back".to_owned(),
    ));
    all
}
