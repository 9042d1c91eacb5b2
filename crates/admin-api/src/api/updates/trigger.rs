//! An update is asked for.

use axum::Extension;
use axum::Json;
use axum::extract::State;
use axum::http::header::LOCATION;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use fleet_store::{RequestKey, TriggerError};
use fleet_types::{
    HostOrder, Percent, Policy, RolloutId, RolloutKind, Selection, Selector, StagePercents,
    TargetRef, printable, view,
};
use rollout_orchestrator::{Plan, PlanRequest, TargetAnswer, TriggerRefusal, ask_target};
use rollout_settings::paced;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use utoipa::ToSchema;

use crate::api::body::Fields;
use crate::api::hosts::keys::transport;
use crate::api::updates::{RolloutBody, rollout_view};
use crate::identity::Caller;
use crate::problem::Problem;
use crate::state::{AdminApi, ApiSettings};

const MESSAGE_MOST: usize = 500;
const KEY_MOST: usize = 200;

/// What to update, where to, and how. `all` or `on` must be said; what else is left out is as configured.
#[derive(Deserialize, ToSchema)]
#[schema(as = Trigger)]
#[expect(
    dead_code,
    reason = "says what the body holds; it is read field by field"
)]
pub(crate) struct TriggerBody {
    /// The whole fleet.
    all: Option<bool>,
    /// These hosts: names, globs, `@label` or `@key=value`, each with `!` in front to leave it out.
    on: Option<Vec<String>>,
    /// A full commit hash or a branch; else the branch that the hosts follow.
    to: Option<String>,
    /// Cumulative percentages.
    #[schema(example = json!([10, 50, 100]))]
    stages: Option<Vec<u32>>,
    /// More failures than this in a stage halt the rollout.
    max_failure_percent: Option<u32>,
    /// SSH connections at once.
    concurrency: Option<u32>,
    /// Hosts in `updating` at once.
    max_in_flight: Option<u32>,
    /// How long a service is watched after its restart.
    settle_seconds: Option<f64>,
    /// `name` or `random`.
    order: Option<String>,
    /// With a random order: the `seed` of a plan, so that what was looked at is what is done. Else one is drawn.
    seed: Option<String>,
    /// What this is about, for people.
    message: Option<String>,
    /// Start although the commit halted a rollout before.
    force: Option<bool>,
    /// Only say what would be done.
    dry_run: Option<bool>,
    /// What the caller takes for granted; when it does not hold, nothing is started.
    expect: Option<Expected>,
}

/// What the caller takes for granted of the plan.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[schema(as = Expect)]
pub(crate) struct Expected {
    /// How many hosts are chosen: so that a scripted `all` never means more than it was written for.
    hosts: Option<u32>,
}

impl Expected {
    /// Refuses a plan that is not as expected.
    pub(crate) fn check(self, plan: &Plan) -> Result<(), Problem> {
        let found = u32::try_from(plan.hosts.len()).unwrap_or(u32::MAX);
        match self.hosts {
            Some(expected) if expected != found => {
                let detail =
                    format!("{expected} hosts were expected, and {found} would be taken in");
                let problem = Problem::new(StatusCode::CONFLICT, "hosts_mismatch", detail);
                Err(problem.with("hosts", found))
            }
            _ => Ok(()),
        }
    }
}

/// What to do differently than in the rollout that is retried or taken back.
#[derive(Deserialize, ToSchema)]
#[schema(as = Again)]
#[expect(
    dead_code,
    reason = "says what the body holds; it is read field by field"
)]
pub(crate) struct AgainBody {
    /// Cumulative percentages.
    stages: Option<Vec<u32>>,
    /// More failures than this in a stage halt the rollout.
    max_failure_percent: Option<u32>,
    /// SSH connections at once.
    concurrency: Option<u32>,
    /// Hosts in `updating` at once.
    max_in_flight: Option<u32>,
    /// How long a service is watched after its restart.
    settle_seconds: Option<f64>,
    /// `name` or `random`.
    order: Option<String>,
    /// With a random order: the `seed` of a plan, so that what was looked at is what is done.
    seed: Option<String>,
    /// What this is about, for people.
    message: Option<String>,
    /// Only say what would be done.
    dry_run: Option<bool>,
    /// What the caller takes for granted; when it does not hold, nothing is started.
    expect: Option<Expected>,
}

/// What would be done.
#[derive(Serialize, ToSchema)]
pub(crate) struct PlanBody {
    plan: view::Plan,
    /// Why the target's commit is not known: no host could be asked for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    unresolved: Option<String>,
}

