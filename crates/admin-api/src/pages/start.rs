//! What would be done, and doing it: an update, a retry, a rollback.

use std::time::Duration;

use askama::Template;
use axum::Extension;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use fleet_store::{NewRollout, RequestKey, TriggerError};
use fleet_types::{CommitHash, RolloutKind, printable, view};
use rollout_orchestrator::{AgainRequest, Plan, TargetAnswer, TriggerRefusal};
use tokio::time::timeout;
use uuid::Uuid;

use crate::api::body::Fields;
use crate::api::updates::{find, trigger};
use crate::identity::Caller;
use crate::pages::form::{self, Typed};
use crate::pages::layout::{Nav, Page, go, html_with};
use crate::pages::overview::Defaults;
use crate::pages::rollout_shown::{gate, pace};
use crate::pages::show;
use crate::pages::versions::Versions;
use crate::problem::Problem;
use crate::state::AdminApi;

/// Nobody waits longer than this for a plan. A commit that is not known by then is found when the rollout begins.
const PATIENCE: Duration = Duration::from_secs(5);
/// What is done to more hosts than this is severe: one click does not do.
const HOSTS_OF_ONE_CLICK: u32 = 50;
/// Names of a stage that are shown.
const NAMES: usize = 8;
const ASKED: [&str; 9] = [
    "which",
    "on",
    "to",
    "message",
    "stages",
    "max_failure_percent",
    "concurrency",
    "settle_seconds",
    "order",
];

#[derive(Template)]
#[template(path = "start.html")]
struct Start {
    page: Page,
    problem: Option<Problem>,
    plan: Option<PlanShown>,
    form: Option<Typed>,
    defaults: Defaults,
    open: bool,
}

