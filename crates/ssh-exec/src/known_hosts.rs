//! OpenSSH's `known_hosts` files, read as OpenSSH reads them.
//!
//! Deliberately absent: `@cert-authority` lines are skipped, for host certificates are not asked for.

use hmac::{Hmac, KeyInit as _, Mac as _};
use russh::keys::PublicKey;
use russh::keys::ssh_encoding::base64::{Base64, Encoding as _};
use sha1::Sha1;

/// The port that has no part in a host's name.
const SSH_PORT: u16 = 22;

/// A parsed file.
#[derive(Debug, Default)]
pub(crate) struct KnownHosts {
    lines: Vec<Line>,
}

#[derive(Debug)]
struct Line {
    revoked: bool,
    hosts: Hosts,
    key: PublicKey,
}

#[derive(Debug)]
enum Hosts {
    /// Comma-separated patterns, lower-case.
    Patterns(String),
    /// `|1|salt|HMAC-SHA1(salt, name)`
    Hashed { salt: Vec<u8>, hash: Vec<u8> },
}

impl KnownHosts {
    /// Parses a file. A line that cannot be understood is skipped; the others hold.
    pub(crate) fn parse(content: &[u8]) -> Self {
        Self {
            lines: content
                .split(|byte| *byte == b'\n')
                .filter_map(Line::parse)
                .collect(),
        }
    }

    /// Keys that the host may show.
    pub(crate) fn accepted(&self, host: &str, port: u16) -> Vec<PublicKey> {
        let keys = self.keys(&name(host, port), false);
        if keys.is_empty() && port != SSH_PORT {
            // As OpenSSH does, where nothing is known of the name with the port.
            return self.keys(&name(host, SSH_PORT), false);
        }
        keys
    }

    /// Keys that nobody may show under this name.
    pub(crate) fn revoked(&self, host: &str, port: u16) -> Vec<PublicKey> {
        let mut keys = self.keys(&name(host, port), true);
        if port != SSH_PORT {
            keys.extend(self.keys(&name(host, SSH_PORT), true));
        }
        keys
    }

    fn keys(&self, name: &str, revoked: bool) -> Vec<PublicKey> {
        self.lines
            .iter()
            .filter(|line| line.revoked == revoked && line.hosts.contain(name))
            .map(|line| line.key.clone())
            .collect()
    }
}

/// How a host is named in the file.
fn name(host: &str, port: u16) -> String {
    let host = host.to_ascii_lowercase();
    if port == SSH_PORT {
        host
    } else {
        format!("[{host}]:{port}")
    }
}

impl Line {
    fn parse(line: &[u8]) -> Option<Self> {
        let line = str::from_utf8(line).ok()?;
        let mut words = line.split_ascii_whitespace();
        let mut hosts = words.next()?;
        let mut revoked = false;
        match hosts {
            "@revoked" => {
                revoked = true;
                hosts = words.next()?;
            }
            marker if marker.starts_with('@') => return None,
            comment if comment.starts_with('#') => return None,
            _ => {}
        }
        let key = parse_key(words.next()?, words.next()?)?;
        Some(Self {
            revoked,
            hosts: Hosts::parse(hosts)?,
            key,
        })
    }
}

/// A key whose data is of the type that stands before it.
pub(crate) fn parse_key(algorithm: &str, data: &str) -> Option<PublicKey> {
    let key = russh::keys::parse_public_key_base64(data).ok()?;
    (key.algorithm().as_str() == algorithm).then_some(key)
}

impl Hosts {
    fn parse(field: &str) -> Option<Self> {
        let Some(hashed) = field.strip_prefix('|') else {
            return Some(Self::Patterns(field.to_ascii_lowercase()));
        };
        let (salt, hash) = hashed.strip_prefix("1|")?.split_once('|')?;
        let salt = Base64::decode_vec(salt).ok()?;
        Some(Self::Hashed {
            salt,
            hash: Base64::decode_vec(hash).ok()?,
        })
    }

    fn contain(&self, name: &str) -> bool {
        match self {
            Self::Patterns(patterns) => in_list(patterns, name),
            Self::Hashed { salt, hash } => {
                Hmac::<Sha1>::new_from_slice(salt).is_ok_and(|mut mac| {
                    mac.update(name.as_bytes());
                    mac.finalize().into_bytes().as_slice() == hash.as_slice()
                })
            }
        }
    }
}

/// A list matches when a pattern of it matches and none of the negated ones does.
fn in_list(patterns: &str, name: &str) -> bool {
    let mut found = false;
    for pattern in patterns.split(',') {
        match pattern.strip_prefix('!') {
            Some(negated) if glob(negated.as_bytes(), name.as_bytes()) => return false,
            Some(_) => {}
            None => found |= glob(pattern.as_bytes(), name.as_bytes()),
        }
    }
    found
}

