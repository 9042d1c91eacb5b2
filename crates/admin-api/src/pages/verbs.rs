//! Pause, resume, abort.

use askama::Template;
use axum::Extension;
use axum::extract::{Path, State};
use axum::response::Response;

use crate::api::updates::{find, rollout_view};
use crate::identity::Caller;
use crate::pages::layout::{Nav, Page, go, html};
use crate::pages::show;
use crate::problem::Problem;
use crate::state::AdminApi;

/// A question with one way to go on.
#[derive(Template)]
#[template(path = "confirm.html")]
pub(crate) struct Confirm {
    pub(crate) page: Page,
    pub(crate) lines: Vec<String>,
    pub(crate) action: String,
    pub(crate) back: String,
    pub(crate) keep: &'static str,
    pub(crate) button: &'static str,
}

pub(crate) async fn pause(
    State(api): State<AdminApi>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let id = find::rollout(&api, &id).await?;
    api.orchestrator().pause(id, &caller.actor()).await?;
    Ok(go(format!("/admin/updates/rollouts/{id}")))
}

pub(crate) async fn resume(
    State(api): State<AdminApi>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let id = find::rollout(&api, &id).await?;
    api.orchestrator().resume(id, &caller.actor()).await?;
    Ok(go(format!("/admin/updates/rollouts/{id}")))
}

pub(crate) async fn ask_abort(
    State(api): State<AdminApi>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let id = find::rollout(&api, &id).await?;
    let rollout = rollout_view(&api, id).await?;
    let title = format!("Abort rollout {}?", id.short());
    let counts = rollout.counts;
    let lines = vec![
        format!(
            "{} under way: they finish or roll back first.",
            show::hosts(counts.updating)
        ),
        format!("{} on the target stay there.", show::hosts(counts.success)),
        format!(
            "{} waiting are not started and stay on their version.",
            show::hosts(counts.pending)
        ),
        "To bring the updated ones back, use Roll back afterwards.".to_owned(),
    ];
    html(&Confirm {
        page: Page::load(&api, &caller, Nav::Rollouts, title).await?,
        lines,
        action: format!("/admin/updates/rollouts/{id}/abort"),
        back: format!("/admin/updates/rollouts/{id}"),
        keep: "Keep running",
        button: "Abort",
    })
}

pub(crate) async fn abort(
    State(api): State<AdminApi>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let id = find::rollout(&api, &id).await?;
    api.orchestrator().abort(id, &caller.actor()).await?;
    Ok(go(format!("/admin/updates/rollouts/{id}")))
}