struct PlanShown {
    what: String,
    from: Versions,
    to: String,
    pace: String,
    message: Option<String>,
    gone: String,
    stages: Vec<StageRow>,
    action: String,
    hidden: Vec<(&'static str, String)>,
    back: String,
    button: String,
    may_force: bool,
    /// What has to be typed before it starts: so many hosts.
    type_first: Option<u32>,
}

struct StageRow {
    index: u32,
    percent: u32,
    hosts: usize,
    gate: String,
    names: String,
}

/// What was asked for in a form, as a program would ask.
fn fields(typed: &Typed) -> Fields {
    let on: Vec<String> = form::split(typed.get("on")).map(str::to_owned).collect();
    let all = typed.get("which") == "all";
    let mut object = typed
        .object()
        .texts(&["to", "message", "order", "seed"])
        .numbers(&["max_failure_percent", "concurrency", "settle_seconds"])
        .words("stages", form::percent)
        .with("all", all)
        .with("force", typed.ticked("force"));
    if !all {
        object = object.with("on", on);
    }
    object.fields()
}

async fn plan(api: &AdminApi, caller: &Caller, typed: &Typed) -> Result<Plan, Problem> {
    let request = trigger::read(&mut fields(typed), caller, api.settings())?;
    Ok(api.orchestrator().plan(&request).await?)
}

/// The plan with the commit that it goes to, where hosts say that soon enough. Nothing is changed on them.
async fn plan_with_commit(api: &AdminApi, caller: &Caller, typed: &Typed) -> Result<Plan, Problem> {
    let mut plan = plan(api, caller, typed).await?;
    let patience = PATIENCE.min(api.settings().look_limit);
    match timeout(patience, trigger::ask(api, &plan)).await {
        Ok(Ok(TargetAnswer::Commit(commit))) => plan.rollout.target = Some(commit),
        Ok(Ok(TargetAnswer::Missing(why))) => return Err(trigger::missing(&plan, &why)),
        Ok(Err(problem)) => return Err(problem),
        Ok(Ok(TargetAnswer::Nothing(_))) | Err(_) => {}
    }
    Ok(plan)
}

/// The plan of an update.
pub(crate) async fn show(
    State(api): State<AdminApi>,
    Extension(caller): Extension<Caller>,
    Query(typed): Query<Vec<(String, String)>>,
) -> Result<Response, Problem> {
    api.triggers().take(&caller)?;
    ask(&api, &caller, Typed::of(typed), None).await
}

/// The plan again, with what was wrong about starting it.
async fn ask(
    api: &AdminApi,
    caller: &Caller,
    typed: Typed,
    problem: Option<Problem>,
) -> Result<Response, Problem> {
    let (plan, wrong) = match plan_with_commit(api, caller, &typed).await {
        Ok(plan) => (Some(plan), None),
        Err(problem) if problem.status.is_server_error() => return Err(problem),
        Err(problem) => (None, Some(problem)),
    };
    let problem = problem.or(wrong);
    let status = problem
        .as_ref()
        .map_or(StatusCode::OK, |problem| problem.status);
    let may_force = problem
        .as_ref()
        .is_some_and(|problem| problem.code == "known_bad");
    let shown = plan.map(|plan| {
        let mut shown = shown(&plan);
        shown.action = "/admin/updates/start".to_owned();
        shown.back = "/admin/updates".to_owned();
        shown.button = format!("Start: update {}", show::hosts(count(&plan)));
        shown.may_force = may_force;
        shown.hidden.extend(
            ASKED
                .iter()
                .map(|name| (*name, typed.get(name).to_owned()))
                .filter(|(_, value)| !value.is_empty()),
        );
        // What is confirmed is what is looked at, and so the order is not drawn again.
        shown.hidden.extend(plan.seed().map(|seed| ("seed", seed)));
        // Neither is a branch followed that has moved on since.
        let commit = plan.rollout.target.as_ref();
        let commit = commit.map(|commit| ("commit", commit.to_string()));
        shown.hidden.extend(commit);
        shown
    });
    let page = Page::load(api, caller, Nav::Overview, "Start an update?").await?;
    let start = Start {
        page,
        problem,
        open: ASKED.iter().skip(4).any(|name| !typed.get(name).is_empty()),
        plan: shown,
        form: Some(typed),
        defaults: Defaults::from(&api.settings().policy),
    };
    html_with(status, &start)
}

/// Starts an update: the one that was looked at. When by now it would be another one, that is shown, and nothing starts.
pub(crate) async fn start(
    State(api): State<AdminApi>,
    Extension(caller): Extension<Caller>,
    typed: Typed,
) -> Result<Response, Problem> {
    // Not told beside the plan, for that would be to plan all the same.
    api.triggers().take(&caller)?;
    match begin(&api, &caller, &typed, Asked::Update).await {
        Err(problem) if !problem.status.is_server_error() => {
            ask(&api, &caller, typed, Some(problem)).await
        }
        other => other,
    }
}

/// What a confirmed plan is made of once more.
#[derive(Clone, Copy)]
enum Asked<'a> {
    Update,
    Again(&'a str, Again),
}

/// Freezes the plan that was looked at. The same confirmation sent twice is one rollout.
///
/// The plan is made once more, and compared with the one that was shown before it is frozen. What is compared is what is
/// frozen: the store takes these hosts and no others, in this order, and refuses the plan when one of them is gone by then.
/// Of each host it takes address and service as they are at that moment, as an update always does.
async fn begin(
    api: &AdminApi,
    caller: &Caller,
    typed: &Typed,
    asked: Asked<'_>,
) -> Result<Response, Problem> {
    let key = request_key(caller, typed, asked);
    if let Some(rollout) = trigger::repeated(api, key.as_ref()).await? {
        return Ok(go(format!("/admin/updates/rollouts/{rollout}")));
    }
    let mut plan = match asked {
        Asked::Update => {
            let plan = plan(api, caller, typed).await?;
            at_commit(plan, typed.get("commit"))
        }
        Asked::Again(id, again) => plan_again(api, caller, id, again).await?,
    };
    as_seen(typed, &plan)?;
    confirmed(typed, &plan)?;
    plan.rollout.request = key;
    match api.orchestrator().trigger(&plan, None).await {
        Ok(id) | Err(TriggerRefusal::Refused(TriggerError::Repeated { rollout: id })) => {
            Ok(go(format!("/admin/updates/rollouts/{id}")))
        }
        Err(refusal) => Err(refusal.into()),
    }
}

/// The plan to the commit that was shown, if one was.
fn at_commit(mut plan: Plan, commit: &str) -> Plan {
    if let Ok(commit) = commit.parse() {
        plan.rollout.target = Some(commit);
    }
    plan
}

fn request_key(caller: &Caller, typed: &Typed, asked: Asked<'_>) -> Option<RequestKey> {
    let what = match asked {
        Asked::Update => "start".to_owned(),
        Asked::Again(id, again) => format!("{} {id}", again.word()),
    };
    let once: Uuid = typed.get("once").parse().ok()?;
    let said: Vec<&str> = ASKED
        .iter()
        .chain(&["seed"])
        .map(|name| typed.get(name))
        .collect();
    Some(RequestKey {
        key: trigger::digest(&[&caller.scope(), "page", &once.to_string()]),
        fingerprint: trigger::digest(&[&what, &said.join("\n")]),
    })
}

/// Refuses what is another plan than the one that was confirmed. Without a page nobody looked at one.
fn as_seen(typed: &Typed, plan: &Plan) -> Result<(), Problem> {
    if !typed.has("seen") || typed.get("seen") == digest_of(plan) {
        return Ok(());
    }
    let hosts = show::hosts(count(plan));
    Err(Problem::new(
        StatusCode::CONFLICT,
        "plan_changed",
        format!(
            "What would be done is not what you looked at any more: the fleet or the settings have changed meanwhile, \
             and now it is {hosts}. Nothing was started. Look at the plan as it is now."
        ),
    ))
}

/// How many hosts it is, where that has to be typed before it starts.
fn type_first(plan: &Plan) -> Option<u32> {
    Some(count(plan)).filter(|hosts| *hosts > HOSTS_OF_ONE_CLICK)
}

/// Refuses what is severe when the person did not type how many hosts it is.
fn confirmed(typed: &Typed, plan: &Plan) -> Result<(), Problem> {
    match type_first(plan) {
        Some(hosts) if typed.get("typed") != hosts.to_string() => {
            let why = format!(
                "Nothing was started: this is about {hosts} hosts. Type {hosts} to say that you mean all of them."
            );
            Err(Problem::field("not_confirmed", "typed", why))
        }
        _ => Ok(()),
    }
}

/// Another one for every plan that is not the same in what it does: hosts in order, stages, target, pace.
fn digest_of(plan: &Plan) -> String {
    let rollout = &plan.rollout;
    let hosts: Vec<String> = rollout
        .hosts
        .iter()
        .map(|host| format!("{} {}", host.host, words(host.to.as_ref())))
        .collect();
    let stages: Vec<String> = plan
        .stages
        .iter()
        .map(|stage| format!("{} {}", stage.percent, stage.hosts.len()))
        .collect();
    trigger::digest(&[
        rollout.kind.as_str(),
        &rollout.target_ref,
        words(rollout.target.as_ref()),
        &serde_json::to_string(&rollout.policy).unwrap_or_default(),
        &stages.join("\n"),
        &hosts.join("\n"),
    ])
}

fn words(version: Option<&CommitHash>) -> &str {
    version.map_or("", |version| version.as_str())
}

#[derive(Clone, Copy)]
enum Again {
    Retry,
    Rollback,
}

impl Again {
    fn word(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Rollback => "rollback",
        }
    }
}

