//! What an owner sees: their own instances, and nothing else.

use askama::Template;
use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use fleet_store::HostQuery;
use fleet_types::Timestamp;

use crate::api::me::{InstanceView, newest};
use crate::api::params::Params;
use crate::identity::Caller;
use crate::pages::hosts::query;
use crate::pages::layout::{Nav, Page, html};
use crate::pages::show;
use crate::problem::Problem;
use crate::state::AdminApi;

#[derive(Template)]
#[template(path = "dashboard.html")]
struct Dashboard {
    page: Page,
    rows: Vec<Row>,
    next: Option<String>,
}

struct Row {
    name: String,
    sign: &'static str,
    word: &'static str,
    version: String,
    current: &'static str,
    at: Option<Timestamp>,
    seen: Option<Timestamp>,
}

impl From<InstanceView> for Row {
    fn from(instance: InstanceView) -> Self {
        let (sign, word) = match instance.state {
            "running" => ("success", "running"),
            "updating" => ("updating", "being updated"),
            "down" => ("failed", "not running"),
            _ => ("pending", "not known"),
        };
        Self {
            name: instance.name,
            sign,
            word,
            version: show::short_or(instance.version.as_ref(), "not known"),
            current: match instance.up_to_date {
                Some(true) => "yes",
                Some(false) => "no",
                None => "not known",
            },
            at: instance.updated_at,
            seen: instance.seen_at,
        }
    }
}

pub(crate) async fn show(
    State(api): State<AdminApi>,
    Extension(caller): Extension<Caller>,
    params: Params,
) -> Result<Response, Problem> {
    let asked = HostQuery {
        owner: Some(caller.name.clone()),
        after: params.text("cursor").map(str::to_owned),
        limit: 100,
        ..HostQuery::default()
    };
    let found = api.store().host_page(asked).await?;
    let newest = newest(&api).await?;
    let rows = found
        .items
        .into_iter()
        .map(|host| InstanceView::of(host, newest.as_deref()));
    html(&Dashboard {
        page: Page::load(&api, &caller, Nav::Dashboard, "Your instances").await?,
        rows: rows.map(Row::from).collect(),
        next: found
            .next
            .map(|next| query("/dashboard", &[], "cursor", &next)),
    })
}
