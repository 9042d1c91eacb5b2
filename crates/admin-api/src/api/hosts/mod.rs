//! The inventory.

pub(crate) mod csv;
pub(crate) mod entry;
pub(crate) mod keys;
pub(crate) mod look;

use axum::extract::{Path, State};
use axum::http::header::{ETAG, HeaderName, LOCATION};
use axum::http::{HeaderMap, StatusCode};
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
use crate::api::params::{Link, Params};
use crate::api::tags;
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

/// A host with its tag, for those who may change it.
pub(crate) type Tagged = (Option<[(HeaderName, String); 1]>, Json<HostBody>);

async fn body(api: &AdminApi, caller: &Caller, record: HostRecord) -> Result<Tagged, Problem> {
    let host = api.store().host_view(&record.name, None).await?;
    let may_change = caller.role == Role::Admin;
    let tag = may_change.then(|| [(ETAG, tags::of_host(&record))]);
    let body = HostBody {
        host: host
            .ok_or_else(|| Problem::not_found(format!("there is no host {}", record.name)))?,
        host_keys: record
            .host_keys
            .iter()
            .map(|line| pinned_key(line))
            .collect(),
        entry: may_change.then(|| view::EnrolledHost::from(record).entry),
    };
    Ok((tag, Json(body)))
}

/// Which hosts are asked for.
fn asked(params: &Params) -> Result<HostQuery, Problem> {
    let text = |name| params.text(name).map(str::to_owned);
    Ok(HostQuery {
        status: params.all("status")?,
        health: params.parsed("health")?,
        version: text("version"),
        reason: params.all("reason")?,
        needs_attention: params.either("needs_attention")?,
        owner: text("owner"),
        search: text("search"),
        on: params.selection()?,
        ..HostQuery::default()
    })
}

/// The fleet by name.
#[utoipa::path(get, path = "/api/hosts", tag = "hosts",
    params(("status" = Option<String>, Query, description = "Of the last attempt; several with commas."),
        ("reason" = Option<String>, Query, description = "Why it ended so; several with commas."), ("health" = Option<String>, Query),
        ("version" = Option<String>, Query), ("needs_attention" = Option<bool>, Query, description = "`true`: those that a person must look at; `false`: the others."), ("owner" = Option<String>, Query),
        ("search" = Option<String>, Query, description = "A part of the name."),
        ("on" = Option<String>, Query, description = "Names, globs, `@label` or `@key=value`, each with `!` in front to leave it out; several with commas."), ("cursor" = Option<String>, Query),
        ("limit" = Option<u32>, Query, description = "1 to 1000; 100.")),
    responses((status = 200, body = HostsBody, headers(("Link" = String, description = "The next page, as `rel=\"next\"`.")))))]
pub(crate) async fn list(
    State(api): State<AdminApi>,
    params: Params,
) -> Result<(Link, Json<HostsBody>), Problem> {
    let query = HostQuery {
        after: params.text("cursor").map(str::to_owned),
        limit: params.limit(100, 1000)?,
        ..asked(&params)?
    };
    let page = api.store().host_page(query).await?;
    Ok((params.link(page.next.as_deref()), Json(page.into())))
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
    let added = body(&api, &caller, record).await?;
    Ok((StatusCode::CREATED, place, added).into_response())
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
    responses((status = 200, body = HostBody, headers(("ETag" = String, description = "For those who may change it: another one whenever somebody changed it."))), (status = 404, body = ProblemBody, content_type = "application/problem+json")))]
pub(crate) async fn show(
    State(api): State<AdminApi>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
) -> Result<Tagged, Problem> {
    let record = record(&api, &name).await?;
    body(&api, &caller, record).await
}

/// Changes a host. What is not said stays; null means the default, or none.
#[utoipa::path(put, path = "/api/hosts/{name}", tag = "hosts", request_body = EntryBody,
    params(("name" = String, Path), ("If-Match" = Option<String>, Header, description = "Only if this is its `ETag` still.")),
    responses((status = 200, body = HostBody), (status = 404, body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "`host_updating`, `host_restarting`, `duplicate_name`, `duplicate_repository`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 412, description = "`stale`: somebody changed it.", body = ProblemBody, content_type = "application/problem+json")))]
pub(crate) async fn edit(
    State(api): State<AdminApi>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    headers: HeaderMap,
    mut fields: Fields,
) -> Result<Tagged, Problem> {
    let known = record(&api, &name).await?;
    let only_as_seen = tags::only_as_seen(&headers, &known)?;
    let host = entry::read(&mut fields, Some(&known), api.settings());
    fields.check()?;
    let host = host.ok_or_else(|| Problem::field("invalid", "name", "is missing"))?;
    entry::judge(&host)?;
    let (store, actor) = (api.store(), caller.actor());
    let record = if only_as_seen {
        store.host_edit_seen(&known, host, &actor).await?
    } else {
        store.host_edit(&known.name, host, &actor).await?
    };
    body(&api, &caller, record).await
}

/// Takes a host out of the fleet. Its history stays.
#[utoipa::path(delete, path = "/api/hosts/{name}", tag = "hosts",
    params(("name" = String, Path), ("If-Match" = Option<String>, Header, description = "Only if this is its `ETag` still.")),
    responses((status = 204, description = "It is gone."), (status = 404, body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "`host_updating`, `host_restarting`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 412, description = "`stale`: somebody changed it.", body = ProblemBody, content_type = "application/problem+json")))]
pub(crate) async fn remove(
    State(api): State<AdminApi>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    let known = record(&api, &name).await?;
    let (store, actor) = (api.store(), caller.actor());
    if tags::only_as_seen(&headers, &known)? {
        store.host_remove_seen(&known, &actor).await?;
    } else {
        store.host_remove(&known.name, &actor).await?;
    }
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
) -> Result<Tagged, Problem> {
    api.store()
        .host_clear_attention(&host_name(&name)?, &caller.actor())
        .await?;
    let record = record(&api, &name).await?;
    body(&api, &caller, record).await
}

/// A host's part in each rollout, the latest first.
#[utoipa::path(get, path = "/api/hosts/{name}/history", tag = "hosts",
    params(("name" = String, Path), ("cursor" = Option<String>, Query), ("limit" = Option<u32>, Query, description = "1 to 200; 50.")),
    responses((status = 200, body = HistoryBody, headers(("Link" = String, description = "The next page, as `rel=\"next\"`."))), (status = 404, body = ProblemBody, content_type = "application/problem+json")))]
pub(crate) async fn history(
    State(api): State<AdminApi>,
    Path(name): Path<String>,
    params: Params,
) -> Result<(Link, Json<HistoryBody>), Problem> {
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
    let attempts = past.into_iter().map(PastAttemptView::from).collect();
    let link = params.link(next.as_deref());
    Ok((link, Json(HistoryBody { attempts, next })))
}
