//! The history of rollouts.

use axum::Json;
use axum::extract::{Path, State};
use fleet_types::{RolloutId, view};
use serde::Serialize;
use utoipa::ToSchema;

use crate::api::params::{Link, Params};
use crate::api::updates::{RolloutBody, find, rollout_view};
use crate::problem::Problem;
use crate::state::AdminApi;

/// Rollouts, the newest first.
#[derive(Serialize, ToSchema)]
pub(crate) struct RolloutsBody {
    rollouts: Vec<view::Rollout>,
    /// The `cursor` of the next page; null at the end.
    next: Option<String>,
}

/// The newest first.
#[utoipa::path(get, path = "/api/updates/rollouts", tag = "updates",
    params(("cursor" = Option<String>, Query, description = "`next` of the page before."), ("limit" = Option<u32>, Query, description = "1 to 100; 20.")),
    responses((status = 200, body = RolloutsBody, headers(("Link" = String, description = "The next page, as `rel=\"next\"`.")))))]
pub(crate) async fn list(
    State(api): State<AdminApi>,
    params: Params,
) -> Result<(Link, Json<RolloutsBody>), Problem> {
    let limit = params.limit(20, 100)?;
    let before: Option<RolloutId> = params.parsed("cursor")?;
    let mut records = api.store().rollout_list(before, limit + 1).await?;
    let wanted = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = records.len() > wanted;
    records.truncate(wanted);
    let next = records
        .last()
        .filter(|_| more)
        .map(|record| record.id.to_string());
    let mut rollouts = Vec::with_capacity(records.len());
    for record in records {
        rollouts.extend(api.store().rollout_view(record.id).await?);
    }
    let link = params.link(next.as_deref());
    Ok((link, Json(RolloutsBody { rollouts, next })))
}

/// One rollout, by its id or by what is shown of it.
#[utoipa::path(get, path = "/api/updates/rollouts/{id}", tag = "updates", params(("id" = String, Path)),
    responses((status = 200, body = RolloutBody), (status = 404, body = crate::api::openapi::ProblemBody, content_type = "application/problem+json")))]
pub(crate) async fn show(
    State(api): State<AdminApi>,
    Path(id): Path<String>,
) -> Result<Json<RolloutBody>, Problem> {
    let id = find::rollout(&api, &id).await?;
    Ok(Json(RolloutBody {
        rollout: rollout_view(&api, id).await?,
    }))
}
