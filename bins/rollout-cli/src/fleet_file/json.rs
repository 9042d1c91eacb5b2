//! The JSON form: `{"hosts":[...]}`.

use std::collections::BTreeMap;

use fleet_types::view::HostEntry;
use fleet_types::{
    Address, BranchName, HostName, Label, RemoteName, RepoPath, ServiceName, StepTimeouts, UserName,
};
use serde::de::{Error, IgnoredAny};
use serde::{Deserialize, Deserializer, Serialize};

use super::entry::{Entry, Said};
use super::{BadLine, Placed};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FleetIn {
    hosts: Vec<HostIn>,
}

/// A host as export writes it; what `hosts list --json` says about its state is let through and not read.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HostIn {
    name: HostName,
    address: Address,
    #[serde(default, deserialize_with = "port")]
    port: Said<u16>,
    #[serde(default)]
    user: Said<UserName>,
    #[serde(default)]
    key: Said<String>,
    #[serde(default)]
    jump: Said<Vec<String>>,
    #[serde(default, deserialize_with = "labels")]
    labels: Said<BTreeMap<String, String>>,
    #[serde(default)]
    owner: Said<String>,
    #[serde(default)]
    repo: Said<RepoPath>,
    #[serde(default)]
    remote: Said<RemoteName>,
    #[serde(default)]
    branch: Said<BranchName>,
    #[serde(default)]
    service: Said<ServiceName>,
    #[serde(default)]
    install: Said<String>,
    #[serde(default)]
    verify: Said<String>,
    #[serde(default)]
    generated: Said<Vec<String>>,
    #[serde(default)]
    min_free_mib: Said<u32>,
    #[serde(default)]
    timeouts: Said<StepTimeouts>,
    #[serde(default, rename = "current_version")]
    _current_version: IgnoredAny,
    #[serde(default, rename = "previous_version")]
    _previous_version: IgnoredAny,
    #[serde(default, rename = "target_version")]
    _target_version: IgnoredAny,
    #[serde(default, rename = "update_status")]
    _update_status: IgnoredAny,
    #[serde(default, rename = "needs_attention")]
    _needs_attention: IgnoredAny,
    #[serde(default, rename = "last_update_at")]
    _last_update_at: IgnoredAny,
    #[serde(default, rename = "health")]
    _health: IgnoredAny,
    #[serde(default, rename = "checked_at")]
    _checked_at: IgnoredAny,
    #[serde(default, rename = "health_since")]
    _health_since: IgnoredAny,
    #[serde(default, rename = "health_message")]
    _health_message: IgnoredAny,
    #[serde(default, rename = "attempt")]
    _attempt: IgnoredAny,
}

fn port<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Said<u16>, D::Error> {
    match Said::deserialize(deserializer)? {
        Said::Value(0) => Err(D::Error::custom("port 0 is not from 1 to 65535")),
        port => Ok(port),
    }
}

fn labels<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Said<BTreeMap<String, String>>, D::Error> {
    let said: Said<BTreeMap<String, String>> = Said::deserialize(deserializer)?;
    if let Said::Value(labels) = &said {
        for (key, value) in labels {
            let text = if value.is_empty() {
                key.clone()
            } else {
                format!("{key}={value}")
            };
            let label: Label = text.parse().map_err(D::Error::custom)?;
            if label.key != *key {
                return Err(D::Error::custom(format!("label {key:?} may not hold '='")));
            }
        }
    }
    Ok(said)
}

/// Reads every host with its place in the list, or says which line is bad.
pub(crate) fn read_json(text: &str) -> Result<Vec<Placed>, BadLine> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let fleet: FleetIn = serde_json::from_str(text).map_err(|error| {
        let full = error.to_string();
        // The place stands at the end of the message, in other words.
        let why = full
            .rsplit_once(" at line ")
            .map_or(full.as_str(), |(why, _)| why);
        BadLine {
            line: error.line(),
            why: why.to_owned(),
        }
    })?;
    let placed = |(at, host): (usize, HostIn)| Placed {
        place: format!("host {}", at + 1),
        entry: host.entry(),
    };
    Ok(fleet.hosts.into_iter().enumerate().map(placed).collect())
}

impl HostIn {
    fn entry(self) -> Entry {
        Entry {
            name: self.name,
            address: Some(self.address),
            port: self.port,
            user: self.user,
            key: self.key,
            jump: self.jump,
            labels: self.labels,
            groups: None,
            owner: self.owner,
            repo: self.repo,
            remote: self.remote,
            branch: self.branch,
            service: self.service,
            install: self.install,
            verify: self.verify,
            generated: self.generated,
            min_free_mib: self.min_free_mib,
            timeouts: self.timeouts,
        }
    }
}

#[derive(Serialize)]
struct FleetOut<'a> {
    hosts: &'a [HostEntry],
}

/// Writes hosts so that reading them again gives the same.
pub(crate) fn write_json(hosts: &[HostEntry]) -> Result<String, serde_json::Error> {
    serde_json::to_string_pretty(&FleetOut { hosts }).map(|text| text + "\n")
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_bad_line_is_named_by_its_number() {
        for (text, line, word) in [
            (
                "{\"hosts\":[\n{\"name\":\"a\",\"address\":\"10.0.0.1\"},\n{\"name\":\"b c\",\"address\":\"h\"}]}",
                3,
                "host name",
            ),
            (
                "{\"hosts\":[\n{\"name\":\"a\",\"adress\":\"h\"}]}",
                2,
                "adress",
            ),
            (
                "{\"hosts\":[{\"name\":\"a\",\"address\":\"h\",\n\"port\":0}]}",
                2,
                "port",
            ),
            (
                "{\"hosts\":[{\"name\":\"a\",\"address\":\"h\",\n\"labels\":{\"a b\":\"\"}}]}",
                2,
                "label",
            ),
            ("[]", 1, ""),
            ("{\"hosts\":[\n", 2, "EOF"),
        ] {
            let error = read_json(text).unwrap_err();
            assert_eq!(error.line, line, "{text:?}: {error:?}");
            assert!(
                error.why.contains(word) && !error.why.contains(" at line "),
                "{text:?}: {error:?}"
            );
        }
    }

    #[test]
    fn what_list_shows_can_be_imported() {
        let text = r#"{"hosts":[{"name":"a","address":"h","port":22,"user":"u","labels":{"k":"v"},"owner":null,
            "current_version":null,"previous_version":null,"target_version":null,"update_status":null,
            "needs_attention":false,"last_update_at":null,"health":"unknown","checked_at":null,"health_since":null,"health_message":null,"attempt":null}]}"#;
        let entries = read_json(text).unwrap();
        assert_eq!(entries[0].entry.owner, Said::Nothing);
        assert_eq!(entries[0].entry.repo, Said::No);
    }
}
