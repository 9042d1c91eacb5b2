//! What a PostgreSQL URL asks for.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode as Negotiation};

use crate::error::StoreError;

/// How a connection is protected: libpq's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SslMode {
    /// Not at all.
    Disable,
    /// Against listeners, where the server can.
    Prefer,
    /// Against listeners.
    Require,
    /// The certificate is of a trusted authority.
    VerifyCa,
    /// And it is for the host that was asked for.
    VerifyFull,
}

impl SslMode {
    const ALL: [(&str, Self); 5] = [
        ("disable", Self::Disable),
        ("prefer", Self::Prefer),
        ("require", Self::Require),
        ("verify-ca", Self::VerifyCa),
        ("verify-full", Self::VerifyFull),
    ];
}

impl fmt::Display for SslMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::ALL.iter().find(|(_, mode)| mode == self);
        f.write_str(name.map_or("", |(name, _)| name))
    }
}

/// Which authorities are trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Roots {
    /// Nothing was said: those of the system, where certificates are looked at.
    Unsaid,
    /// Those of the system.
    System,
    /// Those in a file.
    File(PathBuf),
}

/// What a URL asks for.
pub(super) struct Asked {
    pub(super) config: Config,
    pub(super) mode: SslMode,
    pub(super) roots: Roots,
}

/// Reads the URL. What it says wrongly about TLS is refused: nothing is ever sent in the clear that was to be protected.
pub(super) fn read(url: &str, patience: Duration) -> Result<Asked, StoreError> {
    let refuse = |why: &str| StoreError::Url {
        url: format!("postgres://… ({why})"),
    };
    if !is_clear(url) {
        return Err(refuse(
            "where the password ends is not clear: in it, and in names, @ is written %40, / %2F and ? %3F",
        ));
    }
    let (rest, asked) = take_tls(url);
    let unread = "as given, it cannot be read";
    let mut config = Config::from_str(&rest).map_err(|_| refuse(unread))?;
    let hosts = config.get_hosts();
    // Without a name there is nothing that a certificate could be for.
    let nameless = |host: &Host| matches!(host, Host::Tcp(name) if name.is_empty());
    if hosts.is_empty() || hosts.iter().any(nameless) {
        return Err(refuse(
            "a host in it has no name; a folder of sockets is said as host=FOLDER, a port without a host as port=NUMBER",
        ));
    }
    let (mode, roots) = tls(&asked, &config)?;
    config
        .ssl_mode(match mode {
            SslMode::Disable => Negotiation::Disable,
            SslMode::Prefer => Negotiation::Prefer,
            SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => Negotiation::Require,
        })
        .keepalives_idle(patience)
        .keepalives_interval(Duration::from_secs(5))
        .keepalives_retries(2)
        .tcp_user_timeout(patience * 2);
    if config.get_connect_timeout().is_none() {
        config.connect_timeout(patience);
    }
    if config.get_application_name().is_none() {
        config.application_name("rollout");
    }
    Ok(Asked {
        config,
        mode,
        roots,
    })
}

/// Whether it can only be meant as it is read: the user and the password end at the first '@', wherever that stands. Else a
/// part of a password is taken for the host, which is looked up and shown.
fn is_clear(url: &str) -> bool {
    let Some((_, rest)) = url.split_once("://") else {
        return true;
    };
    let Some((credentials, place)) = rest.split_once('@') else {
        return true;
    };
    let user = credentials.split(':').next().unwrap_or_default();
    let parameters = credentials.split_once('?').map(|(_, after)| plain(after));
    let are_ours = |text: String| text.contains("user=") || text.contains("password=");
    let path = place.split('?').next().unwrap_or_default();
    !user.contains(['/', '?'])
        && !parameters.is_some_and(are_ours)
        && !path.contains(['@', '=', '&'])
}

/// The URL without what it says about TLS, and that.
fn take_tls(url: &str) -> (String, Vec<(String, String)>) {
    // Up to the first '@' it is the user and the password, whatever they hold.
    let credentials = url.find('@').unwrap_or_default();
    let Some(query) = url[credentials..].find('?').map(|at| at + credentials) else {
        return (url.to_owned(), Vec::new());
    };
    let mut asked = Vec::new();
    let mut others = Vec::new();
    for pair in url[query + 1..].split('&') {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let key = plain(key).to_ascii_lowercase();
        match key.as_str() {
            "sslmode" | "sslrootcert" => asked.push((key, plain(value))),
            _ => others.push(pair),
        }
    }
    let mark = if others.is_empty() { "" } else { "?" };
    let rest = format!("{}{mark}{}", &url[..query], others.join("&"));
    (rest, asked)
}

fn tls(asked: &[(String, String)], config: &Config) -> Result<(SslMode, Roots), StoreError> {
    let refuse = |cause: String, help: &str| StoreError::Tls {
        database: "postgres://…".to_owned(),
        cause,
        help: help.to_owned(),
    };
    let mut mode = None;
    let mut roots = Roots::Unsaid;
    for (key, value) in asked {
        if key == "sslrootcert" {
            roots = match value.as_str() {
                "system" => Roots::System,
                path if path.starts_with('/') => Roots::File(path.into()),
                path => {
                    return Err(refuse(
                        format!(
                            "sslrootcert={path} is neither a path from the root nor \"system\""
                        ),
                        "say sslrootcert=/path/to/ca.pem, or sslrootcert=system for what this system trusts",
                    ));
                }
            };
            continue;
        }
        let known = SslMode::ALL.iter().find(|(name, _)| name == value);
        let Some((_, said)) = known else {
            return Err(refuse(
                format!("sslmode={value} is no mode that is known here"),
                "say sslmode=disable, prefer, require, verify-ca or verify-full",
            ));
        };
        mode = Some(*said);
    }
    let hosts = config.get_hosts();
    // Where one is given it is connected to, whatever the host's name says.
    let addresses = config.get_hostaddrs();
    let is_socket = |host: &Host| matches!(host, Host::Unix(_));
    if !addresses.is_empty() && hosts.iter().any(is_socket) {
        return Err(refuse(
            "hostaddr is given beside a folder of sockets, which has no address".to_owned(),
            "leave hostaddr out, or name a host that it is the address of",
        ));
    }
    // A socket in a folder never leaves the machine, and the server speaks no TLS on it.
    if hosts.iter().all(is_socket) {
        return Ok((SslMode::Disable, roots));
    }
    let here = hosts.iter().all(is_here) && addresses.iter().all(IpAddr::is_loopback);
    let unsaid = if here && roots == Roots::Unsaid {
        SslMode::Disable
    } else {
        SslMode::VerifyFull
    };
    Ok((mode.unwrap_or(unsaid), roots))
}

/// Whether a host is this machine whoever answers for names.
fn is_here(host: &Host) -> bool {
    match host {
        Host::Unix(_) => true,
        Host::Tcp(name) if name.eq_ignore_ascii_case("localhost") => true,
        Host::Tcp(name) => name
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback()),
    }
}

/// How a connection to this PostgreSQL is protected, by libpq's names, for tests that cannot be the server of that name.
/// Refuses what [`DieselStore::open`](crate::DieselStore::open) does.
#[cfg(feature = "testing")]
pub fn protection(url: &str) -> Result<String, StoreError> {
    Ok(read(url, Duration::from_secs(1))?.mode.to_string())
}

/// Without percent escapes. What is no escape stays as it is.
fn plain(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let escaped = (*byte == b'%')
            .then(|| text.get(at + 1..at + 3))
            .flatten()
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        out.push(escaped.unwrap_or(*byte));
        at += if escaped.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&out).into_owned()
}
