//! From an endpoint to a signed-in connection, through its jump hosts.

use std::borrow::Cow;
use std::collections::HashMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use russh::client::{Config, Handle, connect_stream};
use russh::keys::{Algorithm, PrivateKey};
use russh::{ChannelOpenFailure, Preferred, SshId, kex};
use tokio::time::timeout;

use super::address::{DialError, dial, place};
use super::handler::{Client, Notes, describe};
use super::host_key::{Expected, KnownHostsFiles};
use super::identity::{Agent, Keys};
use super::link::{Cutter, Duplex, Link};
use super::phase::{Phase, Question, unread_key};
use super::settings::RusshSettings;
use super::sign_in::{Credential, sign_in};
use crate::refused::is_refused;
use crate::transport::{ConnectError, Endpoint, Identity, IdentityError};

/// A chain of more jump hosts is a mistake.
const HOPS: usize = 8;

/// One SSH connection.
pub(crate) struct Hop {
    pub(super) handle: Handle<Client>,
    pub(super) notes: Notes,
    /// Kept for what its end does.
    cutter: Cutter,
}

/// A connection and those that it goes through.
pub(crate) struct Connection {
    hop: Hop,
    via: Vec<Hop>,
}

/// What a connection needs to live. Dropped from the inside out; the connection is cut with it.
pub(crate) struct Ways {
    _cutter: Cutter,
    _via: Vec<Hop>,
}

impl Connection {
    pub(crate) fn into_parts(self) -> (Handle<Client>, Notes, Ways) {
        let Hop {
            handle,
            notes,
            cutter,
        } = self.hop;
        (
            handle,
            notes,
            Ways {
                _cutter: cutter,
                _via: self.via,
            },
        )
    }
}

/// Opens connections.
#[derive(Debug)]
pub(crate) struct Dialer {
    settings: RusshSettings,
    keys: Arc<Keys>,
    /// One at a time reads a key file: a thread that reads from a mount that does not answer is not given back.
    reading: Mutex<HashMap<PathBuf, Arc<tokio::sync::Mutex<()>>>>,
    known_hosts: Arc<KnownHostsFiles>,
}

impl Dialer {
    pub(crate) fn new(settings: RusshSettings) -> Self {
        let keys = Arc::new(Keys::new(settings.passphrase.clone()));
        Self {
            settings,
            keys,
            reading: Mutex::default(),
            known_hosts: Arc::default(),
        }
    }

    /// Connects and signs in, within the endpoint's limit.
    pub(crate) async fn connect(&self, endpoint: &Endpoint) -> Result<Connection, ConnectError> {
        let phase = Phase::new(endpoint);
        let work = async {
            let via = self.through(endpoint, &phase).await?;
            let hop = self.hop(endpoint, via.last(), &phase).await?;
            Ok(Connection { hop, via })
        };
        phase.within(work).await
    }

    /// Shakes hands without signing in, asking for these host key algorithms; tells what the host showed.
    pub(crate) async fn offered(
        &self,
        endpoint: &Endpoint,
        algorithms: &'static [Algorithm],
    ) -> Result<Option<russh::keys::PublicKey>, ConnectError> {
        let phase = Phase::new(endpoint);
        let work = async {
            let via = self.through(endpoint, &phase).await?;
            let notes = Notes::default();
            let stream = self.stream(endpoint, via.last(), &phase).await?;
            phase.host(endpoint, "key exchange");
            let config = self.config(Cow::Borrowed(algorithms));
            match self
                .shake_hands(endpoint, stream, Expected::nothing(), config, &notes)
                .await
            {
                Ok(_) | Err(ConnectError::HostKeyUnknown { .. }) => {
                    Ok(notes.with(|learnt| learnt.offered.take()))
                }
                Err(error) => Err(error),
            }
        };
        phase.within(work).await
    }

