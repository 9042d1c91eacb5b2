//! Values that reach a shell, git or systemd on a host. Each is checked once, here, by a grammar that leaves no room for
//! an option or a command; quoting comes on top.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A value that was refused: what it was for, what it was, and what is allowed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} {value:?} {why}")]
pub struct Invalid {
    /// What the value is for: `host name`, `branch`, `stages`, ...
    pub what: &'static str,
    /// The value as given, shortened.
    pub value: String,
    /// What is wrong with it and what is allowed.
    pub why: String,
}

impl Invalid {
    /// A refusal of `value`.
    #[must_use]
    pub fn new(what: &'static str, value: &str, why: impl Into<String>) -> Self {
        let mut shown: String = value.chars().take(80).collect();
        if shown.len() < value.len() {
            shown.push('…');
        }
        Self {
            what,
            value: shown,
            why: why.into(),
        }
    }
}

macro_rules! checked_text {
    ($(#[$doc:meta])* $name:ident, $check:path) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = Invalid;

            fn from_str(text: &str) -> Result<Self, Invalid> {
                $check(text).map(Self)
            }
        }

        impl TryFrom<String> for $name {
            type Error = Invalid;

            fn try_from(text: String) -> Result<Self, Invalid> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> String {
                value.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    };
}

checked_text! {
    /// A host's name in the fleet: letters, digits, `.`, `_` and `-`, starting with a letter or digit, at most 100.
    HostName, host_name
}
checked_text! {
    /// The name of a person or a token: letters, digits, `.`, `_`, `-` and `@`, starting with a letter or digit, at most 64.
    LoginName, login_name
}
checked_text! {
    /// DNS name or IP address (IPv6 without brackets).
    Address, address
}
checked_text! {
    /// User to sign in as.
    UserName, user_name
}
checked_text! {
    /// A full git commit hash, 40 or 64 lower-case hexadecimal digits.
    CommitHash, commit_hash
}
checked_text! {
    /// A git branch, by the rules of `git check-ref-format` and stricter: printable ASCII without shell characters, never
    /// starting with `-`.
    BranchName, branch_name
}
checked_text! {
    /// A git remote's name.
    RemoteName, remote_name
}
checked_text! {
    /// Absolute path of the repository on the host; no `..`, no control characters.
    RepoPath, repo_path
}
checked_text! {
    /// A systemd unit name, with or without `.service`.
    ServiceName, service_name
}

impl CommitHash {
    /// The first ten digits, as people see it.
    #[must_use]
    pub fn short(&self) -> &str {
        &self.0[..10]
    }
}

/// What a rollout was asked to bring the hosts to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetRef {
    /// Exactly this commit.
    Commit(CommitHash),
    /// What the branch points to when the rollout starts.
    Branch(BranchName),
}

impl FromStr for TargetRef {
    type Err = Invalid;

    /// A full hash is a commit, anything else a branch; a short hash is refused.
    fn from_str(text: &str) -> Result<Self, Invalid> {
        if let Ok(commit) = text.to_ascii_lowercase().parse() {
            return Ok(Self::Commit(commit));
        }
        let hexadecimal =
            (7..64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit());
        if hexadecimal && text.bytes().any(|b| b.is_ascii_digit()) {
            return Err(Invalid::new(
                "target",
                text,
                "looks like a short commit hash; give all 40 digits",
            ));
        }
        text.parse().map(Self::Branch)
    }
}

impl fmt::Display for TargetRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Commit(commit) => commit.fmt(f),
            Self::Branch(branch) => branch.fmt(f),
        }
    }
}

/// A label `key` or `key=value`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Label {
    /// Key.
    pub key: String,
    /// Value; empty for a bare label.
    pub value: String,
}

