//! Hosts added, changed, imported, removed.

use askama::Template;
use axum::Extension;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use fleet_store::HostRecord;
use serde_json::{Map, Value};

use crate::api::body::Fields;
use crate::api::hosts::{entry, host_name, record};
use crate::identity::Caller;
use crate::pages::form::{self, Typed};
use crate::pages::hosts::labels;
use crate::pages::layout::{Nav, Page, go, html, html_with};
use crate::pages::verbs::Confirm;
use crate::problem::Problem;
use crate::state::AdminApi;

#[derive(Template)]
#[template(path = "host_form.html")]
struct HostForm {
    page: Page,
    problem: Option<Problem>,
    form: Typed,
    action: String,
    back: String,
}

#[derive(Template)]
#[template(path = "import.html")]
struct Import {
    page: Page,
    problem: Option<Problem>,
    form: Typed,
}

fn status(problem: Option<&Problem>) -> StatusCode {
    problem.map_or(StatusCode::OK, |problem| problem.status)
}

/// Back to the form with what is wrong, unless it is a fault of ours.
fn mine(problem: Problem) -> Result<Problem, Problem> {
    if problem.status.is_server_error() {
        Err(problem)
    } else {
        Ok(problem)
    }
}

/// Labels as JSON: `region=eu plan` is `{"region":"eu","plan":""}`.
fn label_map(text: &str) -> Value {
    let pairs = form::split(text).map(|word| {
        let (key, value) = word.split_once('=').unwrap_or((word, ""));
        (key.to_owned(), Value::from(value))
    });
    Value::Object(pairs.collect())
}

fn fields(typed: &Typed) -> Fields {
    typed
        .object()
        .texts(&[
            "name", "address", "user", "key", "owner", "repo", "remote", "branch", "service",
            "install", "verify",
        ])
        .numbers(&["port"])
        .words("jump", form::text)
        .with("labels", label_map(typed.get("labels")))
        .fields()
}

async fn form(
    api: &AdminApi,
    caller: &Caller,
    known: Option<&str>,
    typed: Typed,
    problem: Option<Problem>,
) -> Result<Response, Problem> {
    let (title, action, back) = match known {
        None => (
            "Add a host".to_owned(),
            "/admin/hosts/new".to_owned(),
            "/admin/updates/hosts".to_owned(),
        ),
        Some(name) => (
            format!("Edit {name}"),
            format!("/admin/hosts/{name}/edit"),
            format!("/admin/updates/hosts/{name}"),
        ),
    };
    let page = Page::load(api, caller, Nav::Hosts, title).await?;
    html_with(
        status(problem.as_ref()),
        &HostForm {
            page,
            problem,
            form: typed,
            action,
            back,
        },
    )
}

pub(crate) async fn new(
    State(api): State<AdminApi>,
    Extension(caller): Extension<Caller>,
) -> Result<Response, Problem> {
    form(&api, &caller, None, Typed::default(), None).await
}

async fn save(
    api: &AdminApi,
    caller: &Caller,
    typed: &Typed,
    known: Option<&HostRecord>,
) -> Result<String, Problem> {
    let mut fields = fields(typed);
    let host = entry::read(&mut fields, known, api.settings());
    fields.check()?;
    let host = host.ok_or_else(|| Problem::field("invalid", "name", "is missing"))?;
    entry::judge(&host)?;
    let name = host.name.to_string();
    match known {
        None => {
            api.store().host_add(vec![host], &caller.actor()).await?;
        }
        Some(known) => {
            api.store()
                .host_edit(&known.name, host, &caller.actor())
                .await?;
        }
    }
    Ok(name)
}

pub(crate) async fn add(
    State(api): State<AdminApi>,
    Extension(caller): Extension<Caller>,
    typed: Typed,
) -> Result<Response, Problem> {
    match save(&api, &caller, &typed, None).await {
        // Without pinned keys it cannot be updated, so that comes next.
        Ok(name) => Ok(go(format!("/admin/hosts/{name}/keys"))),
        Err(problem) => form(&api, &caller, None, typed, Some(mine(problem)?)).await,
    }
}

pub(crate) async fn ask_edit(
    State(api): State<AdminApi>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    let known = record(&api, &name).await?;
    let typed = typed_of(&known);
    form(&api, &caller, Some(known.name.as_str()), typed, None).await
}

fn typed_of(host: &HostRecord) -> Typed {
    let (spec, app) = (&host.spec, &host.spec.app);
    let none = String::new;
    let pairs = [
        ("name", host.name.to_string()),
        ("address", spec.address.to_string()),
        ("port", spec.port.to_string()),
        ("user", spec.user.to_string()),
        ("key", spec.key.clone().unwrap_or_else(none)),
        ("jump", spec.jump.join(" ")),
        ("labels", labels(&host.labels)),
        ("owner", host.owner.clone().unwrap_or_else(none)),
        ("repo", app.repo.to_string()),
        ("remote", app.remote.to_string()),
        ("branch", app.branch.to_string()),
        ("service", app.service.to_string()),
        ("install", app.install.clone()),
        ("verify", app.verify.clone().unwrap_or_else(none)),
    ];
    Typed::of(
        pairs
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect(),
    )
}

pub(crate) async fn edit(
    State(api): State<AdminApi>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    typed: Typed,
) -> Result<Response, Problem> {
    let known = record(&api, &name).await?;
    match save(&api, &caller, &typed, Some(&known)).await {
        Ok(name) => Ok(go(format!("/admin/updates/hosts/{name}"))),
        Err(problem) => {
            let name = known.name.as_str();
            form(&api, &caller, Some(name), typed, Some(mine(problem)?)).await
        }
    }
}

