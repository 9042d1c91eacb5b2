//! Signing in and out, and the first admin.

use askama::Template;
use axum::Extension;
use axum::extract::State;
use axum::http::header::{RETRY_AFTER, SET_COOKIE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use fleet_types::LoginName;

use crate::api::params::Params;
use crate::identity::Caller;
use crate::pages::form::Typed;
use crate::pages::layout::{Page, go, html_with};
use crate::pages::overview::home;
use crate::problem::Problem;
use crate::sign_in::{SignInError, SignedIn, StoreIdentity};
use crate::state::AdminApi;

#[derive(Template)]
#[template(path = "login.html")]
struct Login {
    page: Page,
    problem: Option<Problem>,
    setup: bool,
    next: String,
    name: String,
}

impl Login {
    fn answer(self) -> Result<Response, Problem> {
        let status = self
            .problem
            .as_ref()
            .map_or(StatusCode::OK, |problem| problem.status);
        let mut response = html_with(status, &self)?;
        if let Some(seconds) = self.problem.and_then(|problem| problem.retry_after) {
            response.headers_mut().insert(RETRY_AFTER, seconds.into());
        }
        Ok(response)
    }
}

fn page(setup: bool) -> Login {
    Login {
        page: Page::bare(if setup { "Set up" } else { "Sign in" }),
        problem: None,
        setup,
        next: String::new(),
        name: String::new(),
    }
}

/// A path of our own pages; never another site.
fn safe_next(text: &str) -> Option<&str> {
    let own = ["/admin", "/dashboard"]
        .iter()
        .any(|start| text.starts_with(start));
    let plain = text.len() <= 2000 && !text.contains(['\\', '\r', '\n']) && text.is_ascii();
    (own && plain).then_some(text)
}

pub(crate) async fn show(params: Params) -> Result<Response, Problem> {
    let mut login = page(params.text("setup").is_some());
    login.next = params
        .text("next")
        .and_then(safe_next)
        .unwrap_or_default()
        .to_owned();
    login.answer()
}

fn sign_in_of(api: &AdminApi) -> Result<&StoreIdentity, Problem> {
    api.sign_in()
        .ok_or_else(|| Problem::not_found("people sign in elsewhere for this service"))
}

/// What to say on the form; what is a fault of ours is an error page.
fn wrong(error: SignInError) -> Result<Problem, Problem> {
    let problem = match error {
        // A page says it where it was typed; 401 would ask the browser for another way to sign in.
        SignInError::Wrong => Problem::new(StatusCode::FORBIDDEN, "wrong", error.to_string()),
        other => Problem::from(other),
    };
    if problem.status.is_server_error() {
        Err(problem)
    } else {
        Ok(Problem {
            status: match problem.status {
                StatusCode::TOO_MANY_REQUESTS => problem.status,
                _ => StatusCode::UNPROCESSABLE_ENTITY,
            },
            ..problem
        })
    }
}

fn welcome(api: &AdminApi, signed_in: &SignedIn, next: &str) -> Response {
    let mut response = go(safe_next(next).unwrap_or_else(|| home(api, signed_in.role)));
    if let Ok(cookie) = HeaderValue::from_str(&signed_in.set_cookie) {
        response.headers_mut().insert(SET_COOKIE, cookie);
    }
    response
}

pub(crate) async fn sign_in(
    State(api): State<AdminApi>,
    parts: Parts,
    typed: Typed,
) -> Result<Response, Problem> {
    let source = Caller::source_of(&parts);
    let (name, password) = (typed.get("name"), typed.raw("password").to_owned());
    let tried = sign_in_of(&api)?.sign_in(name, password, &source, &parts.headers);
    match tried.await {
        Ok(signed_in) => Ok(welcome(&api, &signed_in, typed.get("next"))),
        Err(error) => Login {
            problem: Some(wrong(error)?),
            next: safe_next(typed.get("next")).unwrap_or_default().to_owned(),
            name: fleet_types::printable(name),
            ..page(false)
        }
        .answer(),
    }
}

pub(crate) async fn setup(
    State(api): State<AdminApi>,
    parts: Parts,
    typed: Typed,
) -> Result<Response, Problem> {
    let source = Caller::source_of(&parts);
    let own = sign_in_of(&api)?;
    let problem = match typed.get("name").parse::<LoginName>() {
        Ok(name) => {
            let password = typed.raw("password").to_owned();
            match own
                .claim_setup(typed.get("secret"), name, password, &source)
                .await
            {
                Ok(signed_in) => return Ok(welcome(&api, &signed_in, "")),
                Err(error) => wrong(error)?,
            }
        }
        Err(error) => Problem::from(error),
    };
    Login {
        problem: Some(problem),
        name: fleet_types::printable(typed.get("name")),
        ..page(true)
    }
    .answer()
}

pub(crate) async fn sign_out(
    State(api): State<AdminApi>,
    Extension(caller): Extension<Caller>,
    _: HeaderMap,
) -> Result<Response, Problem> {
    let cookie = sign_in_of(&api)?.sign_out(&caller).await?;
    let mut response = go("/login");
    if let Ok(cookie) = HeaderValue::from_str(&cookie) {
        response.headers_mut().insert(SET_COOKIE, cookie);
    }
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::safe_next;

    #[test]
    fn nobody_is_sent_elsewhere() {
        for good in [
            "/admin/updates",
            "/admin/updates/hosts?search=a",
            "/dashboard",
        ] {
            assert_eq!(safe_next(good), Some(good));
        }
        for bad in [
            "",
            "/",
            "//evil.example",
            "https://evil.example",
            "/\\evil",
            "/admin\\x",
            "/admin\r\nx: y",
            "/logout",
        ] {
            assert_eq!(safe_next(bad), None, "{bad:?}");
        }
    }
}
