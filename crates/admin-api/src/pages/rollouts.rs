//! Every rollout, the latest first.

use askama::Template;
use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use fleet_store::{RolloutQuery, RolloutRecord};
use fleet_types::{RolloutId, RolloutKind, RolloutState, Timestamp, printable};

use crate::api::params::Params;
use crate::identity::Caller;
use crate::pages::form::Typed;
use crate::pages::hosts::query;
use crate::pages::layout::{Nav, Page, html};
use crate::pages::rollout_shown::state_word;
use crate::pages::show;
use crate::problem::Problem;
use crate::state::AdminApi;

const PAGE: u32 = 50;

#[derive(Template)]
#[template(path = "rollouts.html")]
struct Rollouts {
    page: Page,
    form: Typed,
    states: Vec<(String, &'static str)>,
    rows: Vec<Row>,
    next: Option<String>,
}

struct Row {
    id: RolloutId,
    active: bool,
    sign: &'static str,
    word: &'static str,
    kind: RolloutKind,
    to: String,
    hosts: u32,
    by: String,
    at: Timestamp,
    took: String,
    message: String,
}

impl From<RolloutRecord> for Row {
    fn from(record: RolloutRecord) -> Self {
        let to = record
            .target
            .as_ref()
            .map_or(record.target_ref.as_str(), |commit| commit.short());
        Self {
            id: record.id,
            active: record.state.is_active(),
            sign: show::rollout_state(record.state),
            word: state_word(record.state),
            kind: record.kind,
            to: match record.kind {
                RolloutKind::Rollback => "their previous ones".to_owned(),
                _ => printable(show::short(to)),
            },
            hosts: record.hosts,
            by: printable(&record.started_by),
            at: record.created_at,
            took: record.finished_at.map_or_else(String::new, |end| {
                show::duration(end.since(record.created_at).as_secs_f64())
            }),
            message: record
                .message
                .as_deref()
                .map_or_else(String::new, printable),
        }
    }
}

pub(crate) async fn show(
    State(api): State<AdminApi>,
    Extension(caller): Extension<Caller>,
    params: Params,
) -> Result<Response, Problem> {
    let text = |name| params.text(name).map(str::to_owned);
    let asked = RolloutQuery {
        state: params.all("state")?,
        started_by: text("by"),
        before: params.parsed("before")?,
        limit: PAGE + 1,
    };
    let kept = [("state", params.joined("state")), ("by", text("by"))];
    let kept: Vec<(String, String)> = kept
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)))
        .collect();
    let page = Page::load(&api, &caller, Nav::Rollouts, "Rollouts").await?;
    let page = page.listen(&api, None).await?;
    let mut records = api.store().rollouts_matching(asked).await?;
    let more = records.len() > PAGE as usize;
    records.truncate(PAGE as usize);
    let next = records.last().filter(|_| more).map(|last| {
        let last = last.id.to_string();
        query("/admin/updates/rollouts", &kept, "before", &last)
    });
    html(&Rollouts {
        page,
        states: RolloutState::ALL
            .iter()
            .map(|state| (state.to_string(), state_word(*state)))
            .collect(),
        form: Typed::of(kept),
        rows: records.into_iter().map(Row::from).collect(),
        next,
    })
}
