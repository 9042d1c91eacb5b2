//! Who did what.

use askama::Template;
use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use fleet_store::{AuditId, AuditQuery, AuditRecord};
use fleet_types::{AuditResult, Timestamp, printable};

use crate::api::params::Params;
use crate::identity::Caller;
use crate::pages::form::Typed;
use crate::pages::hosts::query;
use crate::pages::layout::{Nav, Page, html};
use crate::problem::Problem;
use crate::state::AdminApi;

const PAGE: u32 = 100;

#[derive(Template)]
#[template(path = "audit.html")]
struct AuditPage {
    page: Page,
    form: Typed,
    rows: Vec<Row>,
    next: Option<String>,
}

struct Row {
    at: Timestamp,
    who: String,
    source: String,
    action: String,
    subject: String,
    result: AuditResult,
    denied: bool,
    detail: String,
}

impl From<AuditRecord> for Row {
    fn from(row: AuditRecord) -> Self {
        let text = |text: Option<String>| text.as_deref().map_or_else(String::new, printable);
        Self {
            at: row.at,
            who: printable(&row.actor.name),
            source: printable(&row.actor.source),
            action: printable(&row.action),
            subject: text(row.subject),
            result: row.result,
            denied: row.result != AuditResult::Done,
            detail: text(row.detail),
        }
    }
}

pub(crate) async fn show(
    State(api): State<AdminApi>,
    Extension(caller): Extension<Caller>,
    params: Params,
) -> Result<Response, Problem> {
    let text = |name| params.text(name).map(str::to_owned);
    let asked = AuditQuery {
        before: params.parsed::<i64>("before")?.map(AuditId),
        actor: text("actor"),
        action: text("action"),
        since: None,
        limit: PAGE + 1,
    };
    let kept: Vec<(String, String)> = ["actor", "action"]
        .into_iter()
        .filter_map(|name| Some((name.to_owned(), text(name)?)))
        .collect();
    let mut rows = api.store().audit_list(asked).await?;
    let more = rows.len() > PAGE as usize;
    rows.truncate(PAGE as usize);
    let next = rows
        .last()
        .filter(|_| more)
        .map(|last| query("/admin/audit", &kept, "before", &last.id.0.to_string()));
    html(&AuditPage {
        page: Page::load(&api, &caller, Nav::Audit, "Audit").await?,
        form: Typed::of(kept),
        rows: rows.into_iter().map(Row::from).collect(),
        next,
    })
}
