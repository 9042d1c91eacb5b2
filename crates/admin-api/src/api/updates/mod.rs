//! Rollouts: started, steered, looked at.

pub(crate) mod events;
pub(crate) mod find;
pub(crate) mod hosts;
pub(crate) mod rollouts;
pub(crate) mod status;
pub(crate) mod trigger;
pub(crate) mod verbs;

use axum::Router;
use axum::routing::{get, post};
use fleet_types::{RolloutId, view};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::problem::Problem;
use crate::state::AdminApi;

/// One rollout.
#[derive(Serialize, Deserialize, ToSchema)]
pub(crate) struct RolloutBody {
    pub(crate) rollout: view::Rollout,
}

pub(crate) fn routes() -> Router<AdminApi> {
    Router::new()
        .route("/api/updates/trigger", post(trigger::trigger))
        .route("/api/updates/status", get(status::status))
        .route("/api/updates/events", get(events::events))
        .route("/api/updates/rollouts", get(rollouts::list))
        .route("/api/updates/rollouts/{id}", get(rollouts::show))
        .route("/api/updates/rollouts/{id}/hosts", get(hosts::list))
        .route("/api/updates/rollouts/{id}/hosts/{name}", get(hosts::show))
        .route(
            "/api/updates/rollouts/{id}/hosts/{name}/output",
            get(hosts::output),
        )
        .route("/api/updates/rollouts/{id}/pause", post(verbs::pause))
        .route("/api/updates/rollouts/{id}/resume", post(verbs::resume))
        .route("/api/updates/rollouts/{id}/abort", post(verbs::abort))
        .route("/api/updates/rollouts/{id}/retry", post(verbs::retry))
        .route("/api/updates/rollouts/{id}/rollback", post(verbs::rollback))
}

/// A rollout as shown.
pub(crate) async fn rollout_view(api: &AdminApi, id: RolloutId) -> Result<view::Rollout, Problem> {
    api.store()
        .rollout_view(id)
        .await?
        .ok_or_else(|| Problem::not_found(format!("there is no rollout {id}")))
}
