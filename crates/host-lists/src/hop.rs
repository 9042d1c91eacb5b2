use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use fleet_types::{Address, UserName};

use crate::said::port_number;

/// Why a command in place of a jump host is refused: what it does is not ours to guess.
pub(crate) const NO_COMMAND: &str =
    "ProxyCommand cannot be followed; name the jump host in ProxyJump";

/// Why making another name of a host's is refused: it depends on what names there are.
pub(crate) const NO_CANONICAL: &str =
    "CanonicalizeHostname cannot be followed; say the whole name in HostName";

/// Hosts on the way to one: more are a mistake.
const MOST_HOPS: usize = 8;

/// A host on the way to others, as `ssh -J` names it: `user@host:port`. The host may be a name that only the list knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hop {
    pub user: Option<UserName>,
    pub host: String,
    pub port: Option<u16>,
}

impl FromStr for Hop {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("{text:?} is not a jump host, which is user@host:port");
        let (user, place) = match text.rsplit_once('@') {
            Some((user, place)) => (Some(user.parse().map_err(|_| bad())?), place),
            None => (None, text),
        };
        let bare = place.ends_with(']') || place.parse::<Ipv6Addr>().is_ok();
        let (host, port) = match place.rsplit_once(':') {
            Some((host, port)) if !bare => (host, Some(port_number(port).ok_or_else(bad)?)),
            _ => (place, None),
        };
        let inner = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
        let host = inner.unwrap_or(host).to_owned();
        // What a list calls its hosts is wider than what addresses are, but no option and nothing quoted.
        let strange = |c: char| c.is_whitespace() || c.is_control() || "[]@/\"'`%$".contains(c);
        if host.is_empty() || host.len() > 253 || host.starts_with('-') || host.contains(strange) {
            return Err(bad());
        }
        Ok(Self { user, host, port })
    }
}

impl Hop {
    /// The hosts of `ProxyJump` or `-J`: commas between them, or `none`.
    pub(crate) fn list(text: &str) -> Result<Vec<Self>, String> {
        if text.eq_ignore_ascii_case("none") {
            return Ok(Vec::new());
        }
        if text.split(',').nth(MOST_HOPS).is_some() {
            return Err(format!("there are more than {MOST_HOPS} jump hosts"));
        }
        text.split(',').map(str::parse).collect()
    }

    /// The hop, unless its host is no address.
    pub(crate) fn checked(self) -> Result<Self, String> {
        let address = self.host.parse::<Address>();
        let host = address.map_err(|error| error.to_string())?.to_string();
        Ok(Self { host, ..self })
    }
}

impl fmt::Display for Hop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(user) = &self.user {
            write!(f, "{user}@")?;
        }
        match self.port {
            Some(port) if self.host.contains(':') => write!(f, "[{}]:{port}", self.host),
            Some(port) => write!(f, "{}:{port}", self.host),
            None => f.write_str(&self.host),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jump_hosts_as_ssh_names_them() {
        for (text, expected) in [
            ("none", Some("")),
            ("edge", Some("edge")),
            ("ops@edge:2200,10.0.0.1", Some("ops@edge:2200 10.0.0.1")),
            ("[2001:DB8::1]:22,[::1]", Some("[2001:db8::1]:22 ::1")),
            ("2001:db8::2", Some("2001:db8::2")),
            ("a,b,c,d,e,f,g,h", Some("a b c d e f g h")),
            ("a,b,c,d,e,f,g,h,i", None),
            ("", None),
            ("a,,b", None),
            ("a:0", None),
            ("a:+1", None),
            ("a:b:1", None),
            ("o p@a", None),
            ("a b", None),
            ("-oProxyCommand=x", None),
            ("ssh://a", None),
            ("%h.far", None),
        ] {
            let hops = Hop::list(text)
                .and_then(|hops| hops.into_iter().map(Hop::checked).collect::<Result<_, _>>());
            let shown = hops.map(|hops: Vec<Hop>| {
                let hops: Vec<String> = hops.iter().map(Hop::to_string).collect();
                hops.join(" ")
            });
            assert_eq!(shown.ok().as_deref(), expected, "{text:?}");
        }
    }
}
