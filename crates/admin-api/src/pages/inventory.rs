//! Hosts added, changed, imported, removed.

use askama::Template;
use axum::Extension;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use fleet_store::{AuditQuery, HostError, HostRecord, NewHost};
use fleet_types::printable;
use host_lists::{BadLine, ListedHost};
use serde_json::{Map, Value, json};

use crate::api::body::Fields;
use crate::api::hosts::{entry, host_name, record};
use crate::identity::Caller;
use crate::pages::form::{self, Typed};
use crate::pages::hosts::labels;
use crate::pages::layout::{Nav, Page, go, html, html_with};
use crate::pages::verbs::Confirm;
use crate::problem::{Problem, internal};
use crate::state::{AdminApi, ApiSettings};

/// What the form asks for: the field, and what people read beside it.
const ASKED: [(&str, &str); 14] = [
    ("name", "Name"),
    ("address", "Address"),
    ("port", "SSH port"),
    ("user", "SSH user"),
    ("labels", "Labels"),
    ("owner", "Owner"),
    ("repo", "Repository folder"),
    ("remote", "Remote"),
    ("branch", "Branch"),
    ("service", "Service"),
    ("install", "Install command"),
    ("verify", "Verify command"),
    ("key", "Private key file"),
    ("jump", "Through"),
];

/// How many changes of hosts are looked through for the one that somebody else made.
const CHANGES_LOOKED_AT: u32 = 100;

#[derive(Template)]
#[template(path = "host_form.html")]
struct HostForm {
    page: Page,
    problem: Option<Problem>,
    /// What somebody else changed while the form was filled in.
    changed: Vec<Changed>,
    form: Typed,
    /// What the form showed before anybody typed: by that it is known what was changed, and by whom.
    was: Vec<(String, String)>,
    action: String,
    back: String,
}

