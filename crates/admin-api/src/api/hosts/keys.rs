//! Host keys: what a host shows, and what is pinned.

use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::{Extension, Json};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use fleet_store::NewAudit;
use fleet_types::{AuditResult, HostName, printable, view};
use rollout_orchestrator::{KeysError, SlotTransport, host_keys};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use ssh_exec::HostKey;
use tokio::time::timeout;
use tracing::Instrument;
use utoipa::ToSchema;

use crate::api::body::Fields;
use crate::api::hosts::{HostBody, Tagged, body, record};
use crate::api::openapi::ProblemBody;
use crate::api::tags;
use crate::identity::Caller;
use crate::problem::{Problem, log_cause};
use crate::state::AdminApi;

/// More keys than a host has.
const KEYS_MOST: usize = 16;
const KEY_MOST: usize = 4096;
/// Kinds of keys that a host may have.
const ALGORITHMS: [&str; 7] = [
    "ssh-ed25519",
    "ssh-rsa",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
];

/// Keys to pin.
#[derive(Deserialize, ToSchema)]
#[schema(as = HostKeys)]
#[expect(
    dead_code,
    reason = "says what the body holds; it is read field by field"
)]
pub(crate) struct KeysBody {
    /// Lines of OpenSSH's public key format: `ssh-ed25519 AAAA…`
    keys: Vec<String>,
}

/// What a host shows now.
#[derive(Serialize, ToSchema)]
pub(crate) struct ScanBody {
    pub(crate) keys: Vec<view::HostKey>,
    /// Compared with what is pinned: `new`, `unchanged`, `rotated` (one is still shown) or `changed`.
    pub(crate) finding: &'static str,
}

/// A pinned line.
pub(crate) fn pinned_key(line: &str) -> view::HostKey {
    let mut words = line.split_whitespace();
    let algorithm = words.next().unwrap_or_default().to_owned();
    let blob = words
        .next()
        .and_then(|text| STANDARD.decode(text).ok())
        .unwrap_or_default();
    let fingerprint = format!("SHA256:{}", STANDARD_NO_PAD.encode(Sha256::digest(&blob)));
    view::HostKey {
        algorithm,
        fingerprint,
        openssh: line.to_owned(),
    }
}

fn shown(key: HostKey) -> view::HostKey {
    view::HostKey {
        algorithm: key.algorithm,
        fingerprint: key.fingerprint,
        openssh: key.openssh,
    }
}

/// A key as it is pinned, without comment; none if it is not one.
fn checked(line: &str) -> Option<String> {
    let mut words = line.split_whitespace();
    let algorithm = words.next().filter(|word| ALGORITHMS.contains(word))?;
    let text = words.next().filter(|text| text.len() <= KEY_MOST)?;
    let blob = STANDARD.decode(text).ok()?;
    // The key names its algorithm once more, behind the length of that name.
    let (length, rest) = blob.split_at_checked(4)?;
    let length = u32::from_be_bytes(length.try_into().ok()?);
    let inner = rest.get(..usize::try_from(length).ok()?)?;
    let more = rest.len() > inner.len();
    (inner == algorithm.as_bytes() && more).then(|| format!("{algorithm} {text}"))
}

/// Pins these host keys in place of those pinned before.
#[utoipa::path(put, path = "/api/hosts/{name}/keys", tag = "hosts", request_body = KeysBody,
    params(("name" = String, Path), ("If-Match" = Option<String>, Header, description = "Only if this is its `ETag` still.")),
    responses((status = 200, body = HostBody), (status = 404, body = ProblemBody, content_type = "application/problem+json"),
        (status = 412, description = "`stale`: somebody changed it.", body = ProblemBody, content_type = "application/problem+json"),
        (status = 422, body = ProblemBody, content_type = "application/problem+json")))]
pub(crate) async fn pin(
    State(api): State<AdminApi>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    headers: HeaderMap,
    mut fields: Fields,
) -> Result<Tagged, Problem> {
    let known = record(&api, &name).await?;
    let only_as_seen = tags::only_as_seen(&headers, &known)?;
    let lines: Vec<String> = fields.required("keys").unwrap_or_default();
    if lines.is_empty() || lines.len() > KEYS_MOST {
        fields.wrong("keys", format!("has 1 to {KEYS_MOST} keys"));
    }
    let mut keys = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        match checked(line) {
            Some(key) => keys.push(key),
            None => fields.wrong(
                &format!("keys.{at}"),
                "is not a line of OpenSSH's public key format",
            ),
        }
    }
    fields.check()?;
    let (store, actor) = (api.store(), caller.actor());
    if only_as_seen {
        store.host_pin_seen(&known, keys, &actor).await?;
    } else {
        store.host_pin(&known.name, keys, &actor).await?;
    }
    let record = record(&api, &name).await?;
    body(&api, &caller, record).await
}

