//! Where people are signed in.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{delete, get};
use axum::{Extension, Json, Router};
use fleet_store::{SessionId, SessionRecord, WhichSessions};
use fleet_types::{LoginName, Timestamp, printable};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::api::openapi::ProblemBody;
use crate::api::users::login_name;
use crate::identity::{Caller, CallerKind};
use crate::problem::Problem;
use crate::state::AdminApi;

pub(crate) fn routes() -> Router<AdminApi> {
    Router::new()
        .route("/api/sessions", get(list).delete(end_others))
        .route("/api/sessions/{id}", delete(end))
        .route("/api/users/{name}/sessions", delete(end_all))
}

/// The caller's own sessions.
#[derive(Serialize, ToSchema)]
pub(crate) struct SessionsBody {
    sessions: Vec<SessionView>,
}

/// A session that is open, without its secret.
#[derive(Serialize, ToSchema)]
#[schema(as = Session)]
pub(crate) struct SessionView {
    pub(crate) id: String,
    /// From which address it was begun.
    pub(crate) source: String,
    pub(crate) created_at: Timestamp,
    /// To the minute.
    pub(crate) last_used_at: Timestamp,
    /// Whether it is the one that asks.
    pub(crate) current: bool,
}

/// What was ended.
#[derive(Serialize, ToSchema)]
pub(crate) struct EndedBody {
    /// So many sessions.
    pub(crate) ended: u32,
}

impl SessionView {
    fn of(record: SessionRecord, asks: SessionId) -> Self {
        Self {
            current: record.id == asks,
            id: record.id.0.to_string(),
            source: record.source,
            created_at: record.created_at,
            last_used_at: record.last_used_at,
        }
    }
}

/// The person and the session that ask. A program has none, also one that bears the name of a person; nor has anybody whom
/// the embedding service knows.
fn own(caller: &Caller) -> Option<(LoginName, SessionId)> {
    match caller.kind {
        CallerKind::Session(id) => Some((caller.name.parse().ok()?, id)),
        CallerKind::Token(_) | CallerKind::Embedded => None,
    }
}

/// The sessions of whoever asks, that one first and then the latest.
pub(crate) async fn of_caller(
    api: &AdminApi,
    caller: &Caller,
) -> Result<Vec<SessionView>, Problem> {
    let Some((name, asks)) = own(caller) else {
        return Ok(Vec::new());
    };
    let times = api.settings().session_times;
    let records = api.store().session_list(&name, times).await?.into_iter();
    let mut sessions: Vec<SessionView> = records
        .map(|record| SessionView::of(record, asks))
        .collect();
    sessions.sort_by_key(|session| !session.current);
    Ok(sessions)
}

/// Where the caller is signed in: the session that asks, then the latest first. A program is signed in nowhere.
#[utoipa::path(get, path = "/api/sessions", tag = "me", responses((status = 200, body = SessionsBody)))]
pub(crate) async fn list(
    State(api): State<AdminApi>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<SessionsBody>, Problem> {
    let sessions = of_caller(&api, &caller).await?;
    Ok(Json(SessionsBody { sessions }))
}

/// Ends one of the caller's own sessions at once; the one that asks is then signed out.
#[utoipa::path(delete, path = "/api/sessions/{id}", tag = "me", params(("id" = String, Path)),
    responses((status = 204), (status = 404, description = "The caller has no such session.", body = ProblemBody, content_type = "application/problem+json")))]
pub(crate) async fn end(
    State(api): State<AdminApi>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let shown: String = printable(&id).chars().take(64).collect();
    let none = || Problem::not_found(format!("there is no session {shown}"));
    let id = Uuid::parse_str(&id).map_err(|_| none())?;
    let (name, _) = own(&caller).ok_or_else(none)?;
    end_of(&api, &caller, &name, WhichSessions::One(SessionId(id))).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Ends all of the caller's sessions at once but the one that asks.
#[utoipa::path(delete, path = "/api/sessions", tag = "me",
    responses((status = 200, body = EndedBody),
        (status = 409, description = "`no_session`: the caller is no session.", body = ProblemBody, content_type = "application/problem+json")))]
pub(crate) async fn end_others(
    State(api): State<AdminApi>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<EndedBody>, Problem> {
    let Some((name, asks)) = own(&caller) else {
        let why = "only somebody who is signed in here has sessions";
        return Err(Problem::new(StatusCode::CONFLICT, "no_session", why));
    };
    let ended = end_of(&api, &caller, &name, WhichSessions::AllBut(asks)).await?;
    Ok(Json(EndedBody { ended }))
}

/// Ends all sessions of a person at once.
#[utoipa::path(delete, path = "/api/users/{name}/sessions", tag = "access", params(("name" = String, Path)),
    responses((status = 200, body = EndedBody), (status = 404, body = ProblemBody, content_type = "application/problem+json")))]
pub(crate) async fn end_all(
    State(api): State<AdminApi>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
) -> Result<Json<EndedBody>, Problem> {
    let name = login_name(&name)?;
    let ended = end_of(&api, &caller, &name, WhichSessions::All).await?;
    Ok(Json(EndedBody { ended }))
}

async fn end_of(
    api: &AdminApi,
    caller: &Caller,
    name: &LoginName,
    which: WhichSessions,
) -> Result<u32, Problem> {
    let (times, actor) = (api.settings().session_times, caller.actor());
    let ended = api.store().session_end_of(name, which, times, &actor);
    Ok(ended.await?)
}
