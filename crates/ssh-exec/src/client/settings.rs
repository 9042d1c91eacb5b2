//! Settings of the real transport.

use std::time::Duration;

use super::identity::Passphrase;

/// What is the same for all hosts.
#[derive(Clone, Debug)]
pub struct RusshSettings {
    /// Where the passphrases of encrypted key files come from.
    pub passphrase: Passphrase,
    /// A host that was silent for this long is asked whether it is still there.
    pub keepalive_interval: Duration,
    /// After this many questions without an answer the connection is given up as lost.
    pub keepalive_max: usize,
}

impl Default for RusshSettings {
    /// No passphrase; a question every 15 s, three of them.
    fn default() -> Self {
        Self {
            passphrase: Passphrase::none(),
            keepalive_interval: Duration::from_secs(15),
            keepalive_max: 3,
        }
    }
}