    /// Loads the credential without connecting. A key file has as long as a connection would, an agent less.
    pub(crate) async fn check_identity(&self, endpoint: &Endpoint) -> Result<(), IdentityError> {
        match &endpoint.identity {
            Identity::File(path) => {
                let limit = endpoint.connect_timeout;
                let loaded = timeout(limit, self.load(path)).await;
                loaded.map_err(|_| unread_key(path, limit))?.map(drop)
            }
            Identity::Agent(socket) => {
                let opening = Agent::open(socket, None);
                let asked = Phase::new(endpoint)
                    .asking(socket, Question::Keys, opening)
                    .await;
                asked?.map(drop)
            }
        }
    }

    /// Connects to the jump hosts, outermost first.
    async fn through(&self, endpoint: &Endpoint, phase: &Phase) -> Result<Vec<Hop>, ConnectError> {
        let mut route = Vec::new();
        let mut next = endpoint.jump.as_deref();
        while let Some(jump) = next {
            if route.len() == HOPS {
                let cause = format!("its way goes through more than {HOPS} jump hosts");
                return Err(ConnectError::Protocol {
                    host: endpoint.name.clone(),
                    cause,
                });
            }
            route.push(jump);
            next = jump.jump.as_deref();
        }
        let mut hops: Vec<Hop> = Vec::with_capacity(route.len());
        for jump in route.into_iter().rev() {
            let hop = self.hop(jump, hops.last(), phase).await?;
            hops.push(hop);
        }
        Ok(hops)
    }

    /// One connection of the chain. Our own key is loaded first, so that a bad one touches no host.
    async fn hop(
        &self,
        endpoint: &Endpoint,
        via: Option<&Hop>,
        phase: &Phase,
    ) -> Result<Hop, ConnectError> {
        let credential = match &endpoint.identity {
            Identity::File(path) => {
                phase.key_file(path);
                Credential::Key(self.load(path).await?)
            }
            Identity::Agent(socket) => Credential::Agent(socket),
        };
        if let Some(path) = &endpoint.host_keys.known_hosts {
            phase.known_hosts(endpoint, path);
        }
        let expected = self.expected(endpoint).await?;
        let stream = self.stream(endpoint, via, phase).await?;
        phase.host(endpoint, "key exchange");
        let notes = Notes::default();
        let config = self.config(expected.algorithms());
        let mut hop = self
            .shake_hands(endpoint, stream, expected, config, &notes)
            .await?;
        phase.host(endpoint, "sign-in");
        sign_in(&mut hop, endpoint, credential, phase).await?;
        Ok(hop)
    }

    async fn load(&self, path: &Path) -> Result<Arc<PrivateKey>, IdentityError> {
        let (keys, owned) = (Arc::clone(&self.keys), path.to_owned());
        let turn = {
            let mut reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(reading.entry(owned.clone()).or_default())
        };
        let turn = turn.lock_owned().await;
        // Decrypting takes a tenth of a second and more, by design; and a panic of the parser stays in its thread.
        tokio::task::spawn_blocking(move || {
            let _turn = turn;
            keys.load(&owned)
        })
        .await
        .unwrap_or_else(|_| {
            Err(IdentityError::Malformed {
                path: path.display().to_string(),
                cause: "the parser failed".to_owned(),
            })
        })
    }

    async fn expected(&self, endpoint: &Endpoint) -> Result<Expected, ConnectError> {
        let (known_hosts, owned) = (Arc::clone(&self.known_hosts), endpoint.clone());
        tokio::task::spawn_blocking(move || known_hosts.expected(&owned))
            .await
            .unwrap_or_else(|_| {
                let cause = "the known host keys could not be read".to_owned();
                Err(ConnectError::Protocol {
                    host: endpoint.name.clone(),
                    cause,
                })
            })
    }

