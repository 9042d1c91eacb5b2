//! The JSON handlers.

mod audit;
pub(crate) mod body;
mod health;
pub(crate) mod hosts;
pub(crate) mod inventory;
pub(crate) mod me;
pub(crate) mod openapi;
pub(crate) mod params;
pub(crate) mod sessions;
pub(crate) mod tags;
pub(crate) mod tokens;
pub(crate) mod updates;
pub(crate) mod users;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use fleet_types::Timestamp;

use crate::problem::Problem;
use crate::state::AdminApi;

/// How long a status request may wait for news.
pub(crate) const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// The JSON routes below `/api`. Each is in `rights::RULES` too.
pub(crate) fn routes() -> Router<AdminApi> {
    Router::new()
        .route("/api/openapi.json", get(openapi::serve))
        .merge(updates::routes())
        .merge(hosts::routes())
        .merge(inventory::routes())
        .merge(me::routes())
        .merge(sessions::routes())
        .merge(users::routes())
        .merge(tokens::routes())
        .merge(audit::routes())
}

/// How this process is.
pub(crate) fn process_routes() -> Router<AdminApi> {
    Router::new()
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .route("/metrics", get(health::metrics))
}

/// As many streams are open as this process bears, or as one caller may have.
pub(crate) fn too_many_streams() -> Problem {
    Problem::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "too_many_streams",
        "as many streams are open as this process bears, or as one caller may have",
    )
    .after(5)
}

/// Nobody is known to be asking.
pub(crate) fn unauthenticated() -> Problem {
    Problem::new(
        StatusCode::UNAUTHORIZED,
        "unauthenticated",
        "sign in, or send a token",
    )
}

/// By the wall clock.
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
