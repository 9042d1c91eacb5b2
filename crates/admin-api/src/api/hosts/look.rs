//! Looking at a host outside of rollouts: whether it could be updated, and whether its service is active.

use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use fleet_store::HostRecord;
use fleet_types::{HealthState, HostName, Reason, view};
use rollout_orchestrator::check_host;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;
use utoipa::ToSchema;

use crate::api::body::Fields;
use crate::api::hosts::keys::{in_task, no_answer, note, transport};
use crate::api::hosts::record;
use crate::api::openapi::ProblemBody;
use crate::identity::Caller;
use crate::problem::{Problem, log_cause};
use crate::state::AdminApi;

/// What was seen of a host.
#[derive(Serialize, ToSchema)]
pub(crate) struct CheckBody {
    check: view::HostCheck,
}

/// What was seen of a host's service.
#[derive(Serialize, ToSchema)]
pub(crate) struct HealthCheckBody {
    /// Null when a rollout is working on the host, which is left alone.
    health: Option<view::HealthCheck>,
}

/// How to look at a service.
#[derive(Deserialize, ToSchema)]
#[schema(as = LookAtHealth)]
#[expect(
    dead_code,
    reason = "says what the body holds; it is read field by field"
)]
pub(crate) struct FixBody {
    /// Start the service again when it is not active, at most 3 times in 10 minutes.
    fix: Option<bool>,
}

/// Looks whether a host could be updated as it is, and changes nothing on it. One that cannot be reached is an answer too.
#[utoipa::path(post, path = "/api/hosts/{name}/check", tag = "hosts", params(("name" = String, Path)),
    responses((status = 200, body = CheckBody), (status = 404, body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "`no_transport`, `timeout`", body = ProblemBody, content_type = "application/problem+json")))]
pub(crate) async fn check(
    State(api): State<AdminApi>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    _: Fields,
) -> Result<Json<CheckBody>, Problem> {
    let host = record(&api, &name).await?;
    let check = check_and_note(api, caller, host).await?;
    Ok(Json(CheckBody { check }))
}

/// Looks whether a host could be updated as it is, and puts that on record.
pub(crate) async fn check_and_note(
    api: AdminApi,
    caller: Caller,
    host: HostRecord,
) -> Result<view::HostCheck, Problem> {
    let transport = transport(&api)?;
    in_task(async move {
        let defaults = &api.orchestrator().settings().ssh;
        let limit = api.settings().look_limit;
        let looked = timeout(limit, check_host(&transport, &host, defaults)).await;
        let check = looked.unwrap_or_else(|_| unreachable(&host.name, limit));
        let why = check.problems.first().filter(|_| !check.reachable);
        let detail = why.map(|problem| problem.message.clone());
        note(
            &api,
            &caller,
            "host.check",
            &host.name,
            check.reachable,
            detail,
        )
        .await?;
        Ok(check)
    })
    .await
}

fn unreachable(host: &HostName, limit: Duration) -> view::HostCheck {
    view::HostCheck {
        name: host.to_string(),
        reachable: false,
        seen: None,
        problems: vec![view::HostProblem {
            reason: Reason::Unreachable.to_string(),
            message: no_answer(limit),
        }],
    }
}

/// Looks whether the service of a host is active, and with `fix` starts it again when it is not.
#[utoipa::path(post, path = "/api/hosts/{name}/health", tag = "hosts", params(("name" = String, Path)), request_body = FixBody,
    responses((status = 200, body = HealthCheckBody), (status = 404, body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "`no_transport`, `timeout`; `not_looked_at`: the store could not say whose turn it is. The log says why.", body = ProblemBody, content_type = "application/problem+json")))]
pub(crate) async fn health(
    State(api): State<AdminApi>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    mut fields: Fields,
) -> Result<Json<HealthCheckBody>, Problem> {
    let fix = fields.optional("fix").unwrap_or(false);
    fields.check()?;
    let host = record(&api, &name).await?;
    let health = look_in_time(api, caller, host, fix).await?;
    Ok(Json(HealthCheckBody { health }))
}

/// Looks at the service of a host for as long as a look is waited for. None when a rollout is working on the host.
pub(crate) async fn look_in_time(
    api: AdminApi,
    caller: Caller,
    host: HostRecord,
    fix: bool,
) -> Result<Option<view::HealthCheck>, Problem> {
    transport(&api)?;
    let (limit, name) = (api.settings().look_limit, host.name.clone());
    let looking = in_task(look_and_note(api, caller, host, fix));
    match timeout(limit, looking).await {
        Ok(checked) => checked,
        // The look goes on, and is put on record when it ends.
        Err(_) => Ok(Some(view::HealthCheck {
            name: name.to_string(),
            health: HealthState::Unknown,
            message: format!("{}; the look goes on", no_answer(limit)),
            done: view::CheckDone::LeftAlone,
        })),
    }
}

async fn look_and_note(
    api: AdminApi,
    caller: Caller,
    host: HostRecord,
    fix: bool,
) -> Result<Option<view::HealthCheck>, Problem> {
    let checked = api.process().check_health(host.id, fix).await;
    let action = if fix { "host.fix" } else { "host.look" };
    let (done, what) = match &checked {
        Ok(Some(seen)) => (seen.was_looked_at(), seen.summary()),
        Ok(None) => (false, "left alone: a rollout is working on it".to_owned()),
        Err(_) => (false, "could not be looked at".to_owned()),
    };
    note(&api, &caller, action, &host.name, done, Some(what)).await?;
    checked.map_err(|error| {
        log_cause("a service could not be looked at", &*error);
        Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "not_looked_at",
            "the host could not be looked at; the log of this server says why",
        )
        .after(5)
    })
}
