//! From an entry of the inventory to where and how to sign in.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use fleet_store::HostSpec;
use fleet_types::{Address, HostName, Invalid, UserName};
use ssh_exec::{Endpoint, HostKeys, Identity};

use crate::settings::SshDefaults;

/// Why a host cannot even be tried.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EndpointError {
    /// Neither the host nor the settings name a key or an agent.
    #[error("{host} has no key, and no default key or ssh-agent is configured")]
    NoIdentity {
        /// The host.
        host: HostName,
    },
    /// A jump host is not written as `user@address:port`.
    #[error("{host}: {source}")]
    Jump {
        /// The host.
        host: HostName,
        /// What is wrong with it.
        source: Invalid,
    },
}

/// Builds the endpoint of a host. `pinned` are its host keys as they are now.
///
/// A jump host is signed in to with the host's own credential, as its user and on port 22 unless it says otherwise; its
/// host key is looked up in the `known_hosts` file.
pub fn endpoint(
    name: &HostName,
    spec: &HostSpec,
    pinned: &[String],
    defaults: &SshDefaults,
) -> Result<Endpoint, EndpointError> {
    let identity = identity(name, spec, defaults)?;
    let connect_timeout = spec.app.timeouts.connect();
    let mut through = None;
    for text in &spec.jump {
        let jump = Jump::parse(text).map_err(|source| EndpointError::Jump {
            host: name.clone(),
            source,
        })?;
        through = Some(Box::new(Endpoint {
            name: format!("{} (on the way to {name})", jump.address),
            address: jump.address.into(),
            port: jump.port,
            user: jump.user.unwrap_or_else(|| spec.user.clone()).into(),
            identity: identity.clone(),
            host_keys: HostKeys {
                pinned: Vec::new(),
                known_hosts: defaults.known_hosts.clone(),
            },
            jump: through,
            connect_timeout,
        }));
    }
    Ok(Endpoint {
        name: name.to_string(),
        address: spec.address.to_string(),
        port: spec.port,
        user: spec.user.to_string(),
        identity,
        host_keys: HostKeys {
            pinned: pinned.to_vec(),
            known_hosts: defaults.known_hosts.clone(),
        },
        jump: through,
        connect_timeout,
    })
}

fn identity(
    name: &HostName,
    spec: &HostSpec,
    defaults: &SshDefaults,
) -> Result<Identity, EndpointError> {
    match &spec.key {
        Some(key) => Ok(Identity::File(expand(key, defaults.home.as_deref()))),
        None => defaults
            .identity
            .clone()
            .ok_or_else(|| EndpointError::NoIdentity { host: name.clone() }),
    }
}

fn expand(path: &str, home: Option<&Path>) -> PathBuf {
    match (path.strip_prefix("~/"), home) {
        (Some(rest), Some(home)) => home.join(rest),
        _ => PathBuf::from(path),
    }
}

/// One host on the way, `user@address:port`, each part but the address optional; IPv6 with a port in brackets.
#[derive(Debug, PartialEq, Eq)]
struct Jump {
    user: Option<UserName>,
    address: Address,
    port: u16,
}

impl Jump {
    fn parse(text: &str) -> Result<Self, Invalid> {
        let (user, place) = match text.rsplit_once('@') {
            Some((user, place)) => (Some(user.parse()?), place),
            None => (None, text),
        };
        let (address, port) = split_port(place).ok_or_else(|| {
            Invalid::new(
                "jump host",
                text,
                "must be user@address:port; an IPv6 address with a port in brackets",
            )
        })?;
        let port = match port {
            None => 22,
            Some(digits) => port_number(digits).ok_or_else(|| {
                Invalid::new("jump host", text, "must have a port from 1 to 65535")
            })?,
        };
        Ok(Self {
            user,
            address: address.parse()?,
            port,
        })
    }
}

