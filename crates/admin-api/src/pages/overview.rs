//! The fleet at a glance.

use askama::Template;
use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use fleet_types::{Policy, Right, Role, RolloutState, Timestamp, view};

use crate::identity::Caller;
use crate::pages::attention::Attention;
use crate::pages::form::Typed;
use crate::pages::layout::{Nav, Page, go, html};
use crate::pages::rollout_shown::{RolloutShown, target};
use crate::pages::show::{self, Bar, Piece};
use crate::problem::Problem;
use crate::state::AdminApi;

const CLASSES: [(&str, Option<&str>); 5] = [
    ("v0", None),
    ("v1", Some("p-hatch")),
    ("v2", Some("p-dots")),
    ("v3", Some("p-cross")),
    ("v1", Some("p-dots")),
];

#[derive(Template)]
#[template(path = "overview.html")]
struct Overview {
    page: Page,
    truth: String,
    sub: Option<String>,
    tone: &'static str,
    active: bool,
    fleet: view::Fleet,
    chips: Vec<Chip>,
    version_bar: Bar,
    versions: Vec<VersionRow>,
    attention: Attention,
    fresh: Option<Fresh>,
    rollout: Option<RolloutShown>,
    role: Role,
    form: Typed,
    defaults: Defaults,
    open: bool,
}

/// How fresh is what is shown of the fleet's health.
struct Fresh {
    last: Timestamp,
    /// Hosts not looked at for longer than they should be, and how long that is.
    older: u32,
    than: String,
}

struct Chip {
    href: String,
    state: &'static str,
    count: u32,
    word: &'static str,
}

struct VersionRow {
    class: &'static str,
    pattern: Option<&'static str>,
    name: String,
    href: Option<String>,
    hosts: u32,
    share: String,
}

/// What a rollout does when nothing is said.
pub(crate) struct Defaults {
    pub(crate) stages: String,
    pub(crate) failures: String,
    pub(crate) concurrency: u32,
    pub(crate) settle: f64,
}

impl From<&Policy> for Defaults {
    fn from(policy: &Policy) -> Self {
        let stages: Vec<String> = policy
            .stages
            .percents()
            .iter()
            .map(u32::to_string)
            .collect();
        Self {
            stages: stages.join(", "),
            failures: policy.max_failure_percent.get().to_string(),
            concurrency: policy.concurrency,
            settle: policy.settle.as_secs_f64(),
        }
    }
}

/// To where this caller may look.
pub(crate) async fn entrance(
    State(api): State<AdminApi>,
    Extension(caller): Extension<Caller>,
) -> Response {
    go(home(&api, caller.role))
}

/// The first page of a role.
pub(crate) fn home(api: &AdminApi, role: Role) -> &'static str {
    if role.may(Right::Read) {
        "/admin/updates"
    } else if api.mounted().dashboard {
        "/dashboard"
    } else {
        "/admin/account"
    }
}

pub(crate) async fn show(
    State(api): State<AdminApi>,
    Extension(caller): Extension<Caller>,
) -> Result<Response, Problem> {
    let page = Page::load(&api, &caller, Nav::Overview, "Overview").await?;
    let page = page.listen(&api, None).await?;
    let status = api.store().status().await?;
    let attention = Attention::load(&api, &status).await?;
    let fresh = fresh(&api, page.now).await?;
    let (truth, sub, tone) = truth(&status);
    let rollout = match status.rollout {
        Some(rollout) => Some(RolloutShown::load(&api, rollout).await?),
        None => None,
    };
    html(&Overview {
        truth,
        sub,
        tone,
        active: rollout.as_ref().is_some_and(|r| r.v.state.is_active()),
        chips: chips(&status.fleet),
        version_bar: version_bar(&status.fleet),
        versions: versions(&status.fleet),
        attention,
        fresh,
        rollout,
        role: caller.role,
        form: Typed::default(),
        defaults: Defaults::from(&api.settings().policy),
        open: false,
        fleet: status.fleet,
        page,
    })
}

async fn fresh(api: &AdminApi, now: Timestamp) -> Result<Option<Fresh>, Problem> {
    let stale_before = api.settings().stale_before(now);
    let before = stale_before.unwrap_or(Timestamp(0));
    let known = api.store().health_freshness(before).await?;
    Ok(known.last.map(|last| Fresh {
        last,
        older: known.older,
        than: show::duration(now.since(before).as_secs_f64()),
    }))
}

