//! Tokens of programs: made, shown once, revoked.

use askama::Template;
use axum::Extension;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use fleet_store::TokenRecord;
use fleet_types::Role;

use crate::api::tokens;
use crate::identity::Caller;
use crate::pages::form::Typed;
use crate::pages::layout::{Nav, Page, go, html_with};
use crate::problem::Problem;
use crate::state::AdminApi;

const DAYS: &str = "90";

#[derive(Template)]
#[template(path = "tokens.html")]
struct Tokens {
    page: Page,
    problem: Option<Problem>,
    tokens: Vec<TokenRecord>,
    roles: &'static [Role],
    form: Typed,
    days: String,
    made: Option<String>,
    made_name: String,
}

async fn page(
    api: &AdminApi,
    caller: &Caller,
    form: Typed,
    made: Result<Option<String>, Problem>,
) -> Result<Response, Problem> {
    let (made, problem) = match made {
        Ok(made) => (made, None),
        Err(problem) if problem.status.is_server_error() => return Err(problem),
        Err(problem) => (None, Some(problem)),
    };
    let status = problem
        .as_ref()
        .map_or(StatusCode::OK, |problem| problem.status);
    let made_name = form.get("name").to_owned();
    let tokens = Tokens {
        page: Page::load(api, caller, Nav::Tokens, "Tokens").await?,
        tokens: api.store().token_list().await?,
        roles: Role::ALL,
        days: match &problem {
            Some(_) => form.get("days").to_owned(),
            None => DAYS.to_owned(),
        },
        form: if problem.is_some() {
            form
        } else {
            Typed::default()
        },
        problem,
        made,
        made_name,
    };
    html_with(status, &tokens)
}

pub(crate) async fn show(
    State(api): State<AdminApi>,
    Extension(caller): Extension<Caller>,
) -> Result<Response, Problem> {
    page(&api, &caller, Typed::default(), Ok(None)).await
}

/// Makes one. No redirect here: the secret is in this answer, and nowhere else.
pub(crate) async fn create(
    State(api): State<AdminApi>,
    Extension(caller): Extension<Caller>,
    typed: Typed,
) -> Result<Response, Problem> {
    let mut fields = typed
        .object()
        .texts(&["name", "role"])
        .with(
            "expires_in_days",
            crate::pages::form::number(typed.get("days")),
        )
        .fields();
    let made = tokens::make(&api, &caller, &mut fields).await;
    page(&api, &caller, typed, made.map(|made| Some(made.token))).await
}

pub(crate) async fn revoke(
    State(api): State<AdminApi>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    tokens::revoke(State(api), Extension(caller), Path(id)).await?;
    Ok(go("/admin/tokens"))
}