fn split_port(place: &str) -> Option<(&str, Option<&str>)> {
    if let Some(rest) = place.strip_prefix('[') {
        let (address, after) = rest.split_once(']')?;
        return match after.strip_prefix(':') {
            Some(port) => Some((address, Some(port))),
            None if after.is_empty() => Some((address, None)),
            None => None,
        };
    }
    if place.parse::<IpAddr>().is_ok() {
        return Some((place, None));
    }
    match place.split_once(':') {
        Some((address, port)) => Some((address, Some(port))),
        None => Some((place, None)),
    }
}

fn port_number(digits: &str) -> Option<u16> {
    let plain = digits.bytes().all(|b| b.is_ascii_digit());
    digits.parse().ok().filter(|port| plain && *port != 0)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use fleet_store::sample_host;

    use super::*;

    fn spec(jump: &[&str]) -> HostSpec {
        HostSpec {
            address: "10.0.0.7".parse().unwrap(),
            port: 2222,
            jump: jump.iter().map(|j| (*j).to_owned()).collect(),
            ..sample_host("web-7").spec
        }
    }

    fn defaults() -> SshDefaults {
        SshDefaults {
            identity: Some(Identity::Agent("/run/agent".into())),
            known_hosts: Some("/home/op/.ssh/known_hosts".into()),
            home: Some("/home/op".into()),
        }
    }

    #[test]
    fn jump_hosts() {
        for (text, user, address, port) in [
            ("bastion", None, "bastion", 22),
            ("bastion:2200", None, "bastion", 2200),
            ("ops@bastion", Some("ops"), "bastion", 22),
            ("ops@10.1.2.3:22", Some("ops"), "10.1.2.3", 22),
            ("::1", None, "::1", 22),
            ("[2001:db8::7]", None, "2001:db8::7", 22),
            ("ops@[2001:db8::7]:2200", Some("ops"), "2001:db8::7", 2200),
        ] {
            let jump = Jump::parse(text).unwrap();
            let seen = (
                jump.user.as_ref().map(UserName::as_str),
                jump.address.as_str(),
                jump.port,
            );
            assert_eq!(seen, (user, address, port), "{text}");
        }
        for bad in [
            "",
            "@",
            "ops@",
            "@host",
            "host:",
            "host:0",
            "host:65536",
            "host:+1",
            "host:x",
            "[::1",
            "[::1]x",
            "[::1]:",
            "a b",
            "-oProxyCommand=x",
            "ops@-x",
            "host:22:22",
        ] {
            assert!(Jump::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_way_leads_through_the_outermost_first() {
        let name = "web-1".parse().unwrap();
        let keys = vec!["ssh-ed25519 AAAA".to_owned()];
        let end = endpoint(
            &name,
            &spec(&["edge:2200", "ops@inner"]),
            &keys,
            &defaults(),
        )
        .unwrap();
        assert_eq!(
            (end.address.as_str(), end.port, end.user.as_str()),
            ("10.0.0.7", 2222, "deploy")
        );
        assert_eq!(end.host_keys.pinned, keys);
        let inner = end.jump.unwrap();
        assert_eq!(
            (inner.address.as_str(), inner.port, inner.user.as_str()),
            ("inner", 22, "ops")
        );
        assert!(inner.host_keys.pinned.is_empty());
        let edge = inner.jump.unwrap();
        assert_eq!(
            (edge.address.as_str(), edge.port, edge.user.as_str()),
            ("edge", 2200, "deploy")
        );
        assert_eq!(edge.jump, None);
        assert_eq!(edge.identity, Identity::Agent("/run/agent".into()));
    }

    #[test]
    fn a_hosts_own_key_comes_before_the_default() {
        let name = "web-1".parse().unwrap();
        let with = |key: &str| HostSpec {
            key: Some(key.into()),
            ..spec(&[])
        };
        for (key, path) in [
            ("/k/id", "/k/id"),
            ("~/.ssh/id", "/home/op/.ssh/id"),
            ("id", "id"),
        ] {
            let end = endpoint(&name, &with(key), &[], &defaults()).unwrap();
            assert_eq!(end.identity, Identity::File(path.into()));
        }
        let none = endpoint(&name, &spec(&[]), &[], &SshDefaults::default());
        assert_eq!(none, Err(EndpointError::NoIdentity { host: name }));
    }
}