/// One sentence: what runs, whether it is fine, what to do.
fn truth(status: &view::Status) -> (String, Option<String>, &'static str) {
    let fleet = &status.fleet;
    if fleet.hosts == 0 {
        let sub = "Three ways to begin:".to_owned();
        return ("No hosts yet.".to_owned(), Some(sub), "");
    }
    let looks = match fleet.needs_attention {
        0 => None,
        1 => Some("1 host needs a person to look".to_owned()),
        many => Some(format!("{many} hosts need a person to look")),
    };
    if let Some(rollout) = status.rollout.as_ref().filter(|r| r.state.is_active()) {
        return (truth_of(rollout), looks, "");
    }
    if let Some(looks) = looks {
        return (format!("{looks}."), last_words(status), "bad");
    }
    let health = &fleet.health;
    let down = health.inactive + health.unhealthy + health.unreachable;
    if down > 0 {
        let text = format!("{} not running or not reachable.", show::hosts(down));
        return (text, last_words(status), "warn");
    }
    let text = match (fleet.versions.as_slice(), health.unknown) {
        (_, unknown) if unknown > 0 => format!("{} not looked at yet.", show::hosts(unknown)),
        ([only], _) if only.version.is_some() => format!(
            "All is quiet: {} on {}.",
            show::hosts(fleet.hosts),
            show::short_or(only.version.as_ref(), "no known version")
        ),
        (versions, _) => format!(
            "All is quiet: {} on {}.",
            show::hosts(fleet.hosts),
            show::plural(u32::try_from(versions.len()).unwrap_or(u32::MAX), "version")
        ),
    };
    (text, last_words(status), "")
}

fn truth_of(rollout: &view::Rollout) -> String {
    let stage = rollout
        .stages
        .iter()
        .find(|stage| stage.index == rollout.stage);
    let (done, of) = stage.map_or((0, 0), |stage| {
        let open = stage.counts.pending + stage.counts.updating;
        (stage.hosts.saturating_sub(open), stage.hosts)
    });
    let word = match rollout.state {
        RolloutState::Paused => "Paused",
        RolloutState::Halting => "Halting",
        RolloutState::Aborting => "Aborting",
        _ => "Updating",
    };
    format!(
        "{word}, to {}: stage {} of {}, {done} of {of} done.",
        target(rollout),
        rollout.stage,
        rollout.stages.len()
    )
}

fn last_words(status: &view::Status) -> Option<String> {
    let rollout = status.rollout.as_ref()?;
    let ended = match rollout.state {
        RolloutState::Completed => "completed",
        RolloutState::CompletedWithFailures => "completed with failures",
        RolloutState::Aborted => "was aborted",
        _ => "halted",
    };
    Some(format!(
        "The last rollout, to {}, {ended}.",
        target(rollout)
    ))
}

fn chips(fleet: &view::Fleet) -> Vec<Chip> {
    let health = &fleet.health;
    let by_health = |word: &'static str, count, state| Chip {
        href: format!("/admin/updates/hosts?health={word}"),
        state,
        count,
        word,
    };
    let mut chips = vec![
        by_health("active", health.active, "success"),
        by_health("inactive", health.inactive, "failed"),
        by_health("unhealthy", health.unhealthy, "failed"),
        by_health("unreachable", health.unreachable, "attention"),
        by_health("unknown", health.unknown, "pending"),
        Chip {
            href: "/admin/updates/hosts?status=updating".to_owned(),
            state: "updating",
            count: fleet.updating,
            word: "updating",
        },
        Chip {
            href: "/admin/updates/hosts?needs_attention=true".to_owned(),
            state: "attention",
            count: fleet.needs_attention,
            word: "need attention",
        },
    ];
    chips.retain(|chip| chip.count > 0);
    chips
}

fn look(at: usize, version: Option<&str>) -> (&'static str, Option<&'static str>) {
    match version {
        None => ("vx", Some("p-hatch")),
        Some("other") => ("vx", Some("p-dots")),
        Some(_) => CLASSES.get(at).copied().unwrap_or(("vx", Some("p-cross"))),
    }
}

fn version_bar(fleet: &view::Fleet) -> Bar {
    let pieces = fleet.versions.iter().enumerate().map(|(at, version)| {
        let (class, pattern) = look(at, version.version.as_deref());
        Piece {
            kind: "version",
            count: version.hosts,
            class,
            pattern,
        }
    });
    Bar {
        pieces: pieces.collect(),
        of: fleet.hosts,
    }
}

fn versions(fleet: &view::Fleet) -> Vec<VersionRow> {
    let row = |(at, version): (usize, &view::VersionCount)| {
        let (class, pattern) = look(at, version.version.as_deref());
        let known = version.version.as_deref().filter(|text| *text != "other");
        VersionRow {
            class,
            pattern,
            name: show::short_or(version.version.as_ref(), "not looked at yet"),
            href: known.map(|text| format!("/admin/updates/hosts?version={text}")),
            hosts: version.hosts,
            share: show::share(version.hosts, fleet.hosts),
        }
    };
    fleet.versions.iter().enumerate().map(row).collect()
}