async fn plan_again(
    api: &AdminApi,
    caller: &Caller,
    id: &str,
    again: Again,
) -> Result<Plan, Problem> {
    let request = AgainRequest {
        source: find::rollout(api, id).await?,
        policy: None,
        message: None,
        actor: caller.actor(),
    };
    Ok(match again {
        Again::Retry => api.orchestrator().plan_retry(&request).await?,
        Again::Rollback => api.orchestrator().plan_rollback(&request).await?,
    })
}

async fn ask_again(
    api: &AdminApi,
    caller: &Caller,
    id: &str,
    again: Again,
    problem: Option<Problem>,
) -> Result<Response, Problem> {
    let plan = match (plan_again(api, caller, id, again).await, &problem) {
        (Ok(plan), _) => plan,
        // Why it was not begun says more than why there is no plan now.
        (Err(_), Some(problem)) => return Err(problem.clone()),
        (Err(problem), None) => return Err(problem),
    };
    let status = problem
        .as_ref()
        .map_or(StatusCode::OK, |problem| problem.status);
    let source = find::rollout(api, id).await?;
    let hosts = show::hosts(count(&plan));
    let (title, button) = match again {
        Again::Retry => ("Retry", format!("Start: try {hosts} again")),
        Again::Rollback => ("Roll back", format!("Start: take {hosts} back")),
    };
    let mut shown = shown(&plan);
    shown.back = format!("/admin/updates/rollouts/{source}");
    shown.action = format!("{}/{}", shown.back, again.word());
    shown.button = button;
    let title = format!("{title} rollout {}?", source.short());
    let start = Start {
        page: Page::load(api, caller, Nav::Rollouts, title).await?,
        problem,
        plan: Some(shown),
        form: None,
        defaults: Defaults::from(&api.settings().policy),
        open: false,
    };
    html_with(status, &start)
}

