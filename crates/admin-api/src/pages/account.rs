//! What everybody may do about themselves: change their password.

use askama::Template;
use axum::Extension;
use axum::extract::State;
use axum::http::header::{RETRY_AFTER, SET_COOKIE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;

use crate::api::me;
use crate::api::params::Params;
use crate::identity::Caller;
use crate::pages::form::Typed;
use crate::pages::layout::{Nav, Page, go, html_with};
use crate::problem::Problem;
use crate::state::AdminApi;

const HERE: &str = "/admin/account";

#[derive(Template)]
#[template(path = "account.html")]
struct Account {
    page: Page,
    problem: Option<Problem>,
    /// Whether there is a password here to change.
    own: bool,
    changed: bool,
}

async fn page(
    api: &AdminApi,
    caller: &Caller,
    changed: bool,
    problem: Option<Problem>,
) -> Result<Response, Problem> {
    if let Some(problem) = problem.as_ref().filter(|p| p.status.is_server_error()) {
        return Err(problem.clone());
    }
    let status = problem
        .as_ref()
        .map_or(StatusCode::OK, |problem| problem.status);
    let retry_after = problem.as_ref().and_then(|problem| problem.retry_after);
    let page = Page::load(api, caller, Nav::Account, "Your account").await?;
    let account = Account {
        own: page.signed_in() && api.sign_in().is_some(),
        page,
        problem,
        changed,
    };
    let mut response = html_with(status, &account)?;
    if let Some(seconds) = retry_after {
        response.headers_mut().insert(RETRY_AFTER, seconds.into());
    }
    Ok(response)
}

pub(crate) async fn show(
    State(api): State<AdminApi>,
    Extension(caller): Extension<Caller>,
    params: Params,
) -> Result<Response, Problem> {
    let changed = params.text("changed").is_some();
    page(&api, &caller, changed, None).await
}

pub(crate) async fn change(
    State(api): State<AdminApi>,
    Extension(caller): Extension<Caller>,
    typed: Typed,
) -> Result<Response, Problem> {
    if typed.raw("password") != typed.raw("again") {
        let problem = Problem::field("invalid", "again", "the new password is not the same twice");
        return page(&api, &caller, false, Some(problem)).await;
    }
    let fields = typed
        .object()
        .with("old_password", typed.raw("old_password"))
        .with("password", typed.raw("password"))
        .fields();
    let done = me::set_password(State(api.clone()), Extension(caller.clone()), fields).await;
    match done {
        Ok(done) => {
            let mut response = go(format!("{HERE}?changed=1"));
            let cookie: Option<&HeaderValue> = done.headers().get(SET_COOKIE);
            if let Some(cookie) = cookie {
                response.headers_mut().insert(SET_COOKIE, cookie.clone());
            }
            Ok(response)
        }
        Err(problem) => page(&api, &caller, false, Some(problem)).await,
    }
}
