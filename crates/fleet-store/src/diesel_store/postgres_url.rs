//! What a PostgreSQL URL asks for.

use std::str::FromStr;
use std::time::Duration;

use tokio_postgres::Config;
use tokio_postgres::config::SslMode;

use crate::error::StoreError;

/// Reads the URL. A mode that demands TLS is refused: nothing is ever sent in the clear that was to be protected.
pub(super) fn read(url: &str, patience: Duration) -> Result<Config, StoreError> {
    let refuse = || StoreError::Url {
        url: "postgres://… (as given, it cannot be read)".to_owned(),
    };
    if let Some(mode) = tls_demand(url) {
        return Err(StoreError::Open {
            database: "postgres://…".to_owned(),
            cause: format!(
                "sslmode={mode} demands TLS, which this version cannot do; use sslmode=disable on a network that is \
                 trusted, or a tunnel"
            ),
        });
    }
    let mut config = Config::from_str(url).map_err(|_| refuse())?;
    if config.get_hosts().is_empty() {
        return Err(refuse());
    }
    config
        .ssl_mode(SslMode::Disable)
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
    Ok(config)
}

/// The value of `sslmode` when it demands TLS.
fn tls_demand(url: &str) -> Option<String> {
    let (_, query) = url.split_once('?')?;
    query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .filter(|(key, _)| plain(key).eq_ignore_ascii_case("sslmode"))
        .map(|(_, value)| plain(value))
        .find(|mode| !matches!(mode.as_str(), "disable" | "allow" | "prefer"))
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

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::super::on_postgres::Postgres;
    use super::*;

    #[test]
    fn a_mode_that_demands_tls_is_refused_and_a_password_is_never_shown() {
        for mode in [
            "require",
            "verify-ca",
            "verify-full",
            "verify%2Dfull",
            "nonsense",
        ] {
            let url = format!("postgres://u:secret@db.example.org/app?a=b&sslmode={mode}");
            let refused = Postgres::new(&url).unwrap_err().to_string();
            assert!(refused.contains("demands TLS"), "{refused}");
            assert!(!refused.contains("secret"));
        }
        let url = "postgres://u:secret@db.example.org:5433/app?sslmode=disable";
        let there = Postgres::new(url).unwrap();
        assert_eq!(there.to_string(), "postgres://u@db.example.org:5433/app");
        assert!(!format!("{there:?}").contains("secret"));
        let refused = Postgres::new("postgres://u:secret@:x/").unwrap_err();
        assert!(!format!("{refused:?} {refused}").contains("secret"));
    }

    #[test]
    fn escapes_are_read() {
        for (text, shown) in [("a%2Db", "a-b"), ("%", "%"), ("%2", "%2"), ("ä%zz", "ä%zz")] {
            assert_eq!(plain(text), shown);
        }
    }
}