/// Asks a host for its keys and pins nothing. Compare the fingerprints with what the host's console says, then pin them.
#[utoipa::path(post, path = "/api/hosts/{name}/scan", tag = "hosts", params(("name" = String, Path)),
    responses((status = 200, body = ScanBody), (status = 404, body = ProblemBody, content_type = "application/problem+json"),
        (status = 502, description = "`unreachable`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "`no_transport`", body = ProblemBody, content_type = "application/problem+json")))]
pub(crate) async fn scan(
    State(api): State<AdminApi>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    _: Fields,
) -> Result<Json<ScanBody>, Problem> {
    let host = record(&api, &name).await?;
    let transport = transport(&api)?;
    in_task(async move {
        let defaults = &api.orchestrator().settings().ssh;
        let limit = api.settings().look_limit;
        let asked = timeout(limit, host_keys(&transport, &host, defaults)).await;
        let keys = match asked {
            Ok(keys) => keys.map_err(unreachable),
            Err(_) => Err(bad_gateway(no_answer(limit))),
        };
        let (done, detail) = match &keys {
            Ok(_) => (true, None),
            Err(problem) => (false, Some(problem.detail.clone())),
        };
        note(&api, &caller, "host.scan", &host.name, done, detail).await?;
        let keys = keys?;
        let finding = finding(&host.host_keys, &keys);
        Ok(Json(ScanBody {
            keys: keys.into_iter().map(shown).collect(),
            finding,
        }))
    })
    .await
}

/// Looks and puts it on record, to the end: a caller who hangs up leaves no look without its row.
pub(crate) async fn in_task<T: Send + 'static>(
    work: impl Future<Output = Result<T, Problem>> + Send + 'static,
) -> Result<T, Problem> {
    let done = tokio::spawn(work.in_current_span()).await;
    done.unwrap_or_else(|error| {
        log_cause("a look failed by a fault of this program", &error);
        Err(Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "something went wrong here; the log knows what",
        ))
    })
}

/// A look was given up.
pub(crate) fn no_answer(limit: Duration) -> String {
    format!(
        "no answer within {} s, with the wait for a connection that is free",
        limit.as_secs_f64()
    )
}

/// The way to the hosts from here. Its errors may be shown to every caller.
pub(crate) fn transport(api: &AdminApi) -> Result<SlotTransport, Problem> {
    let transport = api.process().transport().map(SlotTransport::discreet);
    transport.ok_or_else(|| {
        Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "no_transport",
            "this process reaches no hosts now",
        )
        .after(5)
    })
}

/// Puts on record that a host was looked at.
pub(crate) async fn note(
    api: &AdminApi,
    caller: &Caller,
    action: &str,
    host: &HostName,
    done: bool,
    detail: Option<String>,
) -> Result<(), Problem> {
    let entry = NewAudit {
        actor: caller.actor(),
        action: action.to_owned(),
        subject: Some(host.to_string()),
        result: if done {
            AuditResult::Done
        } else {
            AuditResult::Failed
        },
        detail,
    };
    api.store().audit_note(entry).await?;
    Ok(())
}

fn bad_gateway(detail: String) -> Problem {
    Problem::new(StatusCode::BAD_GATEWAY, "unreachable", detail)
}

fn unreachable(error: KeysError) -> Problem {
    match error {
        KeysError::Endpoint(error) => error.into(),
        other => bad_gateway(printable(&other.to_string())),
    }
}

fn finding(pinned: &[String], shown: &[HostKey]) -> &'static str {
    let kept = pinned
        .iter()
        .filter(|line| shown.iter().any(|key| key.openssh == **line))
        .count();
    match (pinned.len(), kept) {
        (0, _) => "new",
        (all, kept) if kept == all && shown.len() == all => "unchanged",
        (_, 0) => "changed",
        _ => "rotated",
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    const KEY: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ9Yq1wU2lqEw2yB0oT1r0m9nXk3n3m1g0l8m1e6bQ2q";

    #[test]
    fn only_keys_are_pinned() {
        assert_eq!(checked(&format!("  {KEY}  root@web-1 ")).unwrap(), KEY);
        for line in [
            "",
            "ssh-ed25519",
            "ssh-ed25519 AAAA",
            "ssh-ed25519 !!!!",
            "ssh-dss AAAAB3NzaC1kc3MAAAAB",
            &KEY.replace("ssh-ed25519", "ssh-rsa"),
            "command=\"x\" ssh-ed25519 AAAA",
        ] {
            assert_eq!(checked(line), None, "{line}");
        }
    }

    #[test]
    fn a_fingerprint_is_of_the_key_alone() {
        let plain = pinned_key(KEY);
        assert!(
            plain.fingerprint.starts_with("SHA256:") && plain.fingerprint.len() == 50,
            "{plain:?}"
        );
        assert_eq!(
            pinned_key(&format!("{KEY} comment")).fingerprint,
            plain.fingerprint
        );
    }
}
