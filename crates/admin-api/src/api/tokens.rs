//! Tokens of programs.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get};
use axum::{Extension, Json, Router};
use fleet_store::NewToken;
use fleet_types::{LoginName, Role, Timestamp, TokenId, printable, view};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::api::body::Fields;
use crate::api::now;
use crate::api::openapi::ProblemBody;
use crate::identity::Caller;
use crate::problem::Problem;
use crate::secrets;
use crate::state::AdminApi;

const DAY: i64 = 86_400_000;
const DAYS_MOST: i64 = 3650;

pub(crate) fn routes() -> Router<AdminApi> {
    Router::new()
        .route("/api/tokens", get(list).post(create))
        .route("/api/tokens/{id}", delete(revoke))
}

/// Every token.
#[derive(Serialize, ToSchema)]
pub(crate) struct TokensBody {
    tokens: Vec<view::Token>,
}

/// A token to make.
#[derive(Deserialize, ToSchema)]
#[expect(
    dead_code,
    reason = "says what the body holds; it is read field by field"
)]
pub(crate) struct NewTokenBody {
    /// What it acts as. With the role `owner`, the owner whose instances it sees.
    name: String,
    role: Role,
    /// When it ends by itself; or say `expires_in_days`.
    expires_at: Option<Timestamp>,
    /// 1 to 3650.
    expires_in_days: Option<i64>,
}

/// Every token, the latest first, those that are over too.
#[utoipa::path(get, path = "/api/tokens", tag = "access", responses((status = 200, body = TokensBody)))]
pub(crate) async fn list(State(api): State<AdminApi>) -> Result<Json<TokensBody>, Problem> {
    let tokens = api.store().token_list().await?;
    Ok(Json(TokensBody {
        tokens: tokens.into_iter().map(view::Token::from).collect(),
    }))
}

/// Makes a token.
#[utoipa::path(post, path = "/api/tokens", tag = "access", request_body = NewTokenBody,
    responses((status = 201, body = view::NewToken), (status = 409, description = "`duplicate_name`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 422, body = ProblemBody, content_type = "application/problem+json")))]
pub(crate) async fn create(
    State(api): State<AdminApi>,
    Extension(caller): Extension<Caller>,
    mut fields: Fields,
) -> Result<Response, Problem> {
    let shown = make(&api, &caller, &mut fields).await?;
    Ok((StatusCode::CREATED, Json(shown)).into_response())
}

/// Makes a token as asked for.
pub(crate) async fn make(
    api: &AdminApi,
    caller: &Caller,
    fields: &mut Fields,
) -> Result<view::NewToken, Problem> {
    let name: Option<LoginName> = fields.required("name");
    let role: Option<Role> = fields.required("role");
    let expires_at = expiry(fields);
    fields.check()?;
    let (Some(name), Some(role)) = (name, role) else {
        return Err(Problem::field("invalid", "name", "is missing"));
    };
    let secret = secrets::new_token()?;
    let id = TokenId(Uuid::now_v7());
    let token = NewToken {
        id,
        name,
        role,
        secret: secret.hash,
        expires_at,
    };
    let made = api.store().token_create(token, &caller.actor()).await?;
    Ok(view::NewToken {
        id: made.id,
        token: secret.text,
        expires_at: made.expires_at,
    })
}

fn expiry(fields: &mut Fields) -> Option<Timestamp> {
    let at: Option<Timestamp> = fields.optional("expires_at");
    let days: Option<i64> = fields.optional("expires_in_days");
    let now = now();
    if at.is_some() && days.is_some() {
        fields.wrong(
            "expires_in_days",
            "say either expires_at or expires_in_days",
        );
    }
    if days.is_some_and(|days| !(1..=DAYS_MOST).contains(&days)) {
        fields.wrong("expires_in_days", format!("must be from 1 to {DAYS_MOST}"));
        return None;
    }
    if at.is_some_and(|at| at <= now) {
        fields.wrong("expires_at", "is over already");
    }
    at.or_else(|| days.map(|days| Timestamp(now.0.saturating_add(days.saturating_mul(DAY)))))
}

/// Ends a token at once.
#[utoipa::path(delete, path = "/api/tokens/{id}", tag = "access", params(("id" = String, Path)),
    responses((status = 204), (status = 404, body = ProblemBody, content_type = "application/problem+json")))]
pub(crate) async fn revoke(
    State(api): State<AdminApi>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let shown: String = printable(&id).chars().take(64).collect();
    let id: TokenId = id
        .parse()
        .map_err(|_| Problem::not_found(format!("there is no token {shown}")))?;
    api.store().token_revoke(id, &caller.actor()).await?;
    Ok(StatusCode::NO_CONTENT)
}
