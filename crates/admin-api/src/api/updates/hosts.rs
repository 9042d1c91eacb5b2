//! The hosts of one rollout, what each step did, and what it printed.

use axum::Json;
use axum::extract::{Path, State};
use fleet_store::{HostQuery, StepRecord};
use fleet_types::{HostName, Reason, RolloutId, StepId, Timestamp, view};
use serde::Serialize;
use utoipa::ToSchema;

use crate::api::hosts::{HostsBody, host_name};
use crate::api::openapi::ProblemBody;
use crate::api::params::{Link, Params};
use crate::api::updates::find;
use crate::problem::Problem;
use crate::state::AdminApi;

/// A host of a rollout with its steps.
#[derive(Serialize, ToSchema)]
pub(crate) struct RolloutHostBody {
    host: view::Host,
    steps: Vec<StepView>,
}

/// What a step came to.
#[derive(Serialize, ToSchema)]
#[schema(as = Step)]
pub(crate) struct StepView {
    step: StepId,
    started_at: Timestamp,
    /// Null while it runs, or when its end was not seen.
    finished_at: Option<Timestamp>,
    duration_seconds: Option<f64>,
    /// Why it failed; null when it did not.
    failed: Option<StepFailure>,
    /// Exit code of its last command, if that ended by itself.
    exit: Option<i32>,
    /// Bytes that it printed, before they were cut.
    output_bytes: u64,
}

/// Why a step failed.
#[derive(Serialize, ToSchema)]
pub(crate) struct StepFailure {
    reason: Reason,
    message: String,
}

/// What steps printed.
#[derive(Serialize, ToSchema)]
pub(crate) struct OutputBody {
    steps: Vec<view::StepOutput>,
}

/// The hosts of a rollout, in plan order.
#[utoipa::path(get, path = "/api/updates/rollouts/{id}/hosts", tag = "updates",
    params(("id" = String, Path),
        ("status" = Option<String>, Query, description = "Only those with this status; several with commas."),
        ("reason" = Option<String>, Query, description = "Only those where it ended for this reason; several with commas."),
        ("needs_attention" = Option<bool>, Query, description = "`true`: those that a person must look at; `false`: the others."), ("stage" = Option<u32>, Query), ("search" = Option<String>, Query),
        ("cursor" = Option<String>, Query), ("limit" = Option<u32>, Query, description = "1 to 1000; 100.")),
    responses((status = 200, body = HostsBody, headers(("Link" = String, description = "The next page, as `rel=\"next\"`."))), (status = 404, body = ProblemBody, content_type = "application/problem+json")))]
pub(crate) async fn list(
    State(api): State<AdminApi>,
    Path(id): Path<String>,
    params: Params,
) -> Result<(Link, Json<HostsBody>), Problem> {
    let rollout = find::rollout(&api, &id).await?;
    let query = HostQuery {
        rollout: Some(rollout),
        status: params.all("status")?,
        reason: params.all("reason")?,
        needs_attention: params.either("needs_attention")?,
        search: params.text("search").map(str::to_owned),
        stage: params.parsed("stage")?,
        after: params.text("cursor").map(str::to_owned),
        limit: params.limit(100, 1000)?,
        ..HostQuery::default()
    };
    let page = api.store().host_page(query).await?;
    Ok((params.link(page.next.as_deref()), Json(page.into())))
}

/// One host of a rollout, with its steps.
#[utoipa::path(get, path = "/api/updates/rollouts/{id}/hosts/{name}", tag = "updates", params(("id" = String, Path), ("name" = String, Path)),
    responses((status = 200, body = RolloutHostBody), (status = 404, body = ProblemBody, content_type = "application/problem+json")))]
pub(crate) async fn show(
    State(api): State<AdminApi>,
    Path((id, name)): Path<(String, String)>,
) -> Result<Json<RolloutHostBody>, Problem> {
    let (rollout, name) = part(&api, &id, &name).await?;
    let host = api
        .store()
        .host_view(&name, Some(rollout))
        .await?
        .ok_or_else(|| no_part(&name))?;
    if host
        .attempt
        .as_ref()
        .is_none_or(|attempt| attempt.rollout != rollout)
    {
        return Err(no_part(&name));
    }
    let steps = api.store().attempt_steps(rollout, &name).await?;
    Ok(Json(RolloutHostBody {
        host,
        steps: steps.into_iter().map(StepView::from).collect(),
    }))
}

/// What the steps of one host of a rollout printed.
#[utoipa::path(get, path = "/api/updates/rollouts/{id}/hosts/{name}/output", tag = "updates",
    params(("id" = String, Path), ("name" = String, Path), ("step" = Option<String>, Query, description = "Only this step.")),
    responses((status = 200, body = OutputBody), (status = 404, body = ProblemBody, content_type = "application/problem+json")))]
pub(crate) async fn output(
    State(api): State<AdminApi>,
    Path((id, name)): Path<(String, String)>,
    params: Params,
) -> Result<Json<OutputBody>, Problem> {
    let (rollout, name) = part(&api, &id, &name).await?;
    let only: Option<StepId> = params.parsed("step")?;
    let steps = api.store().attempt_steps(rollout, &name).await?;
    if steps.is_empty()
        && api
            .store()
            .host_view(&name, Some(rollout))
            .await?
            .is_none_or(|host| host.attempt.is_none())
    {
        return Err(no_part(&name));
    }
    let steps = steps
        .into_iter()
        .filter(|record| only.is_none_or(|step| record.step == step));
    Ok(Json(OutputBody {
        steps: steps.map(view::StepOutput::from).collect(),
    }))
}

async fn part(api: &AdminApi, id: &str, name: &str) -> Result<(RolloutId, HostName), Problem> {
    Ok((find::rollout(api, id).await?, host_name(name)?))
}

fn no_part(name: &HostName) -> Problem {
    Problem::not_found(format!("{name} has no part in this rollout"))
}

impl From<StepRecord> for StepView {
    fn from(record: StepRecord) -> Self {
        let took = record
            .finished_at
            .map(|end| end.since(record.started_at).as_secs_f64());
        Self {
            step: record.step,
            started_at: record.started_at,
            finished_at: record.finished_at,
            duration_seconds: took,
            failed: record
                .failed
                .map(|(reason, message)| StepFailure { reason, message }),
            exit: record.output.exit,
            output_bytes: record.output.total_bytes,
        }
    }
}