/// Starts an update. It goes on by itself; the answer comes at once.
#[utoipa::path(post, path = "/api/updates/trigger", tag = "updates", request_body = TriggerBody,
    params(("Idempotency-Key" = Option<String>, Header, description = "The same key with the same body gives the same rollout, however often it is sent.")),
    responses(
        (status = 202, description = "Started.", body = RolloutBody, headers(("Location" = String, description = "The rollout."))),
        (status = 200, description = "With `dry_run`: what would be done.", body = PlanBody),
        (status = 409, description = "`rollout_active`: another rollout is active; `active` is its id. `hosts_mismatch`: another number of hosts than `expect` says; `hosts` is how many.", body = crate::api::openapi::ProblemBody, content_type = "application/problem+json"),
        (status = 422, description = "`no_selection`, `no_hosts`, `invalid`, `known_bad`, `idempotency_mismatch`, `no_credential`; with `dry_run` also `no_target`.", body = crate::api::openapi::ProblemBody, content_type = "application/problem+json"),
        (status = 429, description = "`rate_limited`: more than 30 in a minute.", body = crate::api::openapi::ProblemBody, content_type = "application/problem+json"),
    ))]
pub(crate) async fn trigger(
    State(api): State<AdminApi>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    mut fields: Fields,
) -> Result<Response, Problem> {
    let key = request_key(&headers, &caller, "trigger", &fields)?;
    let dry_run = fields.optional("dry_run").unwrap_or(false);
    let expected: Option<Expected> = fields.optional("expect");
    let request = read(&mut fields, &caller, api.settings())?;
    if !dry_run && let Some(rollout) = repeated(&api, key.as_ref()).await? {
        return accepted(&api, rollout).await;
    }
    api.triggers().take(&caller)?;
    let mut plan = api.orchestrator().plan(&request).await?;
    expected.map_or(Ok(()), |expected| expected.check(&plan))?;
    if dry_run {
        return planned(&api, plan).await;
    }
    plan.rollout.request = key;
    start(&api, &plan).await
}

/// What would be done, and to which commit. Hosts are asked for that, and nothing is changed on them.
pub(crate) async fn planned(api: &AdminApi, mut plan: Plan) -> Result<Response, Problem> {
    api.orchestrator().check_identities(&plan).await?;
    let mut unresolved = None;
    if plan.rollout.kind == RolloutKind::Update {
        match ask(api, &plan).await? {
            TargetAnswer::Commit(commit) => plan.rollout.target = Some(commit),
            TargetAnswer::Missing(why) => return Err(missing(&plan, &why)),
            TargetAnswer::Nothing(why) => unresolved = Some(printable(&why)),
        }
    }
    let plan = plan.view();
    Ok(Json(PlanBody { plan, unresolved }).into_response())
}

/// No host finds the target.
pub(crate) fn missing(plan: &Plan, why: &str) -> Problem {
    let what = format!("{} cannot be found", printable(&plan.rollout.target_ref));
    Problem::field("no_target", "to", what).with("why", printable(why))
}

/// Which commit the plan goes to, as its hosts say.
pub(crate) async fn ask(api: &AdminApi, plan: &Plan) -> Result<TargetAnswer, Problem> {
    let Ok(transport) = transport(api) else {
        let why = "this process reaches no hosts now".to_owned();
        return Ok(TargetAnswer::Nothing(why));
    };
    let defaults = &api.orchestrator().settings().ssh;
    Ok(ask_target(&transport, plan, defaults).await?)
}

/// The key of a request that may be sent again. It is the caller's own, and stands for what was asked for.
pub(crate) fn request_key(
    headers: &HeaderMap,
    caller: &Caller,
    what: &str,
    fields: &Fields,
) -> Result<Option<RequestKey>, Problem> {
    let mut all = headers.get_all("idempotency-key").iter();
    let Some(value) = all.next() else {
        return Ok(None);
    };
    let key = value.to_str().map(str::trim).unwrap_or("");
    if key.is_empty() || key.len() > KEY_MOST || all.next().is_some() {
        let why = format!("must be one printable text of at most {KEY_MOST} characters");
        return Err(Problem::field("invalid", "Idempotency-Key", why));
    }
    Ok(Some(RequestKey {
        key: digest(&[&caller.scope(), key]),
        fingerprint: digest(&[what, &fields.canonical()]),
    }))
}

