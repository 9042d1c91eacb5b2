//! How this process is, for those who watch it.

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};

use crate::problem::{Problem, log_cause};
use crate::state::{AdminApi, NotReady};

/// The process answers.
#[utoipa::path(get, path = "/healthz", tag = "process", security(()),
    responses((status = 200, description = "This process answers.", body = str, content_type = "text/plain")))]
pub(crate) async fn healthz() -> &'static str {
    "ok\n"
}

/// The store answers, and a worker of this process is alive on it.
#[utoipa::path(get, path = "/readyz", tag = "process", security(()),
    responses(
        (status = 200, description = "The store is usable, and this process is registered as alive on it.", body = str, content_type = "text/plain"),
        (status = 503, description = "It cannot work now.", body = crate::api::openapi::ProblemBody, content_type = "application/problem+json"),
    ))]
pub(crate) async fn readyz(State(api): State<AdminApi>) -> Result<&'static str, Problem> {
    let unready = |why: &'static str| {
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not_ready", why).after(2)
    };
    if api.stop().is_cancelled() {
        return Err(unready("this process is about to end"));
    }
    let mut answer = api.store().last_seq().await;
    if answer.is_err() {
        // One call that fails says little.
        answer = api.store().last_seq().await;
    }
    if let Err(error) = answer {
        let why = error.in_brief();
        if api.is_news(Some(why)) {
            log_cause("not ready", &error);
        }
        return Err(unready(why));
    }
    if let Err(NotReady { why, cause }) = api.process().ready() {
        if api.is_news(Some(why)) {
            tracing::warn!(cause, "not ready");
        }
        return Err(unready(why));
    }
    if api.is_news(None) {
        tracing::info!("ready again");
    }
    Ok("ok\n")
}

/// Numbers for Prometheus.
#[utoipa::path(get, path = "/metrics", tag = "process",
    responses((status = 200, description = "Numbers in the text format of Prometheus.", body = str, content_type = "text/plain")))]
pub(crate) async fn metrics(State(api): State<AdminApi>) -> Result<Response, Problem> {
    let text = api
        .process()
        .metrics()
        .ok_or_else(|| Problem::not_found("this process keeps no numbers"))?;
    Ok((
        [(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")],
        text,
    )
        .into_response())
}
