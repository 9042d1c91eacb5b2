//! People who may sign in.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Extension, Json, Router};
use fleet_store::NewUser;
use fleet_types::{LoginName, Role, printable, view};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::api::body::Fields;
use crate::api::openapi::ProblemBody;
use crate::identity::Caller;
use crate::problem::Problem;
use crate::secrets;
use crate::state::AdminApi;

pub(crate) fn routes() -> Router<AdminApi> {
    Router::new()
        .route("/api/users", get(list).post(add))
        .route("/api/users/{name}/password", put(set_password))
        .route("/api/users/{name}/disable", post(disable))
        .route("/api/users/{name}/enable", post(enable))
}

/// Everybody.
#[derive(Serialize, ToSchema)]
pub(crate) struct UsersBody {
    users: Vec<view::User>,
}

/// One person.
#[derive(Serialize, ToSchema)]
pub(crate) struct UserBody {
    user: view::User,
}

/// A person to add.
#[derive(Deserialize, ToSchema)]
#[expect(
    dead_code,
    reason = "says what the body holds; it is read field by field"
)]
pub(crate) struct NewUserBody {
    name: String,
    role: Role,
    /// At least 8 characters. Without one they cannot sign in.
    password: Option<String>,
}

/// A new password.
#[derive(Deserialize, ToSchema)]
#[expect(
    dead_code,
    reason = "says what the body holds; it is read field by field"
)]
pub(crate) struct PasswordBody {
    password: String,
}

/// The name of a person in a path; one that can be nobody's is not found.
pub(crate) fn login_name(text: &str) -> Result<LoginName, Problem> {
    let shown: String = printable(text).chars().take(64).collect();
    text.parse()
        .map_err(|_| Problem::not_found(format!("there is no user {shown}")))
}

/// Everybody, by name.
#[utoipa::path(get, path = "/api/users", tag = "access", responses((status = 200, body = UsersBody)))]
pub(crate) async fn list(State(api): State<AdminApi>) -> Result<Json<UsersBody>, Problem> {
    let users = api.store().user_list().await?;
    Ok(Json(UsersBody {
        users: users.into_iter().map(view::User::from).collect(),
    }))
}

/// Adds a person.
#[utoipa::path(post, path = "/api/users", tag = "access", request_body = NewUserBody,
    responses((status = 201, body = UserBody), (status = 409, description = "`duplicate_name`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 422, description = "`invalid`, `weak_password`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 429, description = "`rate_limited`", body = ProblemBody, content_type = "application/problem+json")))]
pub(crate) async fn add(
    State(api): State<AdminApi>,
    Extension(caller): Extension<Caller>,
    mut fields: Fields,
) -> Result<Response, Problem> {
    let name: Option<LoginName> = fields.required("name");
    let role: Option<Role> = fields.required("role");
    let password: Option<String> = fields.optional("password");
    fields.check()?;
    let (Some(name), Some(role)) = (name, role) else {
        return Err(Problem::field("invalid", "name", "is missing"));
    };
    let password = match password {
        Some(password) => {
            secrets::check_password(&password)?;
            Some(api.hasher().enter()?.hash(password).await?)
        }
        None => None,
    };
    let user = api
        .store()
        .user_add(
            NewUser {
                name,
                role,
                password,
            },
            &caller.actor(),
        )
        .await?;
    Ok((StatusCode::CREATED, Json(UserBody { user: user.into() })).into_response())
}

/// Sets a new password and ends all sessions of that person.
#[utoipa::path(put, path = "/api/users/{name}/password", tag = "access", params(("name" = String, Path)), request_body = PasswordBody,
    responses((status = 204), (status = 404, body = ProblemBody, content_type = "application/problem+json"),
        (status = 422, description = "`weak_password`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 429, description = "`rate_limited`", body = ProblemBody, content_type = "application/problem+json")))]
pub(crate) async fn set_password(
    State(api): State<AdminApi>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    mut fields: Fields,
) -> Result<StatusCode, Problem> {
    let name = login_name(&name)?;
    let password: Option<String> = fields.required("password");
    fields.check()?;
    let password = password.unwrap_or_default();
    secrets::check_password(&password)?;
    let hash = api.hasher().enter()?.hash(password).await?;
    api.store()
        .user_set_password(&name, hash, &caller.actor())
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Locks a person out: ends their sessions, refuses the tokens that they made.
#[utoipa::path(post, path = "/api/users/{name}/disable", tag = "access", params(("name" = String, Path)),
    responses((status = 204), (status = 404, body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "`last_admin`", body = ProblemBody, content_type = "application/problem+json")))]
pub(crate) async fn disable(
    State(api): State<AdminApi>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    _: Fields,
) -> Result<StatusCode, Problem> {
    api.store()
        .user_disable(&login_name(&name)?, true, &caller.actor())
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Lets a person in again.
#[utoipa::path(post, path = "/api/users/{name}/enable", tag = "access", params(("name" = String, Path)),
    responses((status = 204), (status = 404, body = ProblemBody, content_type = "application/problem+json")))]
pub(crate) async fn enable(
    State(api): State<AdminApi>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    _: Fields,
) -> Result<StatusCode, Problem> {
    api.store()
        .user_disable(&login_name(&name)?, false, &caller.actor())
        .await?;
    Ok(StatusCode::NO_CONTENT)
}
