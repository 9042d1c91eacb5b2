//! The inventory as it is kept: whole entries, their pinned keys, and what hosts get that say nothing else.

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use fleet_types::view;
use rollout_settings::HostDefaults;
use serde::Serialize;
use utoipa::ToSchema;

use crate::api::params::{Link, Params};
use crate::problem::Problem;
use crate::state::AdminApi;

pub(crate) fn routes() -> Router<AdminApi> {
    Router::new().route("/api/inventory", get(list))
}

/// A part of the inventory, by name.
#[derive(Serialize, ToSchema)]
pub(crate) struct InventoryBody {
    hosts: Vec<view::EnrolledHost>,
    /// What a host gets that says nothing else.
    #[schema(value_type = Object)]
    defaults: HostDefaults,
    /// The `cursor` of the next page; null at the end.
    next: Option<String>,
}

/// Whole entries by name, as they can be sent back, with their pinned host keys; and what a host gets that says nothing
/// else.
#[utoipa::path(get, path = "/api/inventory", tag = "hosts",
    params(("cursor" = Option<String>, Query), ("limit" = Option<u32>, Query, description = "1 to 1000; 100.")),
    responses((status = 200, body = InventoryBody, headers(("Link" = String, description = "The next page, as `rel=\"next\"`.")))))]
pub(crate) async fn list(
    State(api): State<AdminApi>,
    params: Params,
) -> Result<(Link, Json<InventoryBody>), Problem> {
    let limit = usize::try_from(params.limit(100, 1000)?).unwrap_or(usize::MAX);
    let after = params.text("cursor").unwrap_or_default();
    let mut fleet = api.store().host_list().await?;
    fleet.retain(|host| host.name.as_str() > after);
    fleet.sort_by(|a, b| a.name.cmp(&b.name));
    let more = fleet.len() > limit;
    fleet.truncate(limit);
    let next = fleet
        .last()
        .filter(|_| more)
        .map(|host| host.name.to_string());
    let settings = api.settings();
    let link = params.link(next.as_deref());
    let body = InventoryBody {
        hosts: fleet.into_iter().map(view::EnrolledHost::from).collect(),
        defaults: HostDefaults {
            port: settings.ssh_port,
            user: settings.ssh_user.clone(),
            app: settings.app.clone(),
        },
        next,
    };
    Ok((link, Json(body)))
}
