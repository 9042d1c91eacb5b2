//! Requests that a page of somebody else makes a browser send.

use axum::extract::{Request, State};
use axum::http::header::{COOKIE, ORIGIN};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::guards::host_name::named;
use crate::problem::Problem;
use crate::rights::note_stranger;
use crate::sign_in::bearer;
use crate::state::AdminApi;

/// Refuses them: state changes, and looks at the API other than following a link. A bearer token is sent by no browser of
/// its own accord, so that such requests are exempt.
pub(crate) async fn refuse(State(api): State<AdminApi>, request: Request, next: Next) -> Response {
    let safe = matches!(
        *request.method(),
        Method::GET | Method::HEAD | Method::OPTIONS
    );
    let headers = request.headers();
    let verdict = if bearer(headers).is_some() {
        Ok(())
    } else if safe {
        look(headers, request.uri().path())
    } else {
        change(headers, named(&request))
    };
    let Err(why) = verdict else {
        return next.run(request).await;
    };
    let (parts, _) = request.into_parts();
    note_stranger(&api, &parts, why).await;
    Problem::new(StatusCode::FORBIDDEN, "cross_site", why).into_response()
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers
        .get(name)
        .map(|value| value.to_str().unwrap_or("unreadable"))
}

fn look(headers: &HeaderMap, path: &str) -> Result<(), &'static str> {
    let foreign = matches!(
        text(headers, "sec-fetch-site"),
        Some("cross-site" | "same-site")
    );
    let link = text(headers, "sec-fetch-mode") == Some("navigate");
    if path.starts_with("/api") && foreign && !link {
        return Err("this request comes from a page of another site");
    }
    Ok(())
}

fn change(headers: &HeaderMap, host: Option<&str>) -> Result<(), &'static str> {
    const FOREIGN: &str = "this request comes from a page of another site";
    if let Some(site) = text(headers, "sec-fetch-site") {
        return if matches!(site, "same-origin" | "none") {
            Ok(())
        } else {
            Err(FOREIGN)
        };
    }
    if let Some(origin) = text(headers, ORIGIN.as_str()) {
        return match host {
            Some(host) if same(origin, host) => Ok(()),
            _ => Err(FOREIGN),
        };
    }
    // No browser sends a cookie along with a change and says neither. A program without one has nothing to be abused.
    if headers.contains_key(COOKIE) {
        return Err(
            "a request with a cookie says where it comes from, by Sec-Fetch-Site or Origin",
        );
    }
    Ok(())
}

/// Whether an origin is of this host. A proxy may have taken the TLS off, so that the scheme is not known here.
fn same(origin: &str, host: &str) -> bool {
    let Some((scheme, authority)) = origin.split_once("://") else {
        return false;
    };
    let default = match scheme {
        "https" => ":443",
        "http" => ":80",
        _ => return false,
    };
    let plain = |text: &str| {
        text.strip_suffix(default)
            .unwrap_or(text)
            .to_ascii_lowercase()
    };
    plain(authority) == plain(host)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect()
    }

    #[test]
    fn changes() {
        for (pairs, good) in [
            (
                &[("sec-fetch-site", "same-origin"), ("cookie", "a=b")][..],
                true,
            ),
            (&[("sec-fetch-site", "none")], true),
            (&[("sec-fetch-site", "cross-site")], false),
            (&[("sec-fetch-site", "same-site")], false),
            (
                &[
                    ("sec-fetch-site", "cross-site"),
                    ("origin", "http://here:8080"),
                ],
                false,
            ),
            (&[("origin", "http://here:8080")], true),
            (&[("origin", "https://here:8080")], true),
            (&[("origin", "http://here")], false),
            (&[("origin", "http://evil.example")], false),
            (&[("origin", "null")], false),
            (&[("cookie", "rollout_session=x")], false),
            (&[], true),
        ] {
            assert_eq!(
                change(&headers(pairs), Some("here:8080")).is_ok(),
                good,
                "{pairs:?}"
            );
        }
        assert!(change(&headers(&[("origin", "https://here")]), Some("here:443")).is_ok());
        assert!(change(&headers(&[("origin", "https://here")]), Some("here")).is_ok());
    }

    #[test]
    fn looks() {
        for (pairs, path, good) in [
            (
                &[("sec-fetch-site", "cross-site")][..],
                "/api/updates/events",
                false,
            ),
            (
                &[
                    ("sec-fetch-site", "cross-site"),
                    ("sec-fetch-mode", "navigate"),
                ],
                "/api/updates/status",
                true,
            ),
            (
                &[("sec-fetch-site", "same-origin")],
                "/api/updates/events",
                true,
            ),
            (&[], "/api/updates/events", true),
            (&[("sec-fetch-site", "cross-site")], "/admin/updates", true),
        ] {
            assert_eq!(
                look(&headers(pairs), path).is_ok(),
                good,
                "{pairs:?} {path}"
            );
        }
    }
}
