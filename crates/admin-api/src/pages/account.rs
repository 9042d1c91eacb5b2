//! What everybody may do about themselves: change their password, and end their sessions elsewhere.

use askama::Template;
use axum::extract::{Path, State};
use axum::http::header::{RETRY_AFTER, SET_COOKIE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use axum::{Extension, Json};

use crate::api::me;
use crate::api::params::Params;
use crate::api::sessions::{self, EndedBody, SessionView};
use crate::identity::Caller;
use crate::pages::form::Typed;
use crate::pages::layout::{Nav, Page, go, html_with};
use crate::pages::show::plural;
use crate::problem::Problem;
use crate::state::AdminApi;

const HERE: &str = "/admin/account";
/// So many sessions are shown.
const MOST: usize = 50;

#[derive(Template)]
#[template(path = "account.html")]
struct Account {
    page: Page,
    problem: Option<Problem>,
    /// Whether there is a password here to change.
    own: bool,
    /// What was done just now.
    done: Done,
    sessions: Vec<SessionView>,
    /// Further ones that are not shown.
    more: usize,
}

/// What a page says was done just now.
#[derive(Default)]
struct Done {
    changed: bool,
    ended: Option<String>,
}

impl Account {
    /// Whether the caller is signed in elsewhere as well.
    fn elsewhere(&self) -> bool {
        self.sessions.iter().any(|session| !session.current)
    }
}

async fn page(
    api: &AdminApi,
    caller: &Caller,
    done: Done,
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
    let mut sessions = sessions::of_caller(api, caller).await?;
    let more = sessions.len().saturating_sub(MOST);
    sessions.truncate(MOST);
    let account = Account {
        own: page.signed_in() && api.sign_in().is_some(),
        page,
        problem,
        done,
        sessions,
        more,
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
    let done = Done {
        changed: params.text("changed").is_some(),
        ended: ended(&params),
    };
    page(&api, &caller, done, None).await
}

pub(crate) async fn change(
    State(api): State<AdminApi>,
    Extension(caller): Extension<Caller>,
    typed: Typed,
) -> Result<Response, Problem> {
    if typed.raw("password") != typed.raw("again") {
        let problem = Problem::field("invalid", "again", "the new password is not the same twice");
        return page(&api, &caller, Done::default(), Some(problem)).await;
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
        Err(problem) => page(&api, &caller, Done::default(), Some(problem)).await,
    }
}

/// How many sessions were ended just now, in words.
pub(super) fn ended(params: &Params) -> Option<String> {
    let ended: u32 = params.text("ended")?.parse().ok()?;
    Some(plural(ended, "session"))
}

pub(crate) async fn end(
    State(api): State<AdminApi>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let (state, who) = (State(api.clone()), Extension(caller.clone()));
    match sessions::end(state, who, Path(id)).await {
        Ok(_) => Ok(go(format!("{HERE}?ended=1"))),
        Err(problem) => page(&api, &caller, Done::default(), Some(problem)).await,
    }
}

pub(crate) async fn end_others(
    State(api): State<AdminApi>,
    Extension(caller): Extension<Caller>,
) -> Result<Response, Problem> {
    let (state, who) = (State(api.clone()), Extension(caller.clone()));
    match sessions::end_others(state, who).await {
        Ok(Json(EndedBody { ended })) => Ok(go(format!("{HERE}?ended={ended}"))),
        Err(problem) => page(&api, &caller, Done::default(), Some(problem)).await,
    }
}
