//! Looking at one host now, and what came of it.

use askama::Template;
use axum::Extension;
use axum::extract::{Path, State};
use axum::response::Response;
use fleet_types::{printable, view};

use crate::api::hosts::look::{check_and_note, look_in_time};
use crate::api::hosts::record;
use crate::identity::Caller;
use crate::pages::layout::{Nav, Page, html};
use crate::pages::show;
use crate::problem::Problem;
use crate::state::AdminApi;

#[derive(Template)]
#[template(path = "look.html")]
struct Looked {
    page: Page,
    name: String,
    /// The sign of the service's health, the word for it, and what was seen.
    health: (&'static str, String, String),
    reachable: bool,
    on: Option<String>,
    problems: Vec<String>,
}

/// Looks at the service, then whether the host could be updated as it is, and changes nothing on it.
pub(crate) async fn check(
    State(api): State<AdminApi>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    let host = record(&api, &name).await?;
    let look = look_in_time(api.clone(), caller.clone(), host.clone(), false);
    let check = check_and_note(api.clone(), caller.clone(), host.clone());
    // Side by side, for one limit on the time is for both.
    let (health, check) = tokio::join!(look, check);
    let check = check?;
    let title = format!("A look at {}", host.name);
    html(&Looked {
        page: Page::load(&api, &caller, Nav::Hosts, title).await?,
        name: host.name.to_string(),
        health: told(health),
        reachable: check.reachable,
        on: check.seen.map(on),
        problems: check
            .problems
            .iter()
            .map(|problem| printable(&problem.message))
            .collect(),
    })
}

/// Which commit and branch a host is on.
fn on(seen: view::HostSeen) -> String {
    let version = show::short_or(seen.version.as_ref(), "version not known");
    match seen.branch {
        Some(branch) => printable(&format!("{version} ({branch})")),
        None => printable(&version),
    }
}

fn told(health: Result<Option<view::HealthCheck>, Problem>) -> (&'static str, String, String) {
    match health {
        Ok(Some(seen)) => (
            show::health_state(seen.health),
            seen.health.to_string(),
            printable(&seen.message),
        ),
        Ok(None) => (
            "updating",
            "left alone".to_owned(),
            "a rollout is working on it".to_owned(),
        ),
        Err(problem) => (
            "pending",
            "not known".to_owned(),
            printable(&problem.detail),
        ),
    }
}