/// `*` is any text and `?` any one character. Takes time linear in pattern times name, whatever the pattern.
fn glob(pattern: &[u8], name: &[u8]) -> bool {
    let (mut at, mut seen) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while seen < name.len() {
        match pattern.get(at) {
            Some(b'*') => {
                at += 1;
                retry = Some((at, seen));
            }
            Some(byte) if *byte == b'?' || *byte == name[seen] => {
                at += 1;
                seen += 1;
            }
            _ => match &mut retry {
                Some((after_star, begin)) => {
                    *begin += 1;
                    (at, seen) = (*after_star, *begin);
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ONE: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";
    const TWO: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIK2pr+Bfus1hvPof4Wb/plZCzSbqadHH0u+/f4ODtKnE";

    /// Which of the two keys are accepted and revoked for `host.example` on port 2222.
    #[track_caller]
    fn check(content: &str, accepted: &[&str], revoked: &[&str]) {
        let content = content.replace("ONE", ONE).replace("TWO", TWO);
        let known = KnownHosts::parse(content.as_bytes());
        let shown = |keys: Vec<PublicKey>| {
            keys.iter()
                .map(|key| key.to_openssh().unwrap())
                .collect::<Vec<_>>()
        };
        assert_eq!(
            shown(known.accepted("Host.Example", 2222)),
            accepted,
            "accepted by {content:?}"
        );
        assert_eq!(
            shown(known.revoked("Host.Example", 2222)),
            revoked,
            "revoked by {content:?}"
        );
    }

    #[test]
    fn lines_are_read_as_openssh_reads_them() {
        check("", &[], &[]);
        check("[host.example]:2222 ONE", &[ONE], &[]);
        check("  [HOST.example]:2222\tONE a comment\r\n", &[ONE], &[]);
        check("host.example ONE", &[ONE], &[]);
        check("host.example ONE\n[host.example]:2222 TWO", &[TWO], &[]);
        check(
            "[host.example]:2222 ONE\n[host.example]:2222 TWO",
            &[ONE, TWO],
            &[],
        );
        check("other,[h?st.*]:2222 ONE", &[ONE], &[]);
        check("*,![host.example]:2222 ONE\n", &[ONE], &[]);
        check("[host.example]:22 ONE\n[host.example]:22222 ONE", &[], &[]);
        check("#[host.example]:2222 ONE", &[], &[]);
        check(
            "[host.example]:2222 ssh-ed25519 AAAA\n[host.example]:2222 ONE",
            &[ONE],
            &[],
        );
        check(
            "[host.example]:2222 ssh-rsa AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ",
            &[],
            &[],
        );
        check(
            "@revoked * ONE\n[host.example]:2222 ONE",
            &[ONE],
            &[ONE, ONE],
        );
        check("@revoked host.example TWO", &[], &[TWO]);
        check("@cert-authority * ONE", &[], &[]);
        check("@unknown * ONE", &[], &[]);
        check("[host.example]:2222", &[], &[]);
        check("@revoked", &[], &[]);
        check("|1|broken ONE\n|2|a|b ONE\n|1|!|! ONE", &[], &[]);
    }

    #[test]
    fn hashed_names_are_found() {
        // ssh-keygen -H over `[host.example]:2222` would give another salt each time; this one is a fixed one.
        let salt = b"0123456789abcdefghij";
        let mut mac = Hmac::<Sha1>::new_from_slice(salt).unwrap();
        mac.update(b"[host.example]:2222");
        let hash = Base64::encode_string(&mac.finalize().into_bytes());
        check(
            &format!("|1|{}|{hash} ONE", Base64::encode_string(salt)),
            &[ONE],
            &[],
        );
    }

    #[test]
    fn patterns_match() {
        for (pattern, name, expected) in [
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
            ("a*b*c", "axxbyyc", true),
            ("a*b*c", "axxbyy", false),
            ("?", "", false),
            ("??", "ab", true),
            ("*a", "aaab", false),
            ("a**", "a", true),
        ] {
            assert_eq!(
                glob(pattern.as_bytes(), name.as_bytes()),
                expected,
                "{pattern} {name}"
            );
        }
        let stars = "*a".repeat(500);
        assert!(!glob(stars.as_bytes(), "a".repeat(499).as_bytes()));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_file_can_be_read(content in prop::collection::vec(any::<u8>(), 0..300), host in ".{0,30}") {
            let known = KnownHosts::parse(&content);
            let _ = (known.accepted(&host, 2222), known.revoked(&host, 22));
        }

        #[test]
        fn near_files_can_be_read(content in "[@|1a*!, \n]{0,40}(ssh-ed25519 [A-Za-z0-9+/=]{0,70})?") {
            let known = KnownHosts::parse(content.as_bytes());
            let _ = (known.accepted("a", 2222), known.revoked("a", 22));
        }
    }
}
