//! The fleet as a file for a spreadsheet.

use ::csv::Writer;
use axum::extract::State;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use fleet_store::HostQuery;
use fleet_types::{Timestamp, harmless_cell, printable, view};

use crate::api::openapi::ProblemBody;
use crate::api::params::Params;
use crate::api::updates::find;
use crate::problem::{Problem, internal};
use crate::state::AdminApi;

const COLUMNS: [&str; 16] = [
    "name",
    "address",
    "port",
    "user",
    "labels",
    "owner",
    "current_version",
    "previous_version",
    "target_version",
    "update_status",
    "reason",
    "needs_attention",
    "last_update_at",
    "health",
    "checked_at",
    "health_message",
];

/// Hosts read from the store at once.
const PAGE: u32 = 1000;

/// The fleet by name, or the hosts of a rollout, as comma-separated values; all of them in one answer.
#[utoipa::path(get, path = "/api/hosts.csv", tag = "hosts",
    params(("status" = Option<String>, Query, description = "Of the last attempt; several with commas."),
        ("reason" = Option<String>, Query, description = "Why it ended so; several with commas."), ("health" = Option<String>, Query),
        ("version" = Option<String>, Query), ("needs_attention" = Option<bool>, Query, description = "`true`: those that a person must look at; `false`: the others."), ("owner" = Option<String>, Query),
        ("search" = Option<String>, Query, description = "A part of the name."),
        ("on" = Option<String>, Query, description = "Names, globs, `@label` or `@key=value`, each with `!` in front to leave it out; several with commas."),
        ("rollout" = Option<String>, Query, description = "The hosts of this rollout, each with its part in it."), ("stage" = Option<u32>, Query),
        ("in_fleet" = Option<bool>, Query, description = "Of a rollout: `true` for those that are in the fleet still.")),
    responses((status = 200, description = "A heading, then one host a line.", body = String, content_type = "text/csv"),
        (status = 404, body = ProblemBody, content_type = "application/problem+json")))]
pub(crate) async fn list(State(api): State<AdminApi>, params: Params) -> Result<Response, Problem> {
    let mut query = HostQuery {
        stage: params.parsed("stage")?,
        in_fleet: params.flag("in_fleet")?,
        limit: PAGE,
        // Nobody is told, and counting goes over all hosts for each page.
        uncounted: true,
        ..super::asked(&params)?
    };
    if let Some(id) = params.text("rollout") {
        query.rollout = Some(find::rollout(&api, id).await?);
    }
    let mut file = Writer::from_writer(Vec::new());
    file.write_record(COLUMNS)
        .map_err(|error| internal(&error))?;
    loop {
        let page = api.store().host_page(query.clone()).await?;
        for host in page.items {
            let cells = cells(host).map(|cell| harmless_cell(&cell));
            file.write_record(cells).map_err(|error| internal(&error))?;
        }
        query.after = page.next;
        if query.after.is_none() {
            break;
        }
    }
    let file = file.into_inner().map_err(|error| internal(error.error()))?;
    let headers = [
        (CONTENT_TYPE, "text/csv; charset=utf-8"),
        (CONTENT_DISPOSITION, "attachment; filename=\"hosts.csv\""),
    ];
    Ok((headers, file).into_response())
}

fn cells(host: view::Host) -> [String; COLUMNS.len()] {
    let shown = |text: Option<String>| text.as_deref().map_or_else(String::new, printable);
    let at = |time: Option<Timestamp>| time.map_or_else(String::new, |time| time.to_string());
    let reason = host.attempt.and_then(|attempt| attempt.reason);
    [
        host.name,
        host.address,
        host.port.to_string(),
        host.user,
        labels(&host.labels),
        shown(host.owner),
        shown(host.current_version),
        shown(host.previous_version),
        shown(host.target_version),
        host.update_status
            .map_or_else(String::new, |status| status.to_string()),
        shown(reason),
        host.needs_attention.to_string(),
        at(host.last_update_at),
        host.health.to_string(),
        at(host.checked_at),
        shown(host.health_message),
    ]
}

/// Labels as the command line writes them to a file of hosts.
fn labels(labels: &std::collections::BTreeMap<String, String>) -> String {
    let one = |(key, value): (&String, &String)| {
        if value.is_empty() {
            key.clone()
        } else {
            format!("{key}={value}")
        }
    };
    let all: Vec<String> = labels.iter().map(one).collect();
    printable(&all.join(";"))
}
