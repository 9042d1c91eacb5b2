//! Is the key that a host shows the right one?

use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;

use russh::keys::{Algorithm, EcdsaCurve, HashAlg, PublicKey};

use super::cache::{FileCache, Stamp};
use crate::known_hosts::{KnownHosts, parse_key};
use crate::transport::{ConnectError, Endpoint, HostKey};

/// Parsed `known_hosts` files.
#[derive(Debug, Default)]
pub(crate) struct KnownHostsFiles(FileCache<KnownHosts>);

/// Which keys one host may show.
#[derive(Clone, Debug, Default)]
pub(crate) struct Expected {
    accepted: Vec<PublicKey>,
    /// Something is pinned or known, be it unusable: the host is not unknown.
    known: bool,
    revoked: Vec<PublicKey>,
}

impl KnownHostsFiles {
    /// What is expected of this endpoint. Reads files; call it where that may block.
    pub(crate) fn expected(&self, endpoint: &Endpoint) -> Result<Expected, ConnectError> {
        let file = match &endpoint.host_keys.known_hosts {
            Some(path) => self
                .read(path)
                .map_err(|error| ConnectError::KnownHostsUnreadable {
                    host: endpoint.name.clone(),
                    path: path.display().to_string(),
                    cause: error.to_string(),
                })?,
            None => Arc::default(),
        };
        let revoked = file.revoked(&endpoint.address, endpoint.port);
        if endpoint.host_keys.pinned.is_empty() {
            let accepted = file.accepted(&endpoint.address, endpoint.port);
            return Ok(Expected {
                known: !accepted.is_empty(),
                accepted,
                revoked,
            });
        }
        let accepted = endpoint
            .host_keys
            .pinned
            .iter()
            .filter_map(|line| parse_pinned(line))
            .collect();
        Ok(Expected {
            accepted,
            known: true,
            revoked,
        })
    }

    /// A file that is not there knows nothing; one that cannot be read might revoke a key.
    fn read(&self, path: &Path) -> std::io::Result<Arc<KnownHosts>> {
        match Stamp::of(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Arc::default()),
            Err(error) => Err(error),
            Ok(stamp) => self
                .0
                .get(path, stamp, || Ok(KnownHosts::parse(&std::fs::read(path)?))),
        }
    }
}

fn parse_pinned(line: &str) -> Option<PublicKey> {
    let mut words = line.split_ascii_whitespace();
    parse_key(words.next()?, words.next()?)
}

impl Expected {
    /// Nothing: whatever the host shows is only looked at.
    pub(crate) fn nothing() -> Self {
        Self::default()
    }

    /// Accepts the key or says why not.
    pub(crate) fn check(&self, host: &str, offered: &PublicKey) -> Result<(), ConnectError> {
        let host = host.to_owned();
        let shown = fingerprint(offered);
        let is_it = |key: &PublicKey| key.key_data() == offered.key_data();
        if self.revoked.iter().any(is_it) {
            Err(ConnectError::HostKeyRevoked {
                host,
                offered: shown,
            })
        } else if self.accepted.iter().any(is_it) {
            Ok(())
        } else if self.known {
            Err(ConnectError::HostKeyChanged {
                host,
                pinned: self.fingerprints(),
                offered: shown,
            })
        } else {
            Err(ConnectError::HostKeyUnknown {
                host,
                offered: shown,
            })
        }
    }

    fn fingerprints(&self) -> String {
        if self.accepted.is_empty() {
            return "nothing that can be read".to_owned();
        }
        self.accepted
            .iter()
            .map(fingerprint)
            .collect::<Vec<_>>()
            .join(", ")
    }

    /// The algorithms to ask for: those of the expected keys first, for a server shows one key alone, of the first
    /// algorithm that it has. The others follow, so that a replaced key can be named.
    pub(crate) fn algorithms(&self) -> Cow<'static, [Algorithm]> {
        let mut order = Vec::with_capacity(ALGORITHMS.len());
        for expected in [true, false] {
            order.extend(
                ALGORITHMS
                    .iter()
                    .filter(|one| self.has(one) == expected)
                    .cloned(),
            );
        }
        Cow::Owned(order)
    }

    fn has(&self, algorithm: &Algorithm) -> bool {
        self.accepted.iter().any(|key| is_for(algorithm, key))
    }
}

/// Host key algorithms, most preferred first. RSA with SHA-1 is not among them.
pub(crate) const ALGORITHMS: &[Algorithm] = &[
    Algorithm::Ed25519,
    Algorithm::Ecdsa {
        curve: EcdsaCurve::NistP256,
    },
    Algorithm::Ecdsa {
        curve: EcdsaCurve::NistP384,
    },
    Algorithm::Ecdsa {
        curve: EcdsaCurve::NistP521,
    },
    Algorithm::Rsa {
        hash: Some(HashAlg::Sha512),
    },
    Algorithm::Rsa {
        hash: Some(HashAlg::Sha256),
    },
];

/// The same by kind: a host has at most one key of each.
pub(crate) fn kinds() -> [&'static [Algorithm]; 3] {
    let (ed25519, others) = ALGORITHMS.split_at(1);
    let (ecdsa, rsa) = others.split_at(3);
    [ed25519, ecdsa, rsa]
}

/// Is the key of this kind?
pub(crate) fn is_of(kind: &[Algorithm], key: &PublicKey) -> bool {
    kind.iter().any(|one| is_for(one, key))
}

/// Can a key of this type be shown under the algorithm? The hash belongs to the algorithm alone.
fn is_for(algorithm: &Algorithm, key: &PublicKey) -> bool {
    match (algorithm, key.algorithm()) {
        (Algorithm::Rsa { .. }, Algorithm::Rsa { .. }) => true,
        (one, other) => *one == other,
    }
}

/// `SHA256:...`
pub(crate) fn fingerprint(key: &PublicKey) -> String {
    key.fingerprint(HashAlg::Sha256).to_string()
}

/// The key as it is shown and pinned.
pub(crate) fn shown(key: &PublicKey) -> Option<HostKey> {
    let bare = PublicKey::new(key.key_data().clone(), "");
    Some(HostKey {
        algorithm: bare.algorithm().as_str().to_owned(),
        fingerprint: fingerprint(&bare),
        openssh: bare.to_openssh().ok()?,
    })
}
