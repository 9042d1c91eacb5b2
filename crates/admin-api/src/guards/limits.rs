//! Sizes, times, and where secrets do not belong.

use std::time::Duration;

use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_LENGTH;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::time::timeout;

use crate::problem::Problem;
use crate::state::AdminApi;

/// Longest path and query.
const URI_MOST: usize = 4096;

/// Largest body that brings a whole fleet: ten thousand hosts, as a form encodes them.
const FLEET_MOST: usize = 1024 * 1024;

/// Refuses bodies that say to be too large, URIs that are too long or hold a token, and ends handlers that take too long.
/// Bodies that do not say how large they are are counted as they are read.
pub(crate) async fn limit(
    State(api): State<AdminApi>,
    mut request: Request,
    next: Next,
) -> Response {
    let most = body_most(&request, &api);
    if let Some(problem) = refusal(&request, most) {
        return problem.into_response();
    }
    DefaultBodyLimit::max(most).apply(&mut request);
    let path = request
        .extensions()
        .get::<MatchedPath>()
        .map(|path| path.as_str());
    let patience = api.settings().time_limit + on_top(path, api.settings().look_limit);
    match timeout(patience, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "timeout",
            "this took too long; what was asked for may still happen",
        )
        .after(5)
        .into_response(),
    }
}

/// The largest body that this request may have. It is read by the handler only, when its caller is known to be allowed.
pub(crate) fn body_most(request: &Request, api: &AdminApi) -> usize {
    let usual = api.settings().body_limit;
    match request.extensions().get::<MatchedPath>() {
        Some(path) if ["/api/hosts/import", "/admin/hosts/import"].contains(&path.as_str()) => {
            usual.max(FLEET_MOST)
        }
        _ => usual,
    }
}

/// What requests that wait on purpose get on top.
fn on_top(path: Option<&str>, look: Duration) -> Duration {
    match path {
        Some("/api/updates/status" | "/api/updates/events") => crate::api::LONGEST_WAIT,
        Some(
            "/api/hosts/{name}/scan"
            | "/api/hosts/{name}/check"
            | "/api/hosts/{name}/health"
            | "/admin/hosts/{name}/keys"
            | "/admin/updates/hosts/{name}/check",
        ) => look,
        _ => Duration::ZERO,
    }
}

fn refusal(request: &Request, body_limit: usize) -> Option<Problem> {
    let uri = request.uri();
    if uri
        .path_and_query()
        .is_some_and(|whole| whole.as_str().len() > URI_MOST)
    {
        return Some(Problem::new(
            StatusCode::URI_TOO_LONG,
            "uri_too_long",
            "the path or query is too long",
        ));
    }
    let secret_in_query = uri.query().unwrap_or("").split('&').any(|pair| {
        let name = pair.split('=').next().unwrap_or("").to_ascii_lowercase();
        matches!(
            name.as_str(),
            "token" | "access_token" | "api_key" | "password"
        ) || pair.contains("=rlt_")
    });
    if secret_in_query {
        return Some(Problem::new(
            StatusCode::BAD_REQUEST,
            "secret_in_url",
            "a secret in a URL ends up in logs: revoke it, and send the next one in the Authorization header",
        ));
    }
    let length = request
        .headers()
        .get(CONTENT_LENGTH)?
        .to_str()
        .ok()?
        .parse::<u64>()
        .ok()?;
    (length > body_limit as u64).then(|| too_large(body_limit))
}

/// A body is too large.
pub(crate) fn too_large(most: usize) -> Problem {
    Problem::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        "too_large",
        format!("a body has at most {most} bytes"),
    )
}
