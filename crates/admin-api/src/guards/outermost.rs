//! What holds for every answer, whoever gave it: an id, headers, one form for errors, and a panic that ends no connection.

use std::panic::AssertUnwindSafe;

use axum::extract::{Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING,
};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use fleet_types::printable;
use futures_util::FutureExt;
use tracing::Instrument;
use uuid::Uuid;

use crate::identity::Caller;
use crate::pages;
use crate::problem::Problem;
use crate::state::AdminApi;

const HEADERS: [(&str, &str); 6] = [
    (
        "content-security-policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; form-action 'self'; \
         base-uri 'none'; frame-ancestors 'none'",
    ),
    ("x-content-type-options", "nosniff"),
    // With `no-referrer` a browser says `Origin: null` to us as well, and our own forms would look like somebody else's.
    ("referrer-policy", "same-origin"),
    ("x-frame-options", "DENY"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
];

/// Runs the rest and finishes its answer.
pub(crate) async fn finish(State(api): State<AdminApi>, request: Request, next: Next) -> Response {
    let id = Uuid::now_v7().to_string();
    let (parts, body) = request.into_parts();
    let asked = parts.clone();
    let span = tracing::info_span!("request", %id, method = %asked.method, path = %printable(asked.uri.path()));
    let work = AssertUnwindSafe(next.run(Request::from_parts(parts, body))).catch_unwind();
    let response = work.instrument(span.clone()).await.unwrap_or_else(|cause| {
        let _in = span.enter();
        tracing::error!(cause = what(cause.as_ref()), "a handler panicked");
        Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "something went wrong here; the log knows what",
        )
        .into_response()
    });
    let mut response = as_problem(&api, response, asked, &id);
    add_headers(response.headers_mut(), &id, api.settings().secure_cookies);
    // Nothing is kept but what says that it may be.
    response
        .headers_mut()
        .entry(CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    let _in = span.enter();
    tracing::debug!(status = response.status().as_u16(), "answered");
    drop(_in);
    response
}

fn what(cause: &(dyn std::any::Any + Send)) -> &str {
    cause
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| cause.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("unknown")
}

fn add_headers(headers: &mut HeaderMap, id: &str, https: bool) {
    for (name, value) in HEADERS {
        headers.insert(
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        );
    }
    if https {
        headers.insert(
            "strict-transport-security",
            HeaderValue::from_static("max-age=31536000"),
        );
    }
    if let Ok(value) = HeaderValue::from_str(id) {
        headers.insert("x-request-id", value);
    }
}

/// Every error leaves as a problem that names its request, or as a page.
fn as_problem(api: &AdminApi, mut response: Response, mut asked: Parts, id: &str) -> Response {
    let status = response.status();
    if !status.is_client_error() && !status.is_server_error() {
        return response;
    }
    let problem = match response.extensions_mut().remove::<Problem>() {
        Some(problem) => problem,
        None if says_itself(response.headers()) => return response,
        None => plain(status),
    };
    let path = asked.uri.path().to_owned();
    if let Some(caller) = response.extensions_mut().remove::<Caller>() {
        asked.extensions.insert(caller);
    }
    let page = is_page(&asked)
        .then(|| pages::error_page(api, &problem, &asked, id))
        .flatten();
    let mut made = page.unwrap_or_else(|| problem.response(Some((id, &printable(&path)))));
    *made.status_mut() = status;
    for (name, value) in response.headers() {
        if ![
            CONTENT_TYPE,
            CONTENT_LENGTH,
            CONTENT_ENCODING,
            TRANSFER_ENCODING,
        ]
        .contains(name)
            && !made.headers().contains_key(name)
        {
            made.headers_mut().append(name, value.clone());
        }
    }
    made
}

fn says_itself(headers: &HeaderMap) -> bool {
    headers
        .get(CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok())
        .is_some_and(|kind| {
            kind.starts_with("text/html") || kind.starts_with("application/problem+json")
        })
}

fn is_page(asked: &Parts) -> bool {
    let path = asked.uri.path();
    let program = path.starts_with("/api/") || ["/healthz", "/readyz", "/metrics"].contains(&path);
    let html = asked
        .headers
        .get("accept")
        .and_then(|accept| accept.to_str().ok())
        .is_some_and(|accept| accept.contains("text/html"));
    !program && html
}

/// An error that came without words: of the router, or of an extractor.
fn plain(status: StatusCode) -> Problem {
    let (code, detail) = match status {
        StatusCode::NOT_FOUND => ("not_found", "there is nothing here"),
        StatusCode::METHOD_NOT_ALLOWED => ("method_not_allowed", "this cannot be done here"),
        StatusCode::PAYLOAD_TOO_LARGE => ("too_large", "the body is too large"),
        StatusCode::UNSUPPORTED_MEDIA_TYPE => (
            "unsupported_media_type",
            "the body is of a kind that is not taken here",
        ),
        status if status.is_client_error() => {
            ("invalid_request", "the request cannot be understood")
        }
        _ => ("internal", "something went wrong here; the log knows what"),
    };
    Problem::new(status, code, detail)
}
