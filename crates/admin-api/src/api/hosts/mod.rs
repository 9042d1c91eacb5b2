//! The inventory.

pub(crate) mod csv;
pub(crate) mod entry;
pub(crate) mod keys;
pub(crate) mod look;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::http::header::LOCATION;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Extension, Json, Router};
use fleet_store::{HostQuery, HostRecord, Page, PastAttempt};
use fleet_types::{HostName, Role, RolloutId, Timestamp, printable, view};
use serde::Serialize;
use utoipa::ToSchema;

pub(crate) use entry::{EntryBody, ImportBody};
pub(crate) use keys::{__path_pin, __path_scan, ScanBody, pin, pinned_key, scan};

use crate::api::body::Fields;
use crate::api::openapi::ProblemBody;
use crate::api::params::Params;
use crate::identity::Caller;
use crate::problem::Problem;
use crate::state::AdminApi;

pub(crate) fn routes() -> Router<AdminApi> {
    Router::new()
        .route("/api/hosts", get(list).post(add))
        .route("/api/hosts.csv", get(csv::list))
        .route("/api/hosts/import", post(import))
        .route("/api/hosts/{name}", get(show).put(edit).delete(remove))
        .route("/api/hosts/{name}/keys", put(pin))
        .route("/api/hosts/{name}/scan", post(scan))
        .route("/api/hosts/{name}/check", post(look::check))
        .route("/api/hosts/{name}/health", post(look::health))
        .route("/api/hosts/{name}/clear", post(clear))
        .route("/api/hosts/{name}/history", get(history))
}

/// Hosts, in pages.
#[derive(Serialize, ToSchema)]
pub(crate) struct HostsBody {
    hosts: Vec<view::Host>,
    /// The `cursor` of the next page; null at the end.
    next: Option<String>,
    /// How many match in all.
    total: u32,
}

impl From<Page<view::Host>> for HostsBody {
    fn from(page: Page<view::Host>) -> Self {
        Self {
            hosts: page.items,
            next: page.next,
            total: page.total,
        }
    }
}

/// One host.
#[derive(Serialize, ToSchema)]
pub(crate) struct HostBody {
    host: view::Host,
    /// Its pinned host keys.
    host_keys: Vec<view::HostKey>,
    /// The whole entry, as it can be sent back; for those who may change it.
    #[serde(skip_serializing_if = "Option::is_none")]
    entry: Option<view::HostEntry>,
}

/// Hosts that were added.
#[derive(Serialize, ToSchema)]
pub(crate) struct AddedBody {
    /// Their names.
    #[schema(value_type = Vec<String>)]
    added: Vec<HostName>,
}

/// A host's part in each rollout, the latest first.
#[derive(Serialize, ToSchema)]
pub(crate) struct HistoryBody {
    attempts: Vec<PastAttemptView>,
    /// The `cursor` of the next page; null at the end.
    next: Option<String>,
}

/// A host's part in an earlier rollout.
#[derive(Serialize, ToSchema)]
#[schema(as = PastAttempt)]
pub(crate) struct PastAttemptView {
    attempt: view::Attempt,
    target: view::Target,
    /// The version before.
    from: Option<String>,
    /// The version it was to be on.
    to: Option<String>,
    started_at: Option<Timestamp>,
    finished_at: Option<Timestamp>,
}

impl From<PastAttempt> for PastAttemptView {
    fn from(past: PastAttempt) -> Self {
        Self {
            attempt: past.attempt,
            target: past.target,
            from: past.from,
            to: past.to,
            started_at: past.started_at,
            finished_at: past.finished_at,
        }
    }
}

/// A host's name from a path. What cannot be a name is no host.
pub(crate) fn host_name(text: &str) -> Result<HostName, Problem> {
    let shown: String = printable(text).chars().take(100).collect();
    text.parse()
        .map_err(|_| Problem::not_found(format!("there is no host {shown}")))
}

pub(crate) async fn record(api: &AdminApi, text: &str) -> Result<HostRecord, Problem> {
    let name = host_name(text)?;
    let found = api.store().host_get(&name).await?;
    found.ok_or_else(|| Problem::not_found(format!("there is no host {name}")))
}