pub(crate) async fn show_retry(
    State(api): State<AdminApi>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    api.triggers().take(&caller)?;
    ask_again(&api, &caller, &id, Again::Retry, None).await
}

pub(crate) async fn show_rollback(
    State(api): State<AdminApi>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    api.triggers().take(&caller)?;
    ask_again(&api, &caller, &id, Again::Rollback, None).await
}

pub(crate) async fn retry(
    State(api): State<AdminApi>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    typed: Typed,
) -> Result<Response, Problem> {
    begin_again(&api, &caller, &id, &typed, Again::Retry).await
}

pub(crate) async fn rollback(
    State(api): State<AdminApi>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    typed: Typed,
) -> Result<Response, Problem> {
    begin_again(&api, &caller, &id, &typed, Again::Rollback).await
}

async fn begin_again(
    api: &AdminApi,
    caller: &Caller,
    id: &str,
    typed: &Typed,
    again: Again,
) -> Result<Response, Problem> {
    api.triggers().take(caller)?;
    match begin(api, caller, typed, Asked::Again(id, again)).await {
        Err(problem) if ["plan_changed", "not_confirmed"].contains(&problem.code) => {
            ask_again(api, caller, id, again, Some(problem)).await
        }
        other => other,
    }
}

fn count(plan: &Plan) -> u32 {
    u32::try_from(plan.hosts.len()).unwrap_or(u32::MAX)
}

/// Where a rollback leads.
fn back_to(rollout: &NewRollout) -> String {
    let to: Versions = rollout
        .hosts
        .iter()
        .map(|host| host.to.as_ref().map(|version| version.as_str()))
        .collect();
    format!("each host’s own previous version: {to}")
}

/// Where an update leads: the commit, and what it was asked for by.
fn target(rollout: &NewRollout) -> String {
    let asked = &rollout.target_ref;
    match &rollout.target {
        Some(commit) if commit.as_str() == asked => commit.short().to_string(),
        Some(commit) => format!("{} ({})", commit.short(), printable(asked)),
        None => format!("{}, resolved when it starts", printable(show::short(asked))),
    }
}

fn shown(plan: &Plan) -> PlanShown {
    let rollout = &plan.rollout;
    let hosts = show::hosts(count(plan));
    let target = target(rollout);
    let one = count(plan) == 1;
    let be = if one { "is" } else { "are" };
    let (what, to) = match rollout.kind {
        RolloutKind::Rollback if one => (format!("{hosts} goes back"), back_to(rollout)),
        RolloutKind::Rollback => (format!("{hosts} go back"), back_to(rollout)),
        RolloutKind::Retry => (format!("{hosts} {be} tried again"), target),
        _ => (format!("{hosts} {be} updated"), target),
    };
    let policy = view::PolicyView {
        stages: rollout.policy.stages.percents().to_vec(),
        max_failure_percent: rollout.policy.max_failure_percent.into(),
        concurrency: rollout.policy.concurrency,
        max_in_flight: rollout.policy.max_in_flight,
        settle_seconds: rollout.policy.settle.as_secs_f64(),
    };
    let from = plan.hosts.iter().map(|host| {
        host.current_version
            .as_ref()
            .map(|version| version.as_str())
    });
    let gone: Vec<&str> = plan.gone.iter().map(|name| name.as_str()).collect();
    PlanShown {
        what,
        from: from.collect(),
        to,
        pace: pace(&policy),
        message: rollout.message.as_deref().map(printable),
        gone: gone.join(", "),
        stages: plan.stages.iter().map(stage).collect(),
        action: String::new(),
        hidden: vec![
            ("once", Uuid::new_v4().to_string()),
            ("seen", digest_of(plan)),
        ],
        back: String::new(),
        button: String::new(),
        may_force: false,
        type_first: type_first(plan),
    }
}

fn stage(stage: &rollout_orchestrator::PlannedStage) -> StageRow {
    let some: Vec<&str> = stage
        .hosts
        .iter()
        .take(NAMES)
        .map(|name| name.as_str())
        .collect();
    let more = stage.hosts.len().saturating_sub(some.len());
    let mut names = some.join(", ");
    if more > 0 {
        names.push_str(&format!(" and {more} more"));
    }
    let hosts = u32::try_from(stage.hosts.len()).unwrap_or(u32::MAX);
    StageRow {
        index: stage.index,
        percent: stage.percent,
        hosts: stage.hosts.len(),
        gate: gate(stage.may_fail, hosts),
        names,
    }
}
