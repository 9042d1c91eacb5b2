//! What happens to a request before a handler sees it, and to the answer after.

mod address;
mod cross_site;
mod denials;
mod host_name;
mod limits;
mod outermost;
mod triggers;

use axum::Router;
use axum::middleware::from_fn_with_state;
use tower_http::compression::CompressionLayer;

pub(crate) use denials::{Denials, Denied};
pub(crate) use limits::{body_most, too_large};
pub(crate) use triggers::Triggers;

use crate::rights;
use crate::state::AdminApi;

/// Puts every guard around the routes. The last one here is the first that a request meets.
pub(crate) fn around(routes: Router<AdminApi>, api: &AdminApi) -> Router<AdminApi> {
    routes
        .layer(from_fn_with_state(api.clone(), rights::enforce))
        .layer(from_fn_with_state(api.clone(), cross_site::refuse))
        // Event streams are left as they are.
        .layer(CompressionLayer::new())
        .layer(from_fn_with_state(api.clone(), limits::limit))
        .layer(from_fn_with_state(api.clone(), host_name::check))
        .layer(from_fn_with_state(api.clone(), address::find))
        .layer(from_fn_with_state(api.clone(), outermost::finish))
}