async fn body(api: &AdminApi, caller: &Caller, record: HostRecord) -> Result<HostBody, Problem> {
    let host = api.store().host_view(&record.name, None).await?;
    Ok(HostBody {
        host: host
            .ok_or_else(|| Problem::not_found(format!("there is no host {}", record.name)))?,
        host_keys: record
            .host_keys
            .iter()
            .map(|line| pinned_key(line))
            .collect(),
        entry: (caller.role == Role::Admin).then(|| view::EnrolledHost::from(record).entry),
    })
}

/// Which hosts are asked for.
fn asked(params: &Params) -> Result<HostQuery, Problem> {
    let text = |name| params.text(name).map(str::to_owned);
    Ok(HostQuery {
        status: params.all("status")?,
        health: params.parsed("health")?,
        version: text("version"),
        needs_attention: params.flag("needs_attention")?,
        owner: text("owner"),
        search: text("search"),
        on: params.selection()?,
        ..HostQuery::default()
    })
}

/// The fleet by name.
#[utoipa::path(get, path = "/api/hosts", tag = "hosts",
    params(("status" = Option<String>, Query, description = "Of the last attempt; several with commas."), ("health" = Option<String>, Query),
        ("version" = Option<String>, Query), ("needs_attention" = Option<bool>, Query), ("owner" = Option<String>, Query),
        ("search" = Option<String>, Query, description = "A part of the name."),
        ("on" = Option<String>, Query, description = "Names, globs, `@label` or `@key=value`, each with `!` in front to leave it out; several with commas."), ("cursor" = Option<String>, Query),
        ("limit" = Option<u32>, Query, description = "1 to 1000; 100.")),
    responses((status = 200, body = HostsBody)))]
pub(crate) async fn list(
    State(api): State<AdminApi>,
    params: Params,
) -> Result<Json<HostsBody>, Problem> {
    let query = HostQuery {
        after: params.text("cursor").map(str::to_owned),
        limit: params.limit(100, 1000)?,
        ..asked(&params)?
    };
    Ok(Json(api.store().host_page(query).await?.into()))
}

/// Adds a host.
#[utoipa::path(post, path = "/api/hosts", tag = "hosts", request_body = EntryBody,
    responses((status = 201, body = HostBody),
        (status = 409, description = "`duplicate_name`, `duplicate_repository`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 422, body = ProblemBody, content_type = "application/problem+json")))]
pub(crate) async fn add(
    State(api): State<AdminApi>,
    Extension(caller): Extension<Caller>,
    mut fields: Fields,
) -> Result<Response, Problem> {
    let host = entry::read(&mut fields, None, api.settings());
    fields.check()?;
    host.iter().try_for_each(entry::judge)?;
    let added = api
        .store()
        .host_add(host.into_iter().collect(), &caller.actor())
        .await?;
    let Some(record) = added.into_iter().next() else {
        return Err(Problem::field("invalid", "name", "is missing"));
    };
    let place = [(LOCATION, format!("/api/hosts/{}", record.name))];
    Ok((
        StatusCode::CREATED,
        place,
        Json(body(&api, &caller, record).await?),
    )
        .into_response())
}

/// Adds all of these hosts, or none when one of them is refused.
#[utoipa::path(post, path = "/api/hosts/import", tag = "hosts", request_body = ImportBody,
    responses((status = 201, body = AddedBody),
        (status = 409, description = "`duplicate_name`, `duplicate_repository`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 422, body = ProblemBody, content_type = "application/problem+json")))]
pub(crate) async fn import(
    State(api): State<AdminApi>,
    Extension(caller): Extension<Caller>,
    mut fields: Fields,
) -> Result<Response, Problem> {
    let mut hosts = Vec::new();
    for mut inner in fields.objects("hosts") {
        hosts.extend(entry::read(&mut inner, None, api.settings()));
        fields.absorb(inner);
    }
    if hosts.is_empty() {
        fields.wrong("hosts", "has no hosts");
    }
    fields.check()?;
    hosts.iter().try_for_each(entry::judge)?;
    let added = api.store().host_add(hosts, &caller.actor()).await?;
    let added = added.into_iter().map(|record| record.name).collect();
    Ok((StatusCode::CREATED, Json(AddedBody { added })).into_response())
}

/// One host.
#[utoipa::path(get, path = "/api/hosts/{name}", tag = "hosts", params(("name" = String, Path)),
    responses((status = 200, body = HostBody), (status = 404, body = ProblemBody, content_type = "application/problem+json")))]
pub(crate) async fn show(
    State(api): State<AdminApi>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
) -> Result<Json<HostBody>, Problem> {
    let record = record(&api, &name).await?;
    Ok(Json(body(&api, &caller, record).await?))
}

/// Changes a host. What is not said stays; null means the default, or none.
#[utoipa::path(put, path = "/api/hosts/{name}", tag = "hosts", params(("name" = String, Path)), request_body = EntryBody,
    responses((status = 200, body = HostBody), (status = 404, body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "`host_updating`, `duplicate_name`, `duplicate_repository`", body = ProblemBody, content_type = "application/problem+json")))]
