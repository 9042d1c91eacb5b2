//! The feed: as a stream for those who follow, in pages for those who ask.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::http::header::ACCEPT;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName};
use axum::response::sse::{Event as Message, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use fleet_types::{Event, Right, RolloutId, Seq};
use futures_util::stream;
use serde::Serialize;
use tokio::time::Instant;
use utoipa::ToSchema;

use crate::api::openapi::ProblemBody;
use crate::api::params::Params;
use crate::api::updates::find;
use crate::api::{LONGEST_WAIT, too_many_streams, unauthenticated};
use crate::identity::Caller;
use crate::problem::{Problem, log_cause};
use crate::state::AdminApi;
use crate::streams::StreamPlace;

/// A browser that lost the stream comes back after this long.
const RETRY: Duration = Duration::from_secs(3);
/// Events read from the store at once.
const BATCH: u32 = 200;

/// A part of the feed.
#[derive(Serialize, ToSchema)]
pub(crate) struct EventsBody {
    events: Vec<Event>,
    /// The `after` of the next page.
    next: Seq,
    /// The feed does not reach as far as `after`: another store, or an old copy. Read everything anew.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(required = false)]
    reset: bool,
}

/// What happened. With `Accept: text/event-stream` it is followed as it happens: each event has its `seq` as id, `reset`
/// means to read everything anew, `bye` that the stream ends. A stream that says nothing else begins now; one that goes
/// on from the last id misses nothing. Otherwise a page of it comes as JSON.
#[utoipa::path(get, path = "/api/updates/events", tag = "updates",
    params(
        ("after" = Option<i64>, Query, description = "Only events after this `seq`."),
        ("rollout" = Option<String>, Query, description = "Only those of this rollout."),
        ("limit" = Option<u32>, Query, description = "Of a page: 1 to 1000; 100."),
        ("wait" = Option<u32>, Query, description = "Of a page: seconds to wait for events when there are none yet, at most 60."),
        ("Last-Event-ID" = Option<i64>, Header, description = "Where a stream goes on; comes before `after`."),
    ),
    responses(
        (status = 200, description = "A page, or a stream.", content((EventsBody = "application/json"), (String = "text/event-stream"))),
        (status = 422, description = "An id that is none.", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "`too_many_streams`", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(crate) async fn events(
    State(api): State<AdminApi>,
    Extension(caller): Extension<Caller>,
    params: Params,
    parts: Parts,
) -> Result<Response, Problem> {
    let rollout = match params.text("rollout") {
        Some(text) => Some(find::rollout(&api, text).await?),
        None => None,
    };
    let after = start(&params, &parts.headers)?;
    let streams = parts
        .headers
        .get(ACCEPT)
        .and_then(|accept| accept.to_str().ok());
    if !streams.is_some_and(|accept| accept.contains("text/event-stream")) {
        let limit = params.limit(100, 1000)?;
        let wait =
            Duration::from_secs(params.parsed::<u64>("wait")?.unwrap_or(0)).min(LONGEST_WAIT);
        let mut page = page(&api, after.unwrap_or_default(), rollout, limit).await?;
        if page.events.is_empty() && !page.reset && !wait.is_zero() {
            page = wait_for_page(&api, &caller, &parts, page.next, rollout, (limit, wait)).await?;
        }
        return Ok(Json(page).into_response());
    }
    let place = api
        .streams()
        .take(caller.scope())
        .ok_or_else(too_many_streams)?;
    let follow = Follow::new(api.clone(), caller, parts, rollout, after, place).await?;
    let events = stream::unfold(follow, Follow::next);
    let keep_alive = KeepAlive::new()
        .interval(api.settings().keep_alive)
        .text("keep-alive");
    // Proxies that collect what they pass on must not do so here.
    let headers = [(HeaderName::from_static("x-accel-buffering"), "no")];
    Ok((headers, Sse::new(events).keep_alive(keep_alive)).into_response())
}

/// Where to begin: what the client saw last.
fn start(params: &Params, headers: &HeaderMap) -> Result<Option<Seq>, Problem> {
    let name = HeaderName::from_static("last-event-id");
    let (field, text) = match headers.get(name) {
        Some(value) => (
            "Last-Event-ID",
            Some(value.to_str().unwrap_or("unreadable")),
        ),
        None => ("after", params.text("after")),
    };
    let Some(text) = text.filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    match text.parse::<i64>() {
        Ok(seq) if seq >= 0 => Ok(Some(Seq(seq))),
        _ => Err(Problem::field(
            "invalid",
            field,
            "must be the number of an event",
        )),
    }
}

async fn page(
    api: &AdminApi,
    after: Seq,
    rollout: Option<RolloutId>,
    limit: u32,
) -> Result<EventsBody, Problem> {
    let head = api.store().last_seq().await?;
    if after > head {
        return Ok(EventsBody {
            events: Vec::new(),
            next: head,
            reset: true,
        });
    }
    let events = api.store().events_after(after, rollout, limit).await?;
    let next = position(&events, after, head, limit);
    Ok(EventsBody {
        events,
        next,
        reset: false,
    })
}

/// A page that has events, or the empty one that there is when the time is over.
async fn wait_for_page(
    api: &AdminApi,
    caller: &Caller,
    parts: &Parts,
    mut after: Seq,
    rollout: Option<RolloutId>,
    (limit, wait): (u32, Duration),
) -> Result<EventsBody, Problem> {
    let place = api.streams().take(caller.scope());
    let _place = place.ok_or_else(too_many_streams)?;
    let deadline = Instant::now() + wait;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        tokio::select! {
            seen = api.store().events_wait(after, left) => seen?,
            () = api.stop().cancelled() => {}
        }
        // They may have been locked out meanwhile.
        if api.identify().identify(parts).await?.is_none() {
            return Err(unauthenticated());
        }
        let found = page(api, after, rollout, limit).await?;
        let over = Instant::now() >= deadline || api.stop().is_cancelled();
        if over || found.reset || !found.events.is_empty() {
            return Ok(found);
        }
        after = found.next;
    }
}

/// How far the feed was read. `head` was read before the events: when they are fewer than asked for, there are none left
/// up to it, whatever events of other rollouts there are.
fn position(events: &[Event], after: Seq, head: Seq, limit: u32) -> Seq {
    let last = events.last().map_or(after, |event| event.seq);
    let full = events.len() >= usize::try_from(limit).unwrap_or(usize::MAX);
    if full { last } else { last.max(head) }
}

/// A stream that is open.
struct Follow {
    api: AdminApi,
    caller: Caller,
    /// The request, to see again whether its caller may still look.
    parts: Parts,
    rollout: Option<RolloutId>,
    after: Seq,
    ready: VecDeque<Message>,
    over: bool,
    checked: Instant,
    _place: StreamPlace,
}

impl Follow {
    async fn new(
        api: AdminApi,
        caller: Caller,
        parts: Parts,
        rollout: Option<RolloutId>,
        after: Option<Seq>,
        place: StreamPlace,
    ) -> Result<Self, Problem> {
        let head = api.store().last_seq().await?;
        let mut ready = VecDeque::from([Message::default().retry(RETRY).comment("hello")]);
        let after = match after {
            Some(after) if after > head => {
                ready.push_back(
                    notice("reset", "the feed does not reach that far").id(head.to_string()),
                );
                head
            }
            Some(after) => after,
            None => head,
        };
        let checked = Instant::now();
        Ok(Self {
            api,
            caller,
            parts,
            rollout,
            after,
            ready,
            over: false,
            checked,
            _place: place,
        })
    }

    async fn next(mut self) -> Option<(Result<Message, Infallible>, Self)> {
        loop {
            if let Some(message) = self.ready.pop_front() {
                return Some((Ok(message), self));
            }
            if self.over {
                return None;
            }
            if let Err(why) = self.more().await {
                self.over = true;
                self.ready.push_back(notice("bye", why));
            }
        }
    }

    /// Waits for something to say. The error ends the stream; a client that comes back goes on where it was.
    async fn more(&mut self) -> Result<(), &'static str> {
        let stop = self.api.stop().clone();
        if stop.is_cancelled() {
            return Err("shutdown");
        }
        let recheck = self.api.settings().recheck;
        if self.checked.elapsed() >= recheck {
            self.check().await?;
        }
        if self.read().await? {
            return Ok(());
        }
        let patience = recheck.saturating_sub(self.checked.elapsed());
        tokio::select! {
            () = stop.cancelled() => Err("shutdown"),
            news = self.api.store().events_wait(self.after, patience) => news.map_err(|error| unavailable(&error)),
        }
    }

    /// Whether the caller may still look.
    async fn check(&mut self) -> Result<(), &'static str> {
        let now = self
            .api
            .identify()
            .identify(&self.parts)
            .await
            .map_err(|error| unavailable(&error))?;
        let still =
            now.is_some_and(|now| now.name == self.caller.name && now.role.may(Right::Read));
        self.checked = Instant::now();
        if still { Ok(()) } else { Err("revoked") }
    }

    async fn read(&mut self) -> Result<bool, &'static str> {
        let store = self.api.store();
        let head = store
            .last_seq()
            .await
            .map_err(|error| unavailable(&error))?;
        let events = store
            .events_after(self.after, self.rollout, BATCH)
            .await
            .map_err(|error| unavailable(&error))?;
        self.after = position(&events, self.after, head, BATCH);
        for event in &events {
            let Ok(data) = serde_json::to_string(event) else {
                continue;
            };
            self.ready
                .push_back(Message::default().id(event.seq.to_string()).data(data));
        }
        Ok(!events.is_empty())
    }
}

fn notice(name: &str, reason: &str) -> Message {
    Message::default()
        .event(name)
        .data(serde_json::json!({ "reason": reason }).to_string())
}

fn unavailable(error: &(dyn std::error::Error + 'static)) -> &'static str {
    log_cause("an event stream ends", error);
    "unavailable"
}
