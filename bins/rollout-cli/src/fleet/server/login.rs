//! Which server, and the token to show it.

use std::fmt;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use reqwest::Url;
use reqwest::header::HeaderValue;

use crate::failure::Failure;

/// Where a token comes from.
#[derive(Clone)]
pub(crate) enum TokenSource {
    /// A file whose first line it is.
    File(PathBuf),
    /// The value of a variable.
    Variable(String),
}

/// A server and the proof of who asks. `Debug` shows no secret.
#[derive(Clone)]
pub(crate) struct Login {
    pub(super) url: Url,
    /// `Bearer …`, marked as sensitive.
    pub(super) bearer: HeaderValue,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login")
            .field("url", &self.url.as_str())
            .finish_non_exhaustive()
    }
}

impl Login {
    /// Checks both before anything is sent.
    pub(crate) fn new(server: &str, token: Option<TokenSource>) -> Result<Self, Failure> {
        let url = server_url(server)?;
        let token = match token {
            Some(TokenSource::File(path)) => read_token(&path)?,
            Some(TokenSource::Variable(token)) => token.trim().to_owned(),
            None => {
                return Err(Failure::usage(format!("there is no token for {url}")).help(
                    "say --token-file FILE, or set ROLLOUT_TOKEN_FILE or ROLLOUT_TOKEN; rollout-cli tokens create NAME makes one",
                ));
            }
        };
        let bad = || {
            Failure::usage(
                "the token is no token: it is empty, or has other letters than tokens have",
            )
            .help("a token is one line that begins with rlt_")
        };
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
        if token.is_empty() || !token.bytes().all(plain) {
            return Err(bad());
        }
        let mut bearer = HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| bad())?;
        bearer.set_sensitive(true);
        Ok(Self { url, bearer })
    }
}

/// `https://…`, or `http://` on this machine: a token that crosses a network in the clear is everybody's.
fn server_url(text: &str) -> Result<Url, Failure> {
    let form = |why: &str| {
        let shown = fleet_types::printable(&without_secrets(text));
        Failure::usage(format!("{shown} is not the address of a server"))
            .why(why)
            .help("say --server https://rollout.example.com, or http://127.0.0.1:8080")
    };
    let url = Url::parse(text).map_err(|error| form(&error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(form("it must begin with https:// or http://"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(form(
            "it holds a user or password; the token goes into a file",
        ));
    }
    if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
        return Err(form(
            "it has a path; a server is named by host and port alone",
        ));
    }
    if url.scheme() == "http" && !is_loopback(&url) {
        return Err(
            Failure::usage(format!("{url} is not encrypted, and would show the token to the network"))
                .help("use https://, or a tunnel: ssh -L 8080:127.0.0.1:8080 HOST, then --server http://127.0.0.1:8080"),
        );
    }
    Ok(url)
}

fn is_loopback(url: &Url) -> bool {
    use std::net::{Ipv4Addr, Ipv6Addr};
    let host = url.host_str().unwrap_or_default();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || bare.parse::<Ipv4Addr>().is_ok_and(|ip| ip.is_loopback())
        || bare.parse::<Ipv6Addr>().is_ok_and(|ip| ip.is_loopback())
}

/// The address without what stands before an `@`.
fn without_secrets(text: &str) -> String {
    match (text.split_once("://"), text.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, rest))) => format!("{scheme}://{rest}"),
        _ => text.to_owned(),
    }
}

fn read_token(path: &Path) -> Result<String, Failure> {
    let refuse = |why: String| {
        Failure::usage(format!("the token file {} cannot be used", path.display()))
            .why(why)
            .help("it must be readable by you alone: chmod 600; its first line is the token")
    };
    let mode = fs::metadata(path)
        .map_err(|error| refuse(error.to_string()))?
        .permissions()
        .mode()
        & 0o777;
    if mode & 0o077 != 0 {
        return Err(refuse(format!(
            "it has mode {mode:03o}: others can read it"
        )));
    }
    let text = fs::read_to_string(path).map_err(|error| refuse(error.to_string()))?;
    Ok(text.lines().next().unwrap_or_default().trim().to_owned())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_may_be_told_a_token() {
        let token = || Some(TokenSource::Variable("rlt_abc".to_owned()));
        for (url, fine) in [
            ("https://rollout.example.com", true),
            ("https://rollout.example.com:8443/", true),
            ("http://127.0.0.1:8080", true),
            ("http://localhost:8080", true),
            ("http://[::1]:8080", true),
            ("http://rollout.example.com", false),
            ("http://10.0.0.1:8080", false),
            ("http://127.0.0.1.example.com", false),
            ("ftp://rollout.example.com", false),
            ("rollout.example.com", false),
            ("https://ann:secret@rollout.example.com", false),
            ("https://rollout.example.com/api", false),
            ("https://rollout.example.com/?token=x", false),
            ("", false),
        ] {
            let login = Login::new(url, token());
            assert_eq!(login.is_ok(), fine, "{url}: {login:?}");
            if let Err(failure) = login {
                let lines = failure.lines();
                assert!(lines.len() <= 3, "{lines:?}");
                assert!(!lines.concat().contains("secret"), "{lines:?}");
            }
        }
    }

    #[test]
    fn tokens_that_may_be_shown() {
        for token in ["", " ", "two words", "rlt_\nX-Other: 1", "rlt_ä"] {
            let source = TokenSource::Variable(token.to_owned());
            assert!(Login::new("https://h", Some(source)).is_err(), "{token:?}");
        }
        let login = Login::new(
            "https://h",
            Some(TokenSource::Variable(" rlt_abc\n".to_owned())),
        )
        .unwrap();
        assert_eq!(login.bearer.to_str().unwrap(), "Bearer rlt_abc");
        assert!(!format!("{login:?}").contains("abc"));
    }

    #[test]
    fn a_token_file_is_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        fs::write(&path, "rlt_abc\nmore\n").unwrap();
        for (mode, fine) in [(0o600, true), (0o400, true), (0o640, false), (0o644, false)] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let login = Login::new("https://h", Some(TokenSource::File(path.clone())));
            assert_eq!(login.is_ok(), fine, "{mode:o}");
        }
    }
}
