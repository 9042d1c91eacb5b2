//! Counts requests.

use std::time::Instant;

use axum::extract::{MatchedPath, Request};
use axum::http::Method;
use axum::http::header::CONTENT_TYPE;
use axum::middleware::Next;
use axum::response::Response;
use metrics::{counter, gauge, histogram};

use super::{REQUEST_TIME, REQUESTS, STREAMS, STREAMS_LAGGED};
use crate::http::Held;

/// Counts a request by method, route and status. The route is its template, so that there are few.
pub(crate) async fn count(request: Request, next: Next) -> Response {
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or_else(|| "other".to_owned(), |path| path.as_str().to_owned());
    let method = method(request.method());
    let began = Instant::now();
    let response = next.run(request).await;
    let status = response.status().as_u16().to_string();
    counter!(REQUESTS, "method" => method, "route" => route.clone(), "status" => status)
        .increment(1);
    histogram!(REQUEST_TIME, "method" => method, "route" => route)
        .record(began.elapsed().as_secs_f64());
    if !is_stream(&response) {
        return response;
    }
    response.map(|body| Held::wrap(body, OpenStream::new()))
}

/// The kind of an answer that goes on without end.
pub(crate) const EVENT_STREAM: &str = "text/event-stream";

/// Whether this is an event stream.
pub(crate) fn is_stream(response: &Response) -> bool {
    let kind = response.headers().get(CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes().starts_with(EVENT_STREAM.as_bytes()))
}

/// Counts an event stream that was cut because its reader took nothing of it. A slow one is sent less, at its own pace, and
/// nothing is kept for it here meanwhile.
pub(crate) fn count_lagged() {
    counter!(STREAMS_LAGGED).increment(1);
}

/// Anybody can make methods up.
fn method(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "DELETE" => "DELETE",
        _ => "other",
    }
}

/// An event stream that is open.
#[derive(Debug)]
struct OpenStream;

impl OpenStream {
    fn new() -> Self {
        gauge!(STREAMS).increment(1);
        Self
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        gauge!(STREAMS).decrement(1);
    }
}
