//! One table: every route, and what it needs. What is not in it is refused.

use axum::extract::{MatchedPath, Request, State};
use axum::http::header::{ALLOW, AUTHORIZATION, CACHE_CONTROL};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};
use fleet_store::{Actor, NewAudit};
use fleet_types::{AuditResult, Right, printable};

use crate::guards::Denied;
use crate::identity::Caller;
use crate::problem::Problem;
use crate::state::AdminApi;

/// A method of HTTP that a route may have. `HEAD` counts as `GET`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    /// Looks; never changes anything.
    Get,
    /// Does something.
    Post,
    /// Replaces something.
    Put,
    /// Takes something away.
    Delete,
}

impl Method {
    /// As HTTP writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
        }
    }

    fn of(method: &axum::http::Method) -> Option<Self> {
        match method.as_str() {
            "GET" | "HEAD" => Some(Self::Get),
            "POST" => Some(Self::Post),
            "PUT" => Some(Self::Put),
            "DELETE" => Some(Self::Delete),
            _ => None,
        }
    }
}

/// One route and what it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The method.
    pub method: Method,
    /// The path, parts in braces standing for anything.
    pub path: &'static str,
    /// What a caller needs; none means that anybody may, without saying who they are.
    pub needs: Option<Right>,
}

const fn rule(method: Method, path: &'static str, right: Right) -> Rule {
    Rule {
        method,
        path,
        needs: Some(right),
    }
}

const fn open(method: Method, path: &'static str) -> Rule {
    Rule {
        method,
        path,
        needs: None,
    }
}

use Method::{Delete, Get, Post, Put};
use Right::{Manage, Operate, Own, Read};

