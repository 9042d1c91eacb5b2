//! A rollout is steered. All verbs are idempotent, and stored before the answer.

use axum::Extension;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use rollout_orchestrator::{AgainRequest, Plan, PlanError};

use crate::api::body::Fields;
use crate::api::openapi::ProblemBody;
use crate::api::updates::trigger::{
    AgainBody, Expected, PlanBody, accepted, planned, policy, repeated, request_key, start,
};
use crate::api::updates::{RolloutBody, find};
use crate::identity::Caller;
use crate::problem::Problem;
use crate::state::AdminApi;

/// Starts no further hosts; those in flight finish.
#[utoipa::path(post, path = "/api/updates/rollouts/{id}/pause", tag = "updates", params(("id" = String, Path)),
    responses((status = 202, body = RolloutBody), (status = 409, description = "`wrong_state`", body = ProblemBody, content_type = "application/problem+json")))]
pub(crate) async fn pause(
    State(api): State<AdminApi>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    _: Fields,
) -> Result<Response, Problem> {
    let id = find::rollout(&api, &id).await?;
    api.orchestrator().pause(id, &caller.actor()).await?;
    accepted(&api, id).await
}

/// Goes on after a pause.
#[utoipa::path(post, path = "/api/updates/rollouts/{id}/resume", tag = "updates", params(("id" = String, Path)),
    responses((status = 202, body = RolloutBody), (status = 409, description = "`wrong_state`", body = ProblemBody, content_type = "application/problem+json")))]
pub(crate) async fn resume(
    State(api): State<AdminApi>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    _: Fields,
) -> Result<Response, Problem> {
    let id = find::rollout(&api, &id).await?;
    api.orchestrator().resume(id, &caller.actor()).await?;
    accepted(&api, id).await
}

/// Ends the rollout once the hosts in flight have finished; done stays done.
#[utoipa::path(post, path = "/api/updates/rollouts/{id}/abort", tag = "updates", params(("id" = String, Path)),
    responses((status = 202, body = RolloutBody), (status = 409, description = "`wrong_state`", body = ProblemBody, content_type = "application/problem+json")))]
pub(crate) async fn abort(
    State(api): State<AdminApi>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    _: Fields,
) -> Result<Response, Problem> {
    let id = find::rollout(&api, &id).await?;
    api.orchestrator().abort(id, &caller.actor()).await?;
    accepted(&api, id).await
}

/// A new rollout over the failed and never started hosts of this one, to the same target. The answer is the new one.
#[utoipa::path(post, path = "/api/updates/rollouts/{id}/retry", tag = "updates",
    params(("id" = String, Path), ("Idempotency-Key" = Option<String>, Header)), request_body = AgainBody,
    responses((status = 202, body = RolloutBody), (status = 200, description = "With `dry_run`: what would be done.", body = PlanBody), (status = 409, description = "`not_over`, `nothing_left`, `rollout_active`, `hosts_mismatch`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 429, description = "`rate_limited`", body = ProblemBody, content_type = "application/problem+json")))]
pub(crate) async fn retry(
    State(api): State<AdminApi>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    headers: HeaderMap,
    fields: Fields,
) -> Result<Response, Problem> {
    again(&api, &caller, &id, &headers, fields, Again::Retry).await
}

/// A new rollout that takes every host that this one changed back to its own previous version. The answer is the new one.
#[utoipa::path(post, path = "/api/updates/rollouts/{id}/rollback", tag = "updates",
    params(("id" = String, Path), ("Idempotency-Key" = Option<String>, Header)), request_body = AgainBody,
    responses((status = 202, body = RolloutBody), (status = 200, description = "With `dry_run`: what would be done.", body = PlanBody), (status = 409, description = "`not_over`, `nothing_left`, `rollout_active`, `hosts_mismatch`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 429, description = "`rate_limited`", body = ProblemBody, content_type = "application/problem+json")))]
pub(crate) async fn rollback(
    State(api): State<AdminApi>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    headers: HeaderMap,
    fields: Fields,
) -> Result<Response, Problem> {
    again(&api, &caller, &id, &headers, fields, Again::Rollback).await
}

#[derive(Clone, Copy)]
enum Again {
    Retry,
    Rollback,
}

async fn again(
    api: &AdminApi,
    caller: &Caller,
    id: &str,
    headers: &HeaderMap,
    mut fields: Fields,
    again: Again,
) -> Result<Response, Problem> {
    let source = find::rollout(api, id).await?;
    let what = match again {
        Again::Retry => format!("retry {source}"),
        Again::Rollback => format!("rollback {source}"),
    };
    let key = request_key(headers, caller, &what, &fields)?;
    let dry_run = fields.optional("dry_run").unwrap_or(false);
    let expected: Option<Expected> = fields.optional("expect");
    let record = api.store().rollout_get(source).await?;
    let record = record.ok_or(PlanError::UnknownRollout { id: source })?;
    let configured = api.settings().max_in_flight;
    let request = AgainRequest {
        source,
        message: fields.message("message", 500),
        policy: Some(policy(&mut fields, &record.policy, configured)),
        actor: caller.actor(),
    };
    fields.check()?;
    if !dry_run && let Some(rollout) = repeated(api, key.as_ref()).await? {
        return accepted(api, rollout).await;
    }
    api.triggers().take(caller)?;
    let mut plan = plan(api, &request, again).await?;
    expected.map_or(Ok(()), |expected| expected.check(&plan))?;
    if dry_run {
        return planned(api, plan).await;
    }
    plan.rollout.request = key;
    start(api, &plan).await
}

async fn plan(api: &AdminApi, request: &AgainRequest, again: Again) -> Result<Plan, PlanError> {
    match again {
        Again::Retry => api.orchestrator().plan_retry(request).await,
        Again::Rollback => api.orchestrator().plan_rollback(request).await,
    }
}
