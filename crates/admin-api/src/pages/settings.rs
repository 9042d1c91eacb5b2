//! The settings in force.

use askama::Template;
use axum::Extension;
use axum::extract::State;
use axum::response::Response;

use crate::identity::Caller;
use crate::pages::layout::{Nav, Page, html};
use crate::problem::Problem;
use crate::state::AdminApi;

#[derive(Template)]
#[template(path = "settings.html")]
struct Settings {
    page: Page,
    rows: Vec<(&'static str, String, String)>,
}

pub(crate) async fn show(
    State(api): State<AdminApi>,
    Extension(caller): Extension<Caller>,
) -> Result<Response, Problem> {
    let entries = api.settings().shown.iter();
    let rows = entries.map(|entry| {
        let value = match (entry.value.as_deref(), entry.unit()) {
            (None, _) => "not set".to_owned(),
            (Some(value), None) => fleet_types::printable(value),
            (Some(value), Some(unit)) => format!("{} {unit}", fleet_types::printable(value)),
        };
        (entry.key, value, entry.origin.to_string())
    });
    html(&Settings {
        rows: rows.collect(),
        page: Page::load(&api, &caller, Nav::Settings, "Settings").await?,
    })
}