/// Every route.
pub const RULES: &[Rule] = &[
    open(Get, "/healthz"),
    open(Get, "/readyz"),
    rule(Get, "/metrics", Read),
    open(Get, "/api/openapi.json"),
    // Updates.
    rule(Post, "/api/updates/trigger", Operate),
    rule(Get, "/api/updates/status", Read),
    rule(Get, "/api/updates/events", Read),
    rule(Get, "/api/updates/rollouts", Read),
    rule(Get, "/api/updates/rollouts/{id}", Read),
    rule(Get, "/api/updates/rollouts/{id}/hosts", Read),
    rule(Get, "/api/updates/rollouts/{id}/hosts/{name}", Read),
    rule(Get, "/api/updates/rollouts/{id}/hosts/{name}/output", Read),
    rule(Post, "/api/updates/rollouts/{id}/pause", Operate),
    rule(Post, "/api/updates/rollouts/{id}/resume", Operate),
    rule(Post, "/api/updates/rollouts/{id}/abort", Operate),
    rule(Post, "/api/updates/rollouts/{id}/retry", Operate),
    rule(Post, "/api/updates/rollouts/{id}/rollback", Operate),
    // The fleet.
    rule(Get, "/api/hosts", Read),
    rule(Get, "/api/hosts.csv", Read),
    rule(Post, "/api/hosts", Manage),
    rule(Post, "/api/hosts/import", Manage),
    rule(Get, "/api/hosts/{name}", Read),
    rule(Put, "/api/hosts/{name}", Manage),
    rule(Delete, "/api/hosts/{name}", Manage),
    rule(Put, "/api/hosts/{name}/keys", Manage),
    rule(Post, "/api/hosts/{name}/scan", Manage),
    rule(Post, "/api/hosts/{name}/check", Operate),
    rule(Post, "/api/hosts/{name}/health", Operate),
    rule(Post, "/api/hosts/{name}/clear", Operate),
    rule(Get, "/api/hosts/{name}/history", Read),
    rule(Get, "/api/inventory", Manage),
    // One's own.
    rule(Get, "/api/me", Own),
    rule(Get, "/api/me/instances", Own),
    rule(Put, "/api/me/password", Own),
    rule(Get, "/api/sessions", Own),
    rule(Delete, "/api/sessions", Own),
    rule(Delete, "/api/sessions/{id}", Own),
    // People, tokens, the audit trail.
    rule(Get, "/api/users", Manage),
    rule(Post, "/api/users", Manage),
    rule(Put, "/api/users/{name}/password", Manage),
    rule(Post, "/api/users/{name}/disable", Manage),
    rule(Post, "/api/users/{name}/enable", Manage),
    rule(Delete, "/api/users/{name}/sessions", Manage),
    rule(Get, "/api/tokens", Manage),
    rule(Post, "/api/tokens", Manage),
    rule(Delete, "/api/tokens/{id}", Manage),
    rule(Get, "/api/audit", Manage),
    // Pages.
    open(Get, "/admin/assets/{*path}"),
    open(Get, "/login"),
    open(Post, "/login"),
    open(Post, "/login/setup"),
    rule(Post, "/logout", Own),
    rule(Get, "/admin", Own),
    rule(Get, "/admin/account", Own),
    rule(Post, "/admin/account", Own),
    rule(Post, "/admin/account/sessions/end", Own),
    rule(Post, "/admin/account/sessions/{id}/end", Own),
    rule(Get, "/admin/updates", Read),
    rule(Get, "/admin/updates/start", Operate),
    rule(Post, "/admin/updates/start", Operate),
    rule(Get, "/admin/updates/rollouts", Read),
    rule(Get, "/admin/updates/rollouts/{id}", Read),
    rule(Get, "/admin/updates/rollouts/{id}/pause", Operate),
    rule(Post, "/admin/updates/rollouts/{id}/pause", Operate),
    rule(Get, "/admin/updates/rollouts/{id}/resume", Operate),
    rule(Post, "/admin/updates/rollouts/{id}/resume", Operate),
    rule(Get, "/admin/updates/rollouts/{id}/abort", Operate),
    rule(Post, "/admin/updates/rollouts/{id}/abort", Operate),
    rule(Get, "/admin/updates/rollouts/{id}/retry", Operate),
    rule(Post, "/admin/updates/rollouts/{id}/retry", Operate),
    rule(Get, "/admin/updates/rollouts/{id}/rollback", Operate),
    rule(Post, "/admin/updates/rollouts/{id}/rollback", Operate),
    rule(
        Get,
        "/admin/updates/rollouts/{id}/hosts/{name}/output",
        Read,
    ),
    rule(Get, "/admin/updates/hosts", Read),
    rule(Get, "/admin/updates/hosts/{name}", Read),
    rule(Post, "/admin/updates/hosts/{name}/clear", Operate),
    rule(Post, "/admin/updates/hosts/{name}/check", Operate),
    rule(Get, "/admin/hosts/new", Manage),
    rule(Post, "/admin/hosts/new", Manage),
    rule(Get, "/admin/hosts/import", Manage),
    rule(Post, "/admin/hosts/import", Manage),
    rule(Get, "/admin/hosts/{name}/edit", Manage),
    rule(Post, "/admin/hosts/{name}/edit", Manage),
    rule(Get, "/admin/hosts/{name}/remove", Manage),
    rule(Post, "/admin/hosts/{name}/remove", Manage),
    rule(Get, "/admin/hosts/{name}/keys", Manage),
    rule(Post, "/admin/hosts/{name}/keys", Manage),
    rule(Post, "/admin/hosts/{name}/pin", Manage),
    rule(Get, "/admin/users", Manage),
    rule(Post, "/admin/users", Manage),
    rule(Post, "/admin/users/{name}/password", Manage),
    rule(Post, "/admin/users/{name}/disable", Manage),
    rule(Post, "/admin/users/{name}/enable", Manage),
    rule(Post, "/admin/users/{name}/sessions/end", Manage),
    rule(Get, "/admin/tokens", Manage),
    rule(Post, "/admin/tokens", Manage),
    rule(Post, "/admin/tokens/{id}/revoke", Manage),
    rule(Get, "/admin/audit", Manage),
    rule(Get, "/admin/settings", Manage),
    rule(Get, "/dashboard", Own),
];