/// A field that somebody else changed meanwhile.
struct Changed {
    label: &'static str,
    now: String,
    /// What is in the field still, where the person who fills in the form had changed it too.
    typed: Option<String>,
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

/// What was typed; of a host that is known, only what is another than before.
fn fields(typed: &Typed, before: Option<&Typed>) -> Fields {
    let left = |name: &str| {
        before.is_some_and(|before| !typed.has(name) || typed.get(name) == before.get(name))
    };
    typed
        .object()
        .texts(&[
            "name", "address", "user", "key", "owner", "repo", "remote", "branch", "service",
            "install", "verify",
        ])
        .numbers(&["port"])
        .words("jump", form::text)
        .with("labels", label_map(typed.get("labels")))
        .without(left)
        .fields()
}

/// A form as it is shown, for a host that is known or a new one.
#[derive(Default)]
struct Filled {
    typed: Typed,
    before: Option<Typed>,
    changed: Vec<Changed>,
    problem: Option<Problem>,
}

async fn form(
    api: &AdminApi,
    caller: &Caller,
    known: Option<&str>,
    filled: Filled,
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
    let was = filled
        .before
        .iter()
        .flat_map(|before| ASKED.map(|(name, _)| (was(name), before.get(name).to_owned())));
    html_with(
        status(filled.problem.as_ref()),
        &HostForm {
            page,
            was: was.collect(),
            problem: filled.problem,
            changed: filled.changed,
            form: filled.typed,
            action,
            back,
        },
    )
}

/// The hidden field that keeps what was shown in this one.
fn was(name: &str) -> String {
    format!("was.{name}")
}

pub(crate) async fn new(
    State(api): State<AdminApi>,
    Extension(caller): Extension<Caller>,
) -> Result<Response, Problem> {
    form(&api, &caller, None, Filled::default()).await
}

/// Adds a host, or changes of a known one what the person changed. Of one that somebody changed since `known` was read,
/// nothing is changed.
async fn save(
    api: &AdminApi,
    caller: &Caller,
    typed: &Typed,
    known: Option<&HostRecord>,
) -> Result<String, Problem> {
    let before = known.map(typed_of);
    let mut fields = fields(typed, before.as_ref());
    let host = entry::read(&mut fields, known, api.settings());
    fields.check()?;
    let host = host.ok_or_else(|| Problem::field("invalid", "name", "is missing"))?;
    entry::judge(&host)?;
    let name = host.name.to_string();
    let (store, actor) = (api.store(), caller.actor());
    match known {
        None => {
            store.host_add(vec![host], &actor).await?;
        }
        Some(known) => {
            store.host_edit_seen(known, host, &actor).await?;
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
        Err(problem) => {
            let filled = Filled {
                typed,
                problem: Some(mine(problem)?),
                ..Filled::default()
            };
            form(&api, &caller, None, filled).await
        }
    }
}

pub(crate) async fn ask_edit(
    State(api): State<AdminApi>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    let known = record(&api, &name).await?;
    let now = typed_of(&known);
    let filled = Filled {
        typed: now.clone(),
        before: Some(now),
        ..Filled::default()
    };
    form(&api, &caller, Some(known.name.as_str()), filled).await
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
    // A field of one line has no line ends, so that none is taken for something that was typed.
    let pairs = pairs.map(|(name, value)| (name.to_owned(), value.replace(['\r', '\n'], "")));
    Typed::of(pairs.to_vec())
}

/// What is there now under what the person changed, and what somebody else changed since the form was shown.
fn brought_up_to_date(typed: &Typed, now: &Typed) -> (Typed, Vec<Changed>) {
    let (mut pairs, mut changed) = (Vec::new(), Vec::new());
    for (name, label) in ASKED {
        let own = typed.get(name);
        let shown = typed
            .has(&was(name))
            .then(|| typed.get(&was(name)).to_owned());
        let now = now.get(name);
        let shown = shown.as_deref().unwrap_or(now);
        let own = Some(own).filter(|own| typed.has(name) && *own != shown);
        if now != shown && own != Some(now) {
            changed.push(Changed {
                label,
                now: printable(now),
                typed: own.map(printable),
            });
        }
        pairs.push((name.to_owned(), own.unwrap_or(now).to_owned()));
    }
    (Typed::of(pairs), changed)
}

/// Who changed a host last, where that is on record.
async fn changed_by(api: &AdminApi, known: &HostRecord) -> Result<String, Problem> {
    let asked = AuditQuery {
        action: Some("host.edit".to_owned()),
        limit: CHANGES_LOOKED_AT,
        ..AuditQuery::default()
    };
    let rows = api.store().audit_list(asked).await?;
    let found = rows
        .iter()
        .find(|row| row.subject.as_deref() == Some(known.name.as_str()));
    Ok(found.map_or_else(|| "somebody".to_owned(), |row| printable(&row.actor.name)))
}

pub(crate) async fn edit(
    State(api): State<AdminApi>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    typed: Typed,
) -> Result<Response, Problem> {
    let known = record(&api, &name).await?;
    let now = typed_of(&known);
    let (merged, changed) = brought_up_to_date(&typed, &now);
    let refused = if changed.is_empty() {
        match save(&api, &caller, &typed, Some(&known)).await {
            Ok(name) => return Ok(go(format!("/admin/updates/hosts/{name}"))),
            Err(problem) => mine(problem)?,
        }
    } else {
        let name = known.name.to_string();
        let who = changed_by(&api, &known).await?;
        let detail = format!(
            "{name} was changed by {who} while you had this form open. Nothing is saved yet: what you typed is kept \
             below, the rest is as it is now. Save again if that is what you want."
        );
        Problem {
            detail,
            ..HostError::Stale { name }.into()
        }
    };
    let filled = Filled {
        typed: merged,
        before: Some(now),
        changed,
        problem: Some(refused),
    };
    form(&api, &caller, Some(known.name.as_str()), filled).await
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
    let (settings, typed) = (api.settings().clone(), typed.clone());
    let hosts = read_list(settings, typed).await?;
    api.store().host_add(hosts, &caller.actor()).await?;
    Ok(())
}

/// Reads a list on a thread of its own: a long one would hold up others.
async fn read_list(settings: ApiSettings, typed: Typed) -> Result<Vec<NewHost>, Problem> {
    let reading = tokio::task::spawn_blocking(move || read(&settings, &typed));
    reading.await.map_err(|error| internal(&error))?
}

fn read(settings: &ApiSettings, typed: &Typed) -> Result<Vec<NewHost>, Problem> {
    let text = typed.raw("hosts");
    let list = match typed.get("format") {
        "json" => from_json(text)?,
        "ansible" => listed(host_lists::read_ansible(text))?,
        "ssh-config" => listed(host_lists::read_ssh_config(text))?,
        _ => from_csv(text)?,
    };
    let map = Map::from_iter([("hosts".to_owned(), list)]);
    let mut fields = Fields::of(map);
    let mut hosts = Vec::new();
    for mut inner in fields.objects("hosts") {
        hosts.extend(entry::read(&mut inner, None, settings));
        fields.absorb(inner);
    }
    if hosts.is_empty() {
        fields.wrong("hosts", "has no hosts");
    }
    fields.check()?;
    hosts.iter().try_for_each(entry::judge)?;
    Ok(hosts)
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

/// A list that another tool keeps. What it does not say is not there, so that the defaults hold.
fn listed(hosts: Result<Vec<ListedHost>, BadLine>) -> Result<Value, Problem> {
    let wrong = |bad: BadLine| Problem::field("invalid", "hosts", bad.to_string());
    let value = |host: ListedHost| {
        let address = host.first_address()?;
        let groups = host.groups.into_iter().flatten();
        let labels: Map<String, Value> = groups.map(|group| (group, "".into())).collect();
        Ok(json!({
            "name": host.name,
            "address": address,
            "port": host.port,
            "user": host.user,
            "key": host.key,
            "jump": host.jump,
            "labels": labels,
        }))
    };
    let values: Result<_, BadLine> = hosts.and_then(|hosts| hosts.into_iter().map(value).collect());
    values.map_err(wrong)
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
    fn a_list_is_read_beside_what_others_wait_for() {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.max_blocking_threads(1).build().unwrap();
        runtime.block_on(async {
            let (go, wait) = std::sync::mpsc::channel::<()>();
            // The one thread for this is taken, so that the list cannot be read yet.
            let taken = tokio::task::spawn_blocking(move || wait.recv());
            let typed = [("format", "ssh-config"), ("hosts", "Include x")];
            let typed = typed.map(|(name, text)| (name.to_owned(), text.to_owned()));
            let typed = Typed::of(typed.to_vec());
            let mut reading = Box::pin(read_list(ApiSettings::default(), typed));
            let others = tokio::select! {
                biased;
                _ = &mut reading => false,
                () = std::future::ready(()) => true,
            };
            go.send(()).unwrap();
            assert!(others);
            assert_eq!(reading.await.unwrap_err().status, 422);
            taken.await.unwrap().unwrap();
        });
    }

    #[test]
    fn what_a_list_does_not_say_is_not_there() {
        let list = listed(host_lists::read_ssh_config("Host web-1\nPort 23\n")).unwrap();
        let expected = serde_json::json!([{ "name": "web-1", "address": "web-1", "port": 23, "user": null, "key": null, "jump": null, "labels": {} }]);
        assert_eq!(list, expected);
        let bad = listed(host_lists::read_ssh_config("\nHost web--\n")).unwrap_err();
        assert!(format!("{bad:?}").contains("line 2"), "{bad:?}");
    }

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
