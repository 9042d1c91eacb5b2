//! The real client.

mod address;
mod cache;
mod dial;
mod handler;
mod host_key;
mod identity;
mod link;
mod phase;
mod session;
mod settings;
mod short_scalar;
mod sign_in;

use async_trait::async_trait;

use self::dial::Dialer;
use self::host_key::{ALGORITHMS, is_of, kinds, shown};
use self::session::RusshSession;
use crate::transport::{ConnectError, Endpoint, HostKey, IdentityError, Session, Transport};

pub use self::identity::Passphrase;
pub use self::settings::RusshSettings;

/// Reaches hosts over SSH. Private keys and `known_hosts` files are parsed once and again when they change.
///
/// Without a jump host, a connection costs six round trips: one for TCP, two for greeting and key exchange, one for
/// the service request and two for the sign-in. The first command costs three: to open its channel, to start the shell
/// (sshd takes no input before) and for script and answer. Each further one costs two, for its channel is opened while
/// the one before runs.
#[derive(Debug)]
pub struct RusshTransport {
    dialer: Dialer,
}

impl RusshTransport {
    /// A transport with these settings.
    #[must_use]
    pub fn new(settings: RusshSettings) -> Self {
        Self {
            dialer: Dialer::new(settings),
        }
    }
}

impl Default for RusshTransport {
    fn default() -> Self {
        Self::new(RusshSettings::default())
    }
}

#[async_trait]
impl Transport for RusshTransport {
    async fn connect(&self, endpoint: &Endpoint) -> Result<Box<dyn Session>, ConnectError> {
        let connection = self.dialer.connect(endpoint).await?;
        Ok(Box::new(RusshSession::new(
            endpoint.name.clone(),
            connection,
        )))
    }

    async fn check_identity(&self, endpoint: &Endpoint) -> Result<(), IdentityError> {
        self.dialer.check_identity(endpoint).await
    }

    /// Asks once for any key, and then for each other kind. The first answer decides about failure: a host that has
    /// no key of some other kind just breaks off.
    async fn host_keys(&self, endpoint: &Endpoint) -> Result<Vec<HostKey>, ConnectError> {
        let first = self.dialer.offered(endpoint, ALGORITHMS).await?;
        let mut keys: Vec<HostKey> = first.iter().filter_map(shown).collect();
        for kind in kinds() {
            if first.as_ref().is_some_and(|key| is_of(kind, key)) {
                continue;
            }
            match self.dialer.offered(endpoint, kind).await {
                Ok(Some(key)) => keys.extend(shown(&key)),
                Ok(None) | Err(ConnectError::Protocol { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(keys)
    }
}