/// Lets a request through when its caller has the right that its route needs. The caller goes on with the request.
pub(crate) async fn enforce(State(api): State<AdminApi>, request: Request, next: Next) -> Response {
    let path = match request.extensions().get::<MatchedPath>() {
        Some(path) => path.as_str().to_owned(),
        None => return next.run(request).await, // no such route: nothing to guard
    };
    let needs = match look_up(request.method(), &path) {
        Ok(needs) => needs,
        Err(allowed) => return refuse_method(&allowed),
    };
    let (mut parts, body) = request.into_parts();
    let Some(right) = needs else {
        return next.run(Request::from_parts(parts, body)).await;
    };
    let caller = match api.identify().identify(&parts).await {
        Ok(caller) => caller,
        Err(error) => return Problem::from(error).into_response(),
    };
    let Some(caller) = caller else {
        if parts.headers.contains_key(AUTHORIZATION) {
            note_stranger(&api, &parts, "the token is not valid").await;
        } else if Method::of(&parts.method) != Some(Get) {
            note_stranger(&api, &parts, "nobody is signed in").await;
        }
        return unauthenticated(&api, &parts, &path);
    };
    if !caller.role.may(right) {
        let why = format!("needs the right {right}");
        note_caller(&api, &caller, &parts, why).await;
        let refusal = format!("the role {} may not do this", caller.role);
        let mut response = Problem::new(StatusCode::FORBIDDEN, "forbidden", refusal)
            .with("needs", right.as_str())
            .into_response();
        // The page that says so is theirs.
        response.extensions_mut().insert(caller);
        return response;
    }
    parts.extensions.insert(caller.clone());
    let asked = parts.clone();
    let mut response = next.run(Request::from_parts(parts, body)).await;
    if response.status() == StatusCode::TOO_MANY_REQUESTS {
        note_caller(&api, &caller, &asked, "asked too often".to_owned()).await;
    }
    response.extensions_mut().insert(caller);
    // What only somebody may see is kept nowhere else.
    response
        .headers_mut()
        .insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// What the route needs; else the methods that it has, none when it is not in the table at all.
fn look_up(method: &axum::http::Method, path: &str) -> Result<Option<Right>, Vec<&'static str>> {
    let rules: Vec<&Rule> = RULES.iter().filter(|rule| rule.path == path).collect();
    let wanted = Method::of(method);
    match rules.iter().find(|rule| Some(rule.method) == wanted) {
        Some(rule) => Ok(rule.needs),
        None => Err(rules.iter().map(|rule| rule.method.as_str()).collect()),
    }
}

fn refuse_method(allowed: &[&str]) -> Response {
    if allowed.is_empty() {
        return Problem::new(StatusCode::FORBIDDEN, "forbidden", "nobody may do this")
            .into_response();
    }
    let allowed = allowed.join(", ");
    let mut response = Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        format!("here there is only {allowed}"),
    )
    .into_response();
    if let Ok(value) = HeaderValue::from_str(&allowed) {
        response.headers_mut().insert(ALLOW, value);
    }
    response
}

/// A person who looks at a page is sent to sign in, if it is known where; everybody else is told.
fn unauthenticated(api: &AdminApi, parts: &Parts, path: &str) -> Response {
    let page = path.starts_with("/admin") || path.starts_with("/dashboard");
    let html = parts
        .headers
        .get("accept")
        .and_then(|accept| accept.to_str().ok())
        .is_some_and(|accept| accept.contains("text/html"));
    if let Some(sign_in) = api.sign_in_address().filter(|_| page && html) {
        // What was sent is lost; the page to come back to is the one to send it from.
        let looks = matches!(
            parts.method,
            axum::http::Method::GET | axum::http::Method::HEAD
        );
        let next = parts.uri.path_and_query().filter(|_| looks);
        let next = next.map_or("/", |path| path.as_str());
        let more = if sign_in.contains('?') { '&' } else { '?' };
        return Redirect::to(&format!("{sign_in}{more}next={}", percent(next))).into_response();
    }
    crate::api::unauthenticated().into_response()
}

/// Percent-encodes all but what is plain in a query.
pub(crate) fn percent(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'_' | b'.' | b'~' => {
                out.push(char::from(byte))
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// Puts on record what a caller was denied.
async fn note_caller(api: &AdminApi, caller: &Caller, parts: &Parts, why: String) {
    let entry = denial(caller.actor(), parts, why);
    api.denials()
        .note(Denied::Caller(caller.scope()), entry)
        .await;
}

/// Puts on record what somebody was denied who did not prove who they are.
pub(crate) async fn note_stranger(api: &AdminApi, parts: &Parts, why: &str) {
    let stranger = Actor::new("unknown", Caller::source_of(parts));
    let entry = denial(stranger, parts, why.to_owned());
    api.denials().note(Denied::Strangers, entry).await;
}

/// What was asked for is named without the query, in which there may be secrets.
fn denial(actor: Actor, parts: &Parts, why: String) -> NewAudit {
    let path: String = printable(parts.uri.path()).chars().take(200).collect();
    NewAudit {
        actor,
        action: "access".to_owned(),
        subject: Some(format!("{} {path}", parts.method)),
        result: AuditResult::Denied,
        detail: Some(why),
    }
}
