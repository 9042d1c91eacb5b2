//! Looking at a host outside of rollouts: whether it could be updated, and whether its service is active.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use fleet_types::{Reason, view};
use rollout_orchestrator::check_host;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::api::body::Fields;
use crate::api::hosts::keys::{note, transport};
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
        (status = 503, description = "`no_transport`", body = ProblemBody, content_type = "application/problem+json")))]
pub(crate) async fn check(
    State(api): State<AdminApi>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    _: Fields,
) -> Result<Json<CheckBody>, Problem> {
    let host = record(&api, &name).await?;
    let transport = transport(&api)?;
    let mut check = check_host(&transport, &host, &api.orchestrator().settings().ssh).await;
    note(&api, &caller, "host.check", &host.name, check.reachable).await?;
    hide_credentials(&mut check);
    Ok(Json(CheckBody { check }))
}

/// Why our own key cannot be used may name a file of this machine.
fn hide_credentials(check: &mut view::HostCheck) {
    let ours = Reason::NoCredential.to_string();
    for problem in check
        .problems
        .iter_mut()
        .filter(|found| found.reason == ours)
    {
        tracing::error!(host = %check.name, error = %problem.message, "a credential cannot be used");
        problem.message =
            "the key for this host cannot be used by this server; its log says why".to_owned();
    }
}

/// Looks whether the service of a host is active, and with `fix` starts it again when it is not.
#[utoipa::path(post, path = "/api/hosts/{name}/health", tag = "hosts", params(("name" = String, Path)), request_body = FixBody,
    responses((status = 200, body = HealthCheckBody), (status = 404, body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "`no_transport`", body = ProblemBody, content_type = "application/problem+json")))]
pub(crate) async fn health(
    State(api): State<AdminApi>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    mut fields: Fields,
) -> Result<Json<HealthCheckBody>, Problem> {
    let fix = fields.optional("fix").unwrap_or(false);
    fields.check()?;
    let host = record(&api, &name).await?;
    transport(&api)?;
    let checked = api.process().check_health(host.id, fix).await;
    let action = if fix { "host.fix" } else { "host.look" };
    note(&api, &caller, action, &host.name, checked.is_ok()).await?;
    let checked = checked.map_err(|error| {
        log_cause("a service could not be looked at", &*error);
        Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "not_looked_at",
            "the host could not be looked at; the log of this server says why",
        )
        .after(5)
    })?;
    Ok(Json(HealthCheckBody { health: checked }))
}
