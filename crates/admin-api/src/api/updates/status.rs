//! What is going on, in an answer of the same size however large the fleet is.

use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::http::header::{CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use fleet_types::{Seq, view};
use tokio::time::Instant;

use crate::api::params::Params;
use crate::api::tags::named;
use crate::api::updates::trigger::digest;
use crate::api::{LONGEST_WAIT, too_many_streams, unauthenticated};
use crate::identity::Caller;
use crate::problem::{Problem, log_cause};
use crate::state::AdminApi;

/// The fleet in numbers, and the active rollout, else the latest. With `wait`, the answer comes when there is news after
/// `after`, or when the time is over.
#[utoipa::path(get, path = "/api/updates/status", tag = "updates",
    params(
        ("wait" = Option<u32>, Query, description = "Seconds to wait for news, at most 60."),
        ("after" = Option<i64>, Query, description = "The `seq` of the last answer."),
        ("If-None-Match" = Option<String>, Header, description = "The `ETag` of the last answer."),
    ),
    responses(
        (status = 200, body = view::Status, headers(("ETag" = String, description = "Another one whenever the answer is another."))),
        (status = 304, description = "The answer would be the same."),
    ))]
pub(crate) async fn status(
    State(api): State<AdminApi>,
    Extension(caller): Extension<Caller>,
    params: Params,
    parts: Parts,
) -> Result<Response, Problem> {
    let wait = Duration::from_secs(params.parsed::<u64>("wait")?.unwrap_or(0)).min(LONGEST_WAIT);
    let after = match params.parsed::<i64>("after")? {
        Some(after) => Some(Seq(after)),
        None => last_known(&parts.headers),
    };
    if let Some(after) = after.filter(|_| !wait.is_zero()) {
        wait_for_news(&api, &caller, after, wait).await?;
        // They may have been locked out meanwhile.
        if api.identify().identify(&parts).await?.is_none() {
            return Err(unauthenticated());
        }
    }
    let status = api.store().status().await?;
    let body = serde_json::to_string(&status).map_err(|error| {
        log_cause("a status cannot be written", &error);
        Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "something went wrong here; the log knows what",
        )
    })?;
    let tag = tag(status.seq, &body);
    let headers = [(ETAG, tag.clone())];
    if knows(&parts.headers, &tag) {
        return Ok((StatusCode::NOT_MODIFIED, headers).into_response());
    }
    let json = [(CONTENT_TYPE, "application/json")];
    Ok((headers, json, body).into_response())
}

/// Where the answer is true, and what it says. Some of that changes with no event: whether a process works on a rollout.
fn tag(seq: Seq, body: &str) -> String {
    let digest = digest(&[body]);
    format!("\"{seq}-{}\"", digest.get(..16).unwrap_or(&digest))
}

/// Whether `If-None-Match` names this answer, weak or strong.
fn knows(headers: &HeaderMap, tag: &str) -> bool {
    named(headers, IF_NONE_MATCH).any(|known| known == tag || known == "*")
}

/// The `seq` of the first tag in `If-None-Match`.
fn last_known(headers: &HeaderMap) -> Option<Seq> {
    let inside = named(headers, IF_NONE_MATCH)
        .next()?
        .strip_prefix('"')?
        .strip_suffix('"')?;
    let digits = inside.split('-').next()?;
    digits.parse().ok().map(Seq)
}

async fn wait_for_news(
    api: &AdminApi,
    caller: &Caller,
    after: Seq,
    wait: Duration,
) -> Result<(), Problem> {
    let place = api.streams().take(caller.scope());
    let _place = place.ok_or_else(too_many_streams)?;
    let deadline = Instant::now() + wait;
    loop {
        // A number from the future is of a store that was restored since: that is news.
        if api.store().last_seq().await? != after {
            return Ok(());
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        tokio::select! {
            seen = api.store().events_wait(after, left) => seen?,
            () = api.stop().cancelled() => return Ok(()),
        }
    }
}
