//! For tests that end the program at chosen moments: tells when something has provably arrived at a host.

use std::sync::OnceLock;

static HOOK: OnceLock<fn(&str, &str)> = OnceLock::new();

/// From now on this is called with a host's name and `connect` whenever a TCP connection to it stands, or the name of a
/// command whenever more of its output came, the begin marker first. Whoever says so first is heard.
pub fn on_sent(hook: fn(host: &str, what: &str)) {
    let _ = HOOK.set(hook);
}

/// Tells it, if anybody wants to know.
pub(crate) fn sent(host: &str, what: &str) {
    if let Some(hook) = HOOK.get() {
        hook(host, what);
    }
}
