//! People: added, locked out, let in, given a new password, signed out everywhere.

use askama::Template;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::{Extension, Json};
use fleet_store::UserRecord;
use fleet_types::Role;

use crate::api::body::Fields;
use crate::api::params::Params;
use crate::api::sessions::{self, EndedBody};
use crate::api::users;
use crate::identity::Caller;
use crate::pages::account::ended;
use crate::pages::form::Typed;
use crate::pages::layout::{Nav, Page, go, html_with};
use crate::problem::Problem;
use crate::state::AdminApi;

const HERE: &str = "/admin/users";

#[derive(Template)]
#[template(path = "users.html")]
struct Users {
    page: Page,
    problem: Option<Problem>,
    users: Vec<UserRecord>,
    roles: &'static [Role],
    form: Typed,
    /// How many sessions were ended just now, in words.
    ended: Option<String>,
}

async fn page(
    api: &AdminApi,
    caller: &Caller,
    form: Typed,
    ended: Option<String>,
    problem: Option<Problem>,
) -> Result<Response, Problem> {
    if let Some(problem) = problem.as_ref().filter(|p| p.status.is_server_error()) {
        return Err(problem.clone());
    }
    let status = problem
        .as_ref()
        .map_or(StatusCode::OK, |problem| problem.status);
    let users = Users {
        page: Page::load(api, caller, Nav::Users, "People").await?,
        problem,
        users: api.store().user_list().await?,
        roles: Role::ALL,
        form,
        ended,
    };
    html_with(status, &users)
}

pub(crate) async fn show(
    State(api): State<AdminApi>,
    Extension(caller): Extension<Caller>,
    params: Params,
) -> Result<Response, Problem> {
    page(&api, &caller, Typed::default(), ended(&params), None).await
}

/// Goes back to the list, or shows it with what was wrong.
async fn done<T>(
    api: &AdminApi,
    caller: &Caller,
    form: Typed,
    result: Result<T, Problem>,
) -> Result<Response, Problem> {
    match result {
        Ok(_) => Ok(go(HERE)),
        Err(problem) => page(api, caller, form, None, Some(problem)).await,
    }
}

pub(crate) async fn add(
    State(api): State<AdminApi>,
    Extension(caller): Extension<Caller>,
    typed: Typed,
) -> Result<Response, Problem> {
    let fields = typed
        .object()
        .texts(&["name", "role"])
        .with("password", typed.raw("password"))
        .fields();
    let added = users::add(State(api.clone()), Extension(caller.clone()), fields).await;
    done(&api, &caller, typed, added).await
}

pub(crate) async fn password(
    State(api): State<AdminApi>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    typed: Typed,
) -> Result<Response, Problem> {
    let fields = typed
        .object()
        .with("password", typed.raw("password"))
        .fields();
    let set = users::set_password(
        State(api.clone()),
        Extension(caller.clone()),
        Path(name),
        fields,
    )
    .await;
    done(&api, &caller, Typed::default(), set).await
}

pub(crate) async fn disable(
    State(api): State<AdminApi>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    let (state, who) = (State(api.clone()), Extension(caller.clone()));
    let out = users::disable(state, who, Path(name), Fields::default()).await;
    done(&api, &caller, Typed::default(), out).await
}

pub(crate) async fn enable(
    State(api): State<AdminApi>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    let (state, who) = (State(api.clone()), Extension(caller.clone()));
    let again = users::enable(state, who, Path(name), Fields::default()).await;
    done(&api, &caller, Typed::default(), again).await
}

pub(crate) async fn end_sessions(
    State(api): State<AdminApi>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    let (state, who) = (State(api.clone()), Extension(caller.clone()));
    match sessions::end_all(state, who, Path(name)).await {
        Ok(Json(EndedBody { ended })) => Ok(go(format!("{HERE}?ended={ended}"))),
        Err(problem) => page(&api, &caller, Typed::default(), None, Some(problem)).await,
    }
}
