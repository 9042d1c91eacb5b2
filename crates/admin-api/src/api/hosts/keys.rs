//! Host keys: what a host shows, and what is pinned.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use fleet_store::NewAudit;
use fleet_types::{AuditResult, HostName, printable};
use rollout_orchestrator::{SshDefaults, endpoint};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use ssh_exec::{ConnectError, HostKey, Identity, Transport};
use utoipa::ToSchema;

use crate::api::body::Fields;
use crate::api::hosts::{HostBody, body, host_name, record};
use crate::api::openapi::ProblemBody;
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

/// A host key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = HostKey)]
pub(crate) struct KeyView {
    pub(crate) algorithm: String,
    /// `SHA256:…`, to compare with what the host itself says.
    pub(crate) fingerprint: String,
    /// The line to pin.
    pub(crate) openssh: String,
}

/// What a host shows now.
#[derive(Serialize, ToSchema)]
pub(crate) struct ScanBody {
    pub(crate) keys: Vec<KeyView>,
    /// Compared with what is pinned: `new`, `unchanged`, `rotated` (one is still shown) or `changed`.
    pub(crate) finding: &'static str,
}

impl KeyView {
    /// A pinned line.
    pub(crate) fn of(line: &str) -> Self {
        let mut words = line.split_whitespace();
        let algorithm = words.next().unwrap_or_default().to_owned();
        let blob = words
            .next()
            .and_then(|text| STANDARD.decode(text).ok())
            .unwrap_or_default();
        let fingerprint = format!("SHA256:{}", STANDARD_NO_PAD.encode(Sha256::digest(&blob)));
        Self {
            algorithm,
            fingerprint,
            openssh: line.to_owned(),
        }
    }

    fn shown(key: HostKey) -> Self {
        Self {
            algorithm: key.algorithm,
            fingerprint: key.fingerprint,
            openssh: key.openssh,
        }
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
#[utoipa::path(put, path = "/api/hosts/{name}/keys", tag = "hosts", params(("name" = String, Path)), request_body = KeysBody,
    responses((status = 200, body = HostBody), (status = 404, body = ProblemBody, content_type = "application/problem+json"),
        (status = 422, body = ProblemBody, content_type = "application/problem+json")))]
pub(crate) async fn pin(
    State(api): State<AdminApi>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    mut fields: Fields,
) -> Result<Json<HostBody>, Problem> {
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
    api.store()
        .host_pin(&host_name(&name)?, keys, &caller.actor())
        .await?;
    let record = record(&api, &name).await?;
    Ok(Json(body(&api, &caller, record).await?))
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
    let transport = api.process().transport().ok_or_else(|| {
        Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "no_transport",
            "this process reaches no hosts now",
        )
        .after(5)
    })?;
    let mut defaults: SshDefaults = api.orchestrator().settings().ssh.clone();
    // No credential is offered to the host itself, so it does not matter that there is none.
    defaults
        .identity
        .get_or_insert(Identity::Agent(std::path::PathBuf::new()));
    let endpoint = endpoint(&host.name, &host.spec, &host.host_keys, &defaults)?;
    let shown = transport.host_keys(&endpoint).await;
    note(&api, &caller, &host.name, shown.is_ok()).await?;
    let keys = shown.map_err(|error| unreachable(&host.name, &error))?;
    if keys.is_empty() {
        return Err(Problem::new(
            StatusCode::BAD_GATEWAY,
            "unreachable",
            format!("{} showed no key", host.name),
        ));
    }
    let finding = finding(&host.host_keys, &keys);
    Ok(Json(ScanBody {
        keys: keys.into_iter().map(KeyView::shown).collect(),
        finding,
    }))
}

async fn note(api: &AdminApi, caller: &Caller, host: &HostName, done: bool) -> Result<(), Problem> {
    let entry = NewAudit {
        actor: caller.actor(),
        action: "host.scan".to_owned(),
        subject: Some(host.to_string()),
        result: if done {
            AuditResult::Done
        } else {
            AuditResult::Failed
        },
        detail: None,
    };
    api.store().audit_note(entry).await?;
    Ok(())
}

fn unreachable(host: &HostName, error: &ConnectError) -> Problem {
    let bad_gateway = |detail: String| Problem::new(StatusCode::BAD_GATEWAY, "unreachable", detail);
    match error {
        // These name files of this machine.
        ConnectError::Identity(_) | ConnectError::KnownHostsUnreadable { .. } => {
            log_cause("host keys could not be fetched", error);
            bad_gateway(format!(
                "{host} could not be asked; the log of this server says why"
            ))
        }
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
        let plain = KeyView::of(KEY);
        assert!(
            plain.fingerprint.starts_with("SHA256:") && plain.fingerprint.len() == 50,
            "{plain:?}"
        );
        assert_eq!(
            KeyView::of(&format!("{KEY} comment")).fingerprint,
            plain.fingerprint
        );
    }
}
