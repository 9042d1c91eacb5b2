//! The one cookie there is.

use axum::http::HeaderMap;
use axum::http::header::COOKIE;

/// With `__Host-` a browser takes the cookie over HTTPS only, from this very host, for every path: nobody else can set it.
const SECURE: &str = "__Host-rollout_session";
const PLAIN: &str = "rollout_session";

/// How the cookie of a session is called and kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SessionCookie {
    pub(crate) secure: bool,
}

impl SessionCookie {
    pub(crate) fn name(self) -> &'static str {
        if self.secure { SECURE } else { PLAIN }
    }

    /// The secret in the cookie; none when there is no such cookie, or several, of which one may be planted.
    pub(crate) fn read(self, headers: &HeaderMap) -> Option<String> {
        let mut found = headers
            .get_all(COOKIE)
            .iter()
            .filter_map(|header| header.to_str().ok())
            .flat_map(|text| text.split(';'))
            .filter_map(|pair| pair.trim().split_once('='))
            .filter(|(name, _)| *name == self.name())
            .map(|(_, value)| value.to_owned());
        let first = found.next()?;
        found.next().is_none().then_some(first)
    }

    /// `Set-Cookie` for a new session. It has no end of its own: the store decides, and the browser forgets it on closing.
    /// Lax, so that a link in a mail opens the page signed in; state changes are guarded otherwise.
    pub(crate) fn set(self, secret: &str) -> String {
        format!(
            "{}={secret}; Path=/; HttpOnly; SameSite=Lax{}",
            self.name(),
            self.tail()
        )
    }

    /// `Set-Cookie` that takes it away.
    pub(crate) fn clear(self) -> String {
        format!(
            "{}=; Path=/; HttpOnly; SameSite=Lax; Max-Age=0{}",
            self.name(),
            self.tail()
        )
    }

    fn tail(self) -> &'static str {
        if self.secure { "; Secure" } else { "" }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn reads_its_own_cookie_only() {
        for (secure, header, found) in [
            (false, "rollout_session=abc", Some("abc")),
            (false, "a=1; rollout_session=abc; b=2", Some("abc")),
            (true, "rollout_session=abc", None),
            (true, "__Host-rollout_session=abc", Some("abc")),
            (false, "rollout_session=abc; rollout_session=planted", None),
            (false, "rollout_session", None),
            (false, "xrollout_session=abc", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(COOKIE, header.parse().unwrap());
            assert_eq!(
                SessionCookie { secure }.read(&headers).as_deref(),
                found,
                "{header}"
            );
        }
    }

    #[test]
    fn says_how_it_is_kept() {
        assert_eq!(
            SessionCookie { secure: true }.set("s"),
            "__Host-rollout_session=s; Path=/; HttpOnly; SameSite=Lax; Secure"
        );
        assert_eq!(
            SessionCookie { secure: false }.clear(),
            "rollout_session=; Path=/; HttpOnly; SameSite=Lax; Max-Age=0"
        );
    }
}