    /// A stream to the endpoint's port: from here, or from the last jump host.
    async fn stream(
        &self,
        endpoint: &Endpoint,
        via: Option<&Hop>,
        phase: &Phase,
    ) -> Result<Box<dyn Duplex>, ConnectError> {
        phase.host(endpoint, "TCP");
        let (host, address) = (endpoint.name.clone(), place(endpoint));
        let Some(via) = via else {
            return match dial(&endpoint.address, endpoint.port).await {
                Ok(stream) => {
                    #[cfg(feature = "crash-points")]
                    crate::sent::sent(&endpoint.name, "connect");
                    Ok(Box::new(stream))
                }
                Err(DialError::Resolve(cause)) => Err(ConnectError::Unreachable {
                    host,
                    address,
                    cause,
                }),
                Err(DialError::Refused(ip)) => Err(ConnectError::AddressRefused {
                    host,
                    address: ip.to_string(),
                }),
                Err(DialError::Connect(error)) => Err(ConnectError::Unreachable {
                    host,
                    address,
                    cause: error.to_string(),
                }),
            };
        };
        // Names are resolved by the jump host; what it makes of them cannot be checked from here.
        if let Ok(ip) = endpoint.address.parse::<IpAddr>()
            && is_refused(ip)
        {
            return Err(ConnectError::AddressRefused {
                host,
                address: ip.to_string(),
            });
        }
        match via
            .handle
            .channel_open_direct_tcpip(
                endpoint.address.as_str(),
                endpoint.port.into(),
                "127.0.0.1",
                0,
            )
            .await
        {
            Ok(channel) => Ok(Box::new(channel.into_stream())),
            Err(error) => {
                let cause = match error {
                    russh::Error::ChannelOpenFailure(
                        ChannelOpenFailure::AdministrativelyProhibited,
                    ) => "the jump host does not allow to be gone through".to_owned(),
                    russh::Error::ChannelOpenFailure(_) => {
                        "the jump host could not connect to it".to_owned()
                    }
                    _ => format!(
                        "the connection to the jump host ended: {}",
                        via.notes.ended()
                    ),
                };
                Err(ConnectError::Unreachable {
                    host,
                    address,
                    cause,
                })
            }
        }
    }

    async fn shake_hands(
        &self,
        endpoint: &Endpoint,
        stream: Box<dyn Duplex>,
        expected: Expected,
        config: Config,
        notes: &Notes,
    ) -> Result<Hop, ConnectError> {
        let heard = Arc::new(AtomicBool::new(false));
        let (link, cutter) = Link::new(stream, Arc::clone(&heard));
        let client = Client {
            host: endpoint.name.clone(),
            expected,
            notes: notes.clone(),
        };
        match connect_stream(Arc::new(config), link, client).await {
            Ok(handle) => Ok(Hop {
                handle,
                notes: notes.clone(),
                cutter,
            }),
            Err(error) => Err(notes
                .with(|learnt| learnt.refusal.take())
                .unwrap_or_else(|| {
                    let cause = match heard.load(Ordering::Relaxed) {
                        false => format!(
                            "{} before its SSH greeting; sshd may be overloaded",
                            describe(&error)
                        ),
                        true => describe(&error),
                    };
                    ConnectError::Protocol {
                        host: endpoint.name.clone(),
                        cause,
                    }
                })),
        }
    }

    fn config(&self, algorithms: Cow<'static, [Algorithm]>) -> Config {
        // The NIST curves come last, for hosts in FIPS mode, which have no other.
        let mut exchanges = vec![
            kex::MLKEM768X25519_SHA256,
            kex::CURVE25519,
            kex::CURVE25519_PRE_RFC_8731,
        ];
        exchanges.extend(
            Preferred::DEFAULT
                .kex
                .iter()
                .filter(|one| !exchanges.contains(one))
                .copied()
                .collect::<Vec<_>>(),
        );
        exchanges.extend([
            kex::ECDH_SHA2_NISTP256,
            kex::ECDH_SHA2_NISTP384,
            kex::ECDH_SHA2_NISTP521,
        ]);
        Config {
            client_id: SshId::Standard(
                concat!("SSH-2.0-rollout_", env!("CARGO_PKG_VERSION")).into(),
            ),
            // A channel that is not read stalls its connection, so there is only one, and it is always read: small
            // windows cost nothing and bound what a flooding host can make us hold.
            window_size: 256 * 1024,
            channel_buffer_size: 16,
            keepalive_interval: Some(self.settings.keepalive_interval),
            keepalive_max: self.settings.keepalive_max,
            inactivity_timeout: None,
            preferred: Preferred {
                key: algorithms,
                kex: exchanges.into(),
                ..Preferred::DEFAULT
            },
            ..Config::default()
        }
    }
}
