//! What went wrong, as a page.

use askama::Template;
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::Response;

use crate::identity::Caller;
use crate::pages::layout::{Page, html_with};
use crate::pages::overview::home;
use crate::problem::Problem;
use crate::state::AdminApi;

#[derive(Template)]
#[template(path = "error.html")]
struct ErrorPage {
    page: Page,
    problem: Option<Problem>,
    /// Where to go from here.
    back: Option<(String, &'static str)>,
    request: String,
}

/// An error as a page, for a request whose path is one of a page; none leaves it as JSON. `parts` has the `Caller` only
/// when the request came that far.
pub(crate) fn error_page(
    api: &AdminApi,
    problem: &Problem,
    parts: &Parts,
    request_id: &str,
) -> Option<Response> {
    let title = match problem.status {
        StatusCode::UNAUTHORIZED => "Sign in first",
        StatusCode::FORBIDDEN => "Not allowed",
        StatusCode::NOT_FOUND => "Not found",
        StatusCode::CONFLICT => "That does not go together",
        StatusCode::TOO_MANY_REQUESTS => "Too often",
        status if status.is_client_error() => "That cannot be done",
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::BAD_GATEWAY => "Not at the moment",
        _ => "Something went wrong here",
    };
    let caller = parts.extensions.get::<Caller>().cloned();
    let back = match &caller {
        Some(caller) => Some((home(api, caller.role), "To the first page")),
        None if problem.status == StatusCode::UNAUTHORIZED => {
            api.sign_in_address().map(|address| (address, "Sign in"))
        }
        // Who was refused before anybody asked who they are may be signed in all the same: this leads them on.
        None => Some(("/admin", "To the first page")),
    };
    let mut page = Page::bare(title);
    page.caller = caller;
    page.dashboard = api.mounted().dashboard;
    let template = ErrorPage {
        page,
        problem: Some(problem.clone()),
        back: back.map(|(address, word)| (address.to_owned(), word)),
        request: request_id.to_owned(),
    };
    html_with(problem.status, &template).ok()
}
