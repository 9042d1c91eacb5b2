//! The pages.

use axum::Router;
use axum::http::request::Parts;
use axum::response::Response;

use crate::problem::Problem;
use crate::state::AdminApi;

/// Every page, its assets and its forms. Each is in `rights::RULES` too.
pub(crate) fn routes() -> Router<AdminApi> {
    Router::new()
}

/// An error as a page, for a request whose path is one of a page; none leaves it as JSON. `parts` has the `Caller` only
/// when the request came that far.
pub(crate) fn error_page(
    _problem: &Problem,
    _parts: &Parts,
    _request_id: &str,
) -> Option<Response> {
    None
}