impl FromStr for Label {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let (key, value) = text.split_once('=').unwrap_or((text, ""));
        let allowed = |s: &str| {
            s.len() <= 100
                && s.bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"._-/".contains(&b))
        };
        if key.is_empty() || !allowed(key) || !allowed(value) || key.starts_with('-') {
            return Err(Invalid::new(
                "label",
                text,
                "must be key or key=value of letters, digits, '.', '_', '-' and '/'",
            ));
        }
        Ok(Self {
            key: key.to_owned(),
            value: value.to_owned(),
        })
    }
}

fn starts_alphanumeric(text: &str) -> bool {
    text.bytes()
        .next()
        .is_some_and(|b| b.is_ascii_alphanumeric())
}

fn login_name(text: &str) -> Result<String, Invalid> {
    let fits = starts_alphanumeric(text)
        && text.len() <= 64
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._-@".contains(&b));
    fits.then(|| text.to_owned()).ok_or_else(|| {
        Invalid::new(
            "name",
            text,
            "must be 1 to 64 letters, digits, '.', '_', '-' or '@', starting with a letter or digit",
        )
    })
}

fn host_name(text: &str) -> Result<String, Invalid> {
    let fits = starts_alphanumeric(text)
        && text.len() <= 100
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    fits.then(|| text.to_owned()).ok_or_else(|| {
        Invalid::new(
            "host name",
            text,
            "must be 1 to 100 letters, digits, '.', '_' or '-', starting with a letter or digit",
        )
    })
}

fn address(text: &str) -> Result<String, Invalid> {
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Ok(ip.to_string());
    }
    let name = text.strip_suffix('.').unwrap_or(text);
    let label = |l: &str| {
        !l.is_empty()
            && l.len() <= 63
            && !l.starts_with('-')
            && !l.ends_with('-')
            && l.bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    let all_digits = name
        .split('.')
        .all(|l| l.bytes().all(|b| b.is_ascii_digit()));
    let fits = name.len() <= 253 && name.split('.').all(label) && !all_digits;
    fits.then(|| name.to_ascii_lowercase())
        .ok_or_else(|| Invalid::new("address", text, "is neither a host name nor an IP address"))
}

fn user_name(text: &str) -> Result<String, Invalid> {
    let starts = text
        .bytes()
        .next()
        .is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_');
    let fits = starts
        && text.len() <= 64
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._-@\\".contains(&b));
    fits.then(|| text.to_owned())
        .ok_or_else(|| Invalid::new("user", text, "is not a user name"))
}

fn commit_hash(text: &str) -> Result<String, Invalid> {
    let fits = matches!(text.len(), 40 | 64)
        && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    fits.then(|| text.to_owned()).ok_or_else(|| {
        Invalid::new(
            "commit",
            text,
            "is not a full commit hash of 40 or 64 lower-case digits",
        )
    })
}

fn branch_name(text: &str) -> Result<String, Invalid> {
    let refuse = |why: &str| Err(Invalid::new("branch", text, why));
    if text.starts_with('-') {
        return refuse("starts with '-', which git would read as an option");
    }
    if text.is_empty() || text.len() > 200 {
        return refuse("must have 1 to 200 characters");
    }
    if !text
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"._-/+@#=,%".contains(&b))
    {
        return refuse("may hold letters, digits and ._-/+@#=,% only");
    }
    let component = |c: &str| {
        !c.is_empty() && !c.starts_with('.') && !c.ends_with(".lock") && !c.ends_with('.')
    };
    if !text.split('/').all(component) || text.contains("..") || text == "@" || text == "HEAD" {
        return refuse("is not a branch name by the rules of git check-ref-format");
    }
    Ok(text.to_owned())
}

fn remote_name(text: &str) -> Result<String, Invalid> {
    let fits = starts_alphanumeric(text)
        && text.len() <= 100
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
        && !text.contains("..")
        && !text.ends_with(".lock");
    fits.then(|| text.to_owned())
        .ok_or_else(|| Invalid::new("remote", text, "is not a git remote's name"))
}

