//! The JSON handlers.

mod health;
pub(crate) mod openapi;

use std::time::Duration;

use axum::Router;
use axum::routing::get;

use crate::state::AdminApi;

/// How long a status request may wait for news.
pub(crate) const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// How long fetching the keys of a host may take: a slot has to come free first.
pub(crate) const LONGEST_SCAN: Duration = Duration::from_secs(90);

/// Every JSON route. Each is in `rights::RULES` too.
pub(crate) fn routes() -> Router<AdminApi> {
    Router::new()
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .route("/metrics", get(health::metrics))
        .route("/api/openapi.json", get(openapi::serve))
}