/// Of one size whatever goes in; no part holds a NUL, so that none runs into the next.
pub(crate) fn digest(parts: &[&str]) -> String {
    let digest = Sha256::digest(parts.join("\0"));
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The rollout of a request that was carried out before. Looked for before anything else, for by now the same request
/// might be refused.
pub(crate) async fn repeated(
    api: &AdminApi,
    key: Option<&RequestKey>,
) -> Result<Option<RolloutId>, Problem> {
    match key {
        Some(key) => Ok(api.store().request_rollout(key).await?),
        None => Ok(None),
    }
}

/// Freezes the plan; the workers of this process, or of another, carry it out.
pub(crate) async fn start(api: &AdminApi, plan: &Plan) -> Result<Response, Problem> {
    match api.orchestrator().trigger(plan, None).await {
        Ok(rollout) | Err(TriggerRefusal::Refused(TriggerError::Repeated { rollout })) => {
            accepted(api, rollout).await
        }
        Err(refusal) => Err(refusal.into()),
    }
}

/// `202`, with the rollout and where it is.
pub(crate) async fn accepted(api: &AdminApi, id: RolloutId) -> Result<Response, Problem> {
    let rollout = rollout_view(api, id).await?;
    let place = [(LOCATION, format!("/api/updates/rollouts/{id}"))];
    Ok((StatusCode::ACCEPTED, place, Json(RolloutBody { rollout })).into_response())
}

pub(crate) fn read(
    fields: &mut Fields,
    caller: &Caller,
    settings: &ApiSettings,
) -> Result<PlanRequest, Problem> {
    let all = fields.optional("all").unwrap_or(false);
    let on: Option<Vec<String>> = fields.optional("on");
    let to: Option<TargetRef> =
        fields
            .optional::<String>("to")
            .and_then(|text| match text.parse() {
                Ok(to) => Some(to),
                Err(error) => {
                    let error: fleet_types::Invalid = error;
                    fields.wrong("to", error.to_string());
                    None
                }
            });
    let message = fields.message("message", MESSAGE_MOST);
    let force = fields.optional("force").unwrap_or(false);
    // The configuration's seed was drawn once, for all rollouts of this process.
    let order = match settings.policy.order {
        HostOrder::Name => HostOrder::Name,
        HostOrder::Random(_) => drawn(),
    };
    let default = Policy {
        order,
        ..settings.policy.clone()
    };
    let policy = policy(fields, &default, settings.max_in_flight);
    let words = selectors(fields, on.as_deref().unwrap_or_default());
    fields.check()?;
    let selection = match (all, words.is_empty()) {
        (true, true) => Selection::All,
        (false, false) => Selection::On(words),
        (true, false) => return Err(Problem::field("invalid", "on", "say either all or on")),
        (false, true) => {
            return Err(Problem::field(
                "no_selection",
                "all",
                "say which hosts: all, or on with at least one word",
            ));
        }
    };
    Ok(PlanRequest {
        selection,
        to,
        policy,
        message,
        actor: caller.actor(),
        force,
    })
}

fn selectors(fields: &mut Fields, words: &[String]) -> Vec<Selector> {
    let mut parsed = Vec::new();
    for (at, word) in words.iter().enumerate() {
        match word.parse() {
            Ok(selector) => parsed.push(selector),
            Err(error) => {
                let error: fleet_types::Invalid = error;
                fields.wrong(&format!("on.{at}"), error.to_string());
            }
        }
    }
    parsed
}

/// The policy of the request; what it does not say is as in the default. A `max_in_flight` that is `configured` does not
/// go along with the connections.
pub(crate) fn policy(fields: &mut Fields, default: &Policy, configured: Option<u32>) -> Policy {
    let stages: Option<StagePercents> = fields.optional("stages");
    let max_failure_percent: Option<Percent> = fields.optional("max_failure_percent");
    let concurrency: Option<u32> = fields.optional("concurrency");
    let max_in_flight: Option<u32> = fields.optional("max_in_flight");
    let settle = fields
        .optional::<f64>("settle_seconds")
        .and_then(|seconds| {
            let settle = std::time::Duration::try_from_secs_f64(seconds).ok();
            if settle.is_none() {
                fields.wrong(
                    "settle_seconds",
                    "must be a number of seconds from 0 to 3600",
                );
            }
            settle
        });
    let order = order(fields, default.order);
    let paced = paced(default.clone(), concurrency, max_in_flight, configured);
    let policy = Policy {
        stages: stages.unwrap_or_else(|| default.stages.clone()),
        max_failure_percent: max_failure_percent.unwrap_or(default.max_failure_percent),
        settle: settle.unwrap_or(default.settle),
        order,
        ..paced
    };
    if let Err(error) = policy.check() {
        let field = match error.what {
            "settle" => "settle_seconds".to_owned(),
            what => what.replace('-', "_"),
        };
        fields.wrong(&field, error.to_string());
    }
    policy
}

/// What is said, else the default. A seed is that of a plan that was looked at.
fn order(fields: &mut Fields, default: HostOrder) -> HostOrder {
    let word: Option<String> = fields.optional("order");
    let seed = seed(fields);
    match (word.as_deref(), seed, default) {
        (None, None, _) => default,
        (Some("random"), None, _) => drawn(),
        (Some("random"), Some(seed), _) | (None, Some(seed), HostOrder::Random(_)) => {
            HostOrder::Random(seed)
        }
        (Some("name"), None, _) => HostOrder::Name,
        (Some("name"), Some(_), _) | (None, Some(_), HostOrder::Name) => {
            fields.wrong("seed", "goes with a random order only");
            default
        }
        (Some(_), _, _) => {
            fields.wrong("order", "must be name or random");
            default
        }
    }
}

/// Any number does, so that without random numbers the order is still one.
fn drawn() -> HostOrder {
    HostOrder::Random(getrandom::u64().unwrap_or(0))
}

fn seed(fields: &mut Fields) -> Option<u64> {
    let text: String = fields.optional("seed")?;
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let seed = text.parse().ok().filter(|_| digits);
    if seed.is_none() {
        fields.wrong(
            "seed",
            "must be the seed of a plan, a decimal number as text",
        );
    }
    seed
}