fn repo_path(text: &str) -> Result<String, Invalid> {
    let refuse = |why: &str| Err(Invalid::new("repository path", text, why));
    if !text.starts_with('/') {
        return refuse("must be absolute");
    }
    if text.len() > 1000 || text.chars().any(char::is_control) {
        return refuse("must have at most 1000 characters and no control characters");
    }
    if text.split('/').any(|part| part == "..") {
        return refuse("must not contain '..'");
    }
    // One spelling per place: two entries with the same repository must be seen to be the same.
    let parts: Vec<&str> = text
        .split('/')
        .filter(|part| !part.is_empty() && *part != ".")
        .collect();
    if parts.is_empty() {
        return refuse("is the root folder");
    }
    Ok(format!("/{}", parts.join("/")))
}

fn service_name(text: &str) -> Result<String, Invalid> {
    let fits = starts_alphanumeric(text)
        && text.len() <= 255
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b":_.@-\\".contains(&b));
    fits.then(|| text.to_owned()).ok_or_else(|| {
        Invalid::new("service", text, "is not a systemd unit name (letters, digits and :_.@-\\, starting with a letter or digit)")
    })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn branches_that_git_would_read_as_options_are_refused() {
        for bad in [
            "--upload-pack=touch /x",
            "-x",
            "",
            "a..b",
            "a b",
            "a;b",
            "$(id)",
            "a.lock",
            "a/.b",
            "/a",
            "a/",
            "a//b",
            "HEAD",
            "@",
            "a\\b",
            "a~1",
            "a^",
            "a:b",
            "a?b",
            "a*b",
            "a[b",
            "ä",
            "a\nb",
            "a.",
        ] {
            assert!(bad.parse::<BranchName>().is_err(), "{bad:?}");
        }
        for good in [
            "main",
            "release/1.4",
            "feature_x",
            "v1.2.3",
            "user@host",
            "a+b",
            "dependabot/npm-1#2",
        ] {
            assert!(good.parse::<BranchName>().is_ok(), "{good:?}");
        }
    }

    #[test]
    fn a_target_is_a_full_hash_or_a_branch() {
        let hash = "0123456789abcdef0123456789abcdef01234567";
        assert!(matches!(hash.parse(), Ok(TargetRef::Commit(_))));
        assert!(matches!(
            hash.to_uppercase().parse(),
            Ok(TargetRef::Commit(_))
        ));
        assert!("0123456".parse::<TargetRef>().is_err(), "a short hash");
        assert!(matches!("main".parse(), Ok(TargetRef::Branch(_))));
        assert!(
            matches!("deadbeef".parse(), Ok(TargetRef::Branch(_))),
            "a word of letters is a branch"
        );
        assert!("--upload-pack=x".parse::<TargetRef>().is_err());
    }

    #[test]
    fn hosts_services_paths_and_addresses() {
        for bad in ["", "-a", ".a", "a b", "a/b", "a\n", "ä", "!a", "@a"] {
            assert!(bad.parse::<HostName>().is_err(), "{bad:?}");
        }
        for bad in ["", "-x", "a b", "a;b", "*", "a/b", "a\n"] {
            assert!(bad.parse::<ServiceName>().is_err(), "{bad:?}");
        }
        assert!("app@1.service".parse::<ServiceName>().is_ok());
        for bad in ["", "relative", "/a/../b", "/a\0", "/a\nb", "/"] {
            assert!(bad.parse::<RepoPath>().is_err(), "{bad:?}");
        }
        assert_eq!(
            "/srv//app/./x/".parse::<RepoPath>().unwrap().as_str(),
            "/srv/app/x"
        );
        for bad in [
            "",
            "a b",
            "-a",
            "a..b",
            "1.2.3",
            "256.1.1.1",
            "a/b",
            "[::1]",
        ] {
            assert!(bad.parse::<Address>().is_err(), "{bad:?}");
        }
        assert_eq!(
            "WWW.Example.ORG.".parse::<Address>().unwrap().as_str(),
            "www.example.org"
        );
        assert_eq!("::1".parse::<Address>().unwrap().as_str(), "::1");
    }
}
