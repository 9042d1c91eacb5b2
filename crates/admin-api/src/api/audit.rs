//! Who did what.

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use fleet_store::{AuditId, AuditQuery};
use fleet_types::{Timestamp, view};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::api::params::{Link, Params};
use crate::problem::Problem;
use crate::state::AdminApi;

pub(crate) fn routes() -> Router<AdminApi> {
    Router::new().route("/api/audit", get(list))
}

/// A part of the audit trail, the newest first.
#[derive(Serialize, ToSchema)]
pub(crate) struct AuditBody {
    entries: Vec<view::AuditEntry>,
    /// The `cursor` of the next page; null at the end.
    next: Option<String>,
}

/// A moment in a query.
#[derive(Deserialize)]
#[serde(transparent)]
struct Moment(Timestamp);

impl std::str::FromStr for Moment {
    type Err = serde::de::value::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        use serde::de::IntoDeserializer;
        Self::deserialize(IntoDeserializer::into_deserializer(text))
    }
}

/// The audit trail, the newest first.
#[utoipa::path(get, path = "/api/audit", tag = "access",
    params(("actor" = Option<String>, Query), ("action" = Option<String>, Query), ("since" = Option<String>, Query, description = "A moment, RFC 3339."),
        ("cursor" = Option<String>, Query), ("limit" = Option<u32>, Query, description = "1 to 1000; 100.")),
    responses((status = 200, body = AuditBody, headers(("Link" = String, description = "The next page, as `rel=\"next\"`.")))))]
pub(crate) async fn list(
    State(api): State<AdminApi>,
    params: Params,
) -> Result<(Link, Json<AuditBody>), Problem> {
    let limit = params.limit(100, 1000)?;
    let query = AuditQuery {
        before: params.parsed("cursor")?.map(AuditId),
        actor: params.text("actor").map(str::to_owned),
        action: params.text("action").map(str::to_owned),
        since: params.parsed::<Moment>("since")?.map(|moment| moment.0),
        limit: limit + 1,
    };
    let mut rows = api.store().audit_list(query).await?;
    let wanted = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = rows.len() > wanted;
    rows.truncate(wanted);
    let next = rows.last().filter(|_| more).map(|row| row.id.0.to_string());
    let entries = rows.into_iter().map(view::AuditEntry::from).collect();
    let link = params.link(next.as_deref());
    Ok((link, Json(AuditBody { entries, next })))
}