pub(crate) async fn edit(
    State(api): State<AdminApi>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    mut fields: Fields,
) -> Result<Json<HostBody>, Problem> {
    let known = record(&api, &name).await?;
    let host = entry::read(&mut fields, Some(&known), api.settings());
    fields.check()?;
    let host = host.ok_or_else(|| Problem::field("invalid", "name", "is missing"))?;
    entry::judge(&host)?;
    let record = api
        .store()
        .host_edit(&known.name, host, &caller.actor())
        .await?;
    Ok(Json(body(&api, &caller, record).await?))
}

/// Takes a host out of the fleet. Its history stays.
#[utoipa::path(delete, path = "/api/hosts/{name}", tag = "hosts", params(("name" = String, Path)),
    responses((status = 204, description = "It is gone."), (status = 404, body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "`host_updating`", body = ProblemBody, content_type = "application/problem+json")))]
pub(crate) async fn remove(
    State(api): State<AdminApi>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
) -> Result<StatusCode, Problem> {
    api.store()
        .host_remove(&host_name(&name)?, &caller.actor())
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Clears the mark that a person must look at the host.
#[utoipa::path(post, path = "/api/hosts/{name}/clear", tag = "hosts", params(("name" = String, Path)),
    responses((status = 200, body = HostBody), (status = 404, body = ProblemBody, content_type = "application/problem+json")))]
pub(crate) async fn clear(
    State(api): State<AdminApi>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    _: Fields,
) -> Result<Json<HostBody>, Problem> {
    api.store()
        .host_clear_attention(&host_name(&name)?, &caller.actor())
        .await?;
    let record = record(&api, &name).await?;
    Ok(Json(body(&api, &caller, record).await?))
}

/// A host's part in each rollout, the latest first.
#[utoipa::path(get, path = "/api/hosts/{name}/history", tag = "hosts",
    params(("name" = String, Path), ("cursor" = Option<String>, Query), ("limit" = Option<u32>, Query, description = "1 to 200; 50.")),
    responses((status = 200, body = HistoryBody), (status = 404, body = ProblemBody, content_type = "application/problem+json")))]
pub(crate) async fn history(
    State(api): State<AdminApi>,
    Path(name): Path<String>,
    params: Params,
) -> Result<Json<HistoryBody>, Problem> {
    let limit = params.limit(50, 200)?;
    let before: Option<RolloutId> = params.parsed("cursor")?;
    let known = record(&api, &name).await?;
    let mut past = api
        .store()
        .host_history(&known.name, before, limit + 1)
        .await?;
    let wanted = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = past.len() > wanted;
    past.truncate(wanted);
    let next = past
        .last()
        .filter(|_| more)
        .map(|past| past.attempt.rollout.to_string());
    Ok(Json(HistoryBody {
        attempts: past.into_iter().map(PastAttemptView::from).collect(),
        next,
    }))
}