pub(crate) async fn ask_remove(
    State(api): State<AdminApi>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    let known = record(&api, &name).await?;
    let name = known.name;
    let page = Page::load(&api, &caller, Nav::Hosts, format!("Remove {name}?")).await?;
    html(&Confirm {
        page,
        lines: vec![
            "It is taken out of the fleet; nothing is done on the host itself.".to_owned(),
            "Its history stays. If it waits in a rollout, it is skipped there.".to_owned(),
        ],
        action: format!("/admin/hosts/{name}/remove"),
        back: format!("/admin/updates/hosts/{name}"),
        keep: "Keep it",
        button: "Remove",
        danger: true,
    })
}

pub(crate) async fn remove(
    State(api): State<AdminApi>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    let name = host_name(&name)?;
    api.store().host_remove(&name, &caller.actor()).await?;
    Ok(go("/admin/updates/hosts"))
}

async fn import_form(
    api: &AdminApi,
    caller: &Caller,
    typed: Typed,
    problem: Option<Problem>,
) -> Result<Response, Problem> {
    let page = Page::load(api, caller, Nav::Hosts, "Import hosts").await?;
    html_with(
        status(problem.as_ref()),
        &Import {
            page,
            problem,
            form: typed,
        },
    )
}

pub(crate) async fn ask_import(
    State(api): State<AdminApi>,
    Extension(caller): Extension<Caller>,
) -> Result<Response, Problem> {
    import_form(&api, &caller, Typed::default(), None).await
}

pub(crate) async fn import(
    State(api): State<AdminApi>,
    Extension(caller): Extension<Caller>,
    typed: Typed,
) -> Result<Response, Problem> {
    match take_in(&api, &caller, &typed).await {
        Ok(()) => Ok(go("/admin/updates/hosts")),
        Err(problem) => import_form(&api, &caller, typed, Some(mine(problem)?)).await,
    }
}

async fn take_in(api: &AdminApi, caller: &Caller, typed: &Typed) -> Result<(), Problem> {
    let text = typed.raw("hosts");
    let list = if typed.get("format") == "json" {
        from_json(text)?
    } else {
        from_csv(text)?
    };
    let map = Map::from_iter([("hosts".to_owned(), list)]);
    let mut fields = Fields::of(map);
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
    api.store().host_add(hosts, &caller.actor()).await?;
    Ok(())
}

fn from_json(text: &str) -> Result<Value, Problem> {
    match serde_json::from_str(text) {
        Ok(Value::Object(mut map)) => Ok(map.remove("hosts").unwrap_or(Value::Null)),
        Ok(list @ Value::Array(_)) => Ok(list),
        Ok(_) => Err(Problem::field(
            "invalid",
            "hosts",
            "must be a list of hosts",
        )),
        Err(error) => Err(Problem::field(
            "invalid",
            "hosts",
            format!("is not JSON: {error}"),
        )),
    }
}

/// `name,address,port,user[,key,labels,owner]` with a header; labels with spaces or semicolons between them.
fn from_csv(text: &str) -> Result<Value, Problem> {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let header: Vec<String> = cells(lines.next().unwrap_or_default())
        .into_iter()
        .map(|cell| cell.trim().to_ascii_lowercase())
        .collect();
    for needed in ["name", "address"] {
        if !header.iter().any(|name| name == needed) {
            let why = "the first line must be a header: name,address,port,user[,key,labels,owner]";
            return Err(Problem::field("invalid", "hosts", why));
        }
    }
    let hosts = lines.map(|line| {
        let row = header.iter().cloned().zip(cells(line));
        Value::Object(
            row.map(|(name, cell)| csv_value(name, cell.trim()))
                .collect(),
        )
    });
    Ok(Value::Array(hosts.collect()))
}

fn csv_value(name: String, cell: &str) -> (String, Value) {
    let value = match name.as_str() {
        "port" => form::number(cell),
        "labels" => label_map(&cell.replace(';', " ")),
        _ if cell.is_empty() => Value::Null,
        _ => cell.into(),
    };
    (name, value)
}

/// The cells of a line; quotes around one keep commas, two quotes inside are one.
fn cells(line: &str) -> Vec<String> {
    let mut cells = vec![String::new()];
    let mut quoted = false;
    let mut letters = line.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '"' if quoted && letters.peek() == Some(&'"') => {
                letters.next();
                push(&mut cells, '"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => cells.push(String::new()),
            other => push(&mut cells, other),
        }
    }
    cells
}

fn push(cells: &mut [String], letter: char) {
    if let Some(cell) = cells.last_mut() {
        cell.push(letter);
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn csv_is_read_by_its_header() {
        let text = "Name,address,port,labels,owner\nweb-1,10.0.0.7,22,region=eu;new,\"Acme, \"\"Ltd\"\"\"\n\nweb-2,h.example,x,,\n";
        let expected = serde_json::json!([
            { "name": "web-1", "address": "10.0.0.7", "port": 22, "labels": { "region": "eu", "new": "" }, "owner": "Acme, \"Ltd\"" },
            { "name": "web-2", "address": "h.example", "port": "x", "labels": {}, "owner": null },
        ]);
        assert_eq!(from_csv(text).unwrap(), expected);
        assert_eq!(from_csv("").unwrap_err().status, 422);
        assert_eq!(from_csv("web-1,10.0.0.7").unwrap_err().status, 422);
    }
}
