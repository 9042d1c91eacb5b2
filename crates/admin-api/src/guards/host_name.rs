//! The name that a request is for: a page of somebody else whose name was made to point here must get nothing.

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::HOST;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::problem::Problem;
use crate::rights::note_stranger;
use crate::state::{AdminApi, AllowedHosts};

/// Probes ask by address; these say nothing about the fleet.
const PROBES: [&str; 2] = ["/healthz", "/readyz"];

/// Refuses names that are not ours.
pub(crate) async fn check(State(api): State<AdminApi>, request: Request, next: Next) -> Response {
    let AllowedHosts::Named(names) = &api.settings().allowed_hosts else {
        return next.run(request).await;
    };
    if PROBES.contains(&request.uri().path())
        || named(&request).is_some_and(|name| is_ours(name, names))
    {
        return next.run(request).await;
    }
    let (parts, _) = request.into_parts();
    note_stranger(&api, &parts, "asked for by a name that is not ours").await;
    Problem::new(
        StatusCode::MISDIRECTED_REQUEST,
        "wrong_host",
        "this server does not answer to that name; add it to the names that it answers to",
    )
    .into_response()
}

/// The one `Host` of a request, else the authority of its URI (HTTP/2).
pub(crate) fn named(request: &Request) -> Option<&str> {
    let mut all = request.headers().get_all(HOST).iter();
    match (all.next(), all.next()) {
        (Some(only), None) => only.to_str().ok(),
        (None, _) => request
            .uri()
            .authority()
            .map(|authority| authority.as_str()),
        (Some(_), Some(_)) => None,
    }
}

fn is_ours(host: &str, names: &[String]) -> bool {
    let name = without_port(host).to_ascii_lowercase();
    let name = name.strip_suffix('.').unwrap_or(&name);
    let loopback = name == "localhost"
        || name
            .trim_start_matches('[')
            .trim_end_matches(']')
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback());
    loopback
        || names
            .iter()
            .any(|ours| without_port(ours).eq_ignore_ascii_case(name))
}

/// `name` of `name:port`; an IPv6 address keeps its brackets.
fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        // What is left of the last colon of a bare IPv6 address has colons too.
        Some((name, _)) if name.ends_with(']') || !name.contains(':') => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_names() {
        let names = ["rollout.example".to_owned(), "10.0.0.5".to_owned()];
        for (host, ours) in [
            ("localhost", true),
            ("localhost:8080", true),
            ("127.0.0.1:8080", true),
            ("127.8.8.8", true),
            ("[::1]:8080", true),
            ("[::1]", true),
            ("rollout.example", true),
            ("ROLLOUT.example.:443", true),
            ("10.0.0.5:80", true),
            ("evil.example", false),
            ("localhost.evil.example", false),
            ("rollout.example.evil.example", false),
            ("10.0.0.6", false),
            ("", false),
        ] {
            assert_eq!(is_ours(host, &names), ours, "{host}");
        }
    }
}
