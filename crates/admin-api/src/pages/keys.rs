//! Host keys, compared by a person before they are pinned.

use askama::Template;
use axum::extract::{Path, State};
use axum::http::header::IF_MATCH;
use axum::http::{HeaderMap, HeaderValue};
use axum::response::Response;
use axum::{Extension, Json};
use fleet_types::view;

use crate::api::hosts::{self, ScanBody, pinned_key, record};
use crate::api::tags;
use crate::identity::Caller;
use crate::pages::form::Typed;
use crate::pages::layout::{Nav, Page, go, html_with};
use crate::problem::Problem;
use crate::state::AdminApi;

#[derive(Template)]
#[template(path = "keys.html")]
struct Keys {
    page: Page,
    problem: Option<Problem>,
    name: String,
    pinned: Vec<view::HostKey>,
    scan: Option<ScanBody>,
    /// The tag of the host that was asked for its keys.
    seen: String,
    finding: &'static str,
    finding_tone: &'static str,
}

async fn page(
    api: &AdminApi,
    caller: &Caller,
    name: &str,
    scanned: Option<(ScanBody, String)>,
    problem: Option<Problem>,
) -> Result<Response, Problem> {
    let known = record(api, name).await?;
    let (scan, seen) = scanned.unzip();
    let (finding, finding_tone) = match scan.as_ref().map_or("", |scan| scan.finding) {
        "new" => ("No key was pinned before.", ""),
        "unchanged" => ("These are the pinned ones.", "ok"),
        "rotated" => (
            "Some of the pinned keys are still shown, others are new.",
            "warn",
        ),
        _ => (
            "None of the pinned keys is shown: the host was set up anew, or it is another machine that answers.",
            "bad",
        ),
    };
    let title = format!("Host keys of {}", known.name);
    let status = problem
        .as_ref()
        .map_or(axum::http::StatusCode::OK, |p| p.status);
    let keys = Keys {
        page: Page::load(api, caller, Nav::Hosts, title).await?,
        problem,
        name: known.name.to_string(),
        pinned: known
            .host_keys
            .iter()
            .map(|line| pinned_key(line))
            .collect(),
        scan,
        seen: seen.unwrap_or_default(),
        finding,
        finding_tone,
    };
    html_with(status, &keys)
}

pub(crate) async fn show(
    State(api): State<AdminApi>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    page(&api, &caller, &name, None, None).await
}

pub(crate) async fn scan(
    State(api): State<AdminApi>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    // Taken before the host is asked: keys of an address that is changed meanwhile are not pinned.
    let seen = tags::of_host(&record(&api, &name).await?);
    let asked = hosts::scan(
        State(api.clone()),
        Extension(caller.clone()),
        Path(name.clone()),
        crate::api::body::Fields::default(),
    );
    match asked.await {
        Ok(Json(scan)) => page(&api, &caller, &name, Some((scan, seen)), None).await,
        Err(problem) => page(&api, &caller, &name, None, Some(problem)).await,
    }
}

pub(crate) async fn pin(
    State(api): State<AdminApi>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    typed: Typed,
) -> Result<Response, Problem> {
    let fields = typed.object().with("keys", typed.all("key")).fields();
    let mut headers = HeaderMap::new();
    if typed.has("seen") {
        let seen = HeaderValue::from_str(typed.get("seen"));
        headers.insert(IF_MATCH, seen.unwrap_or(HeaderValue::from_static("\"\"")));
    }
    let pinned = hosts::pin(
        State(api.clone()),
        Extension(caller.clone()),
        Path(name.clone()),
        headers,
        fields,
    );
    match pinned.await {
        Ok(_) => Ok(go(format!(
            "/admin/updates/hosts/{}",
            hosts::host_name(&name)?
        ))),
        Err(mut problem) => {
            if problem.code == "stale" {
                problem
                    .detail
                    .push_str(". Nothing was pinned: fetch the keys once more.");
            }
            page(&api, &caller, &name, None, Some(problem)).await
        }
    }
}
