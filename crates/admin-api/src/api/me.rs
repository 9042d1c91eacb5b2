//! The caller, and what is theirs.

use axum::extract::State;
use axum::http::header::SET_COOKIE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, put};
use axum::{Extension, Json, Router};
use fleet_store::{HostQuery, RolloutQuery};
use fleet_types::{
    AttemptStatus, HealthState, Right, Role, RolloutKind, RolloutState, Timestamp, view,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::api::body::Fields;
use crate::api::openapi::ProblemBody;
use crate::api::params::{Link, Params};
use crate::identity::{Caller, CallerKind};
use crate::problem::Problem;
use crate::sign_in::SignInError;
use crate::state::AdminApi;

pub(crate) fn routes() -> Router<AdminApi> {
    Router::new()
        .route("/api/me", get(me))
        .route("/api/me/instances", get(instances))
        .route("/api/me/password", put(set_password))
}

/// Who is asking.
#[derive(Serialize, ToSchema)]
pub(crate) struct MeBody {
    name: String,
    role: Role,
    /// `session`, `token` or `embedded`.
    kind: &'static str,
    rights: Vec<Right>,
}

/// The caller's own instances.
#[derive(Serialize, ToSchema)]
pub(crate) struct InstancesBody {
    instances: Vec<InstanceView>,
    /// The `cursor` of the next page; null at the end.
    next: Option<String>,
}

/// What an owner sees of an instance, and no more.
#[derive(Serialize, ToSchema)]
#[schema(as = Instance)]
pub(crate) struct InstanceView {
    pub(crate) name: String,
    pub(crate) version: Option<String>,
    /// `running`, `updating`, `down` or `unknown`.
    pub(crate) state: &'static str,
    pub(crate) updated_at: Option<Timestamp>,
    /// Whether it is on the newest version of the fleet; null where one of the two is not known.
    pub(crate) up_to_date: Option<bool>,
    /// When it was last looked at.
    pub(crate) seen_at: Option<Timestamp>,
}

/// Rollouts among which the newest version is looked for.
const LATEST: u32 = 20;

/// The newest version of the fleet: what the latest rollout went to that came to its end, neither halted nor aborted, and took
/// nothing back.
pub(crate) async fn newest(api: &AdminApi) -> Result<Option<String>, Problem> {
    let good = RolloutQuery {
        state: vec![RolloutState::Completed, RolloutState::CompletedWithFailures],
        limit: LATEST,
        ..RolloutQuery::default()
    };
    let latest = api.store().rollouts_matching(good).await?;
    let target = latest
        .into_iter()
        .filter(|rollout| rollout.kind != RolloutKind::Rollback)
        .find_map(|rollout| rollout.target);
    Ok(target.map(String::from))
}

impl InstanceView {
    pub(crate) fn of(host: view::Host, newest: Option<&str>) -> Self {
        let state = match (host.update_status, host.health) {
            (Some(AttemptStatus::Updating), _) => "updating",
            (_, HealthState::Active) => "running",
            (_, HealthState::Inactive | HealthState::Unhealthy) => "down",
            _ => "unknown",
        };
        Self {
            // What others went to says nothing of a host that was not meant to, such as one with another app.
            up_to_date: host
                .current_version
                .as_deref()
                .zip(newest.filter(|newest| {
                    host.target_version.as_deref() == Some(newest)
                        || host.current_version.as_deref() == Some(newest)
                }))
                .map(|(now, newest)| now == newest),
            seen_at: host.checked_at,
            name: host.name,
            version: host.current_version,
            state,
            updated_at: host.last_update_at,
        }
    }
}

/// Who is asking, and what they may do.
#[utoipa::path(get, path = "/api/me", tag = "me", responses((status = 200, body = MeBody)))]
pub(crate) async fn me(Extension(caller): Extension<Caller>) -> Json<MeBody> {
    let kind = match caller.kind {
        CallerKind::Session(_) => "session",
        CallerKind::Token(_) => "token",
        CallerKind::Embedded => "embedded",
    };
    let rights = Right::ALL
        .iter()
        .copied()
        .filter(|right| caller.role.may(*right))
        .collect();
    Json(MeBody {
        name: caller.name,
        role: caller.role,
        kind,
        rights,
    })
}

/// A new password for oneself.
#[derive(Deserialize, ToSchema)]
#[expect(
    dead_code,
    reason = "says what the body holds; it is read field by field"
)]
pub(crate) struct OwnPasswordBody {
    old_password: String,
    /// At least 8 characters.
    password: String,
}

/// Changes the caller's own password, of a session. Their other sessions end; this one goes on with the cookie of the answer.
#[utoipa::path(put, path = "/api/me/password", tag = "me", request_body = OwnPasswordBody,
    responses((status = 204, description = "With `Set-Cookie`."),
        (status = 409, description = "`no_password`: the caller is no session.", body = ProblemBody, content_type = "application/problem+json"),
        (status = 422, description = "`invalid`, `wrong_password`, `weak_password`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 429, description = "`rate_limited`", body = ProblemBody, content_type = "application/problem+json")))]
pub(crate) async fn set_password(
    State(api): State<AdminApi>,
    Extension(caller): Extension<Caller>,
    mut fields: Fields,
) -> Result<Response, Problem> {
    let old: Option<String> = fields.required("old_password");
    let new: Option<String> = fields.required("password");
    fields.check()?;
    let own = api.sign_in().ok_or(SignInError::NoPassword)?;
    let (old, new) = (old.unwrap_or_default(), new.unwrap_or_default());
    let again = own.change_password(&caller, old, new).await?;
    let mut response = StatusCode::NO_CONTENT.into_response();
    if let Ok(cookie) = HeaderValue::from_str(&again.set_cookie) {
        response.headers_mut().insert(SET_COOKIE, cookie);
    }
    Ok(response)
}

/// The instances whose owner is the caller.
#[utoipa::path(get, path = "/api/me/instances", tag = "me",
    params(("cursor" = Option<String>, Query), ("limit" = Option<u32>, Query, description = "1 to 1000; 100.")),
    responses((status = 200, body = InstancesBody, headers(("Link" = String, description = "The next page, as `rel=\"next\"`.")))))]
pub(crate) async fn instances(
    State(api): State<AdminApi>,
    Extension(caller): Extension<Caller>,
    params: Params,
) -> Result<(Link, Json<InstancesBody>), Problem> {
    let query = HostQuery {
        owner: Some(caller.name),
        after: params.text("cursor").map(str::to_owned),
        limit: params.limit(100, 1000)?,
        ..HostQuery::default()
    };
    let newest = newest(&api).await?;
    let page = api.store().host_page(query).await?;
    let link = params.link(page.next.as_deref());
    let next = page.next;
    let instances = page.items.into_iter();
    let instances = instances
        .map(|host| InstanceView::of(host, newest.as_deref()))
        .collect();
    Ok((link, Json(InstancesBody { instances, next })))
}
