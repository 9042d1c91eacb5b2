//! Our own credential: key files and the agent.

use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;

use russh::keys::agent::AgentIdentity;
use russh::keys::agent::client::AgentClient;
use russh::keys::{PrivateKey, decode_secret_key};
use tokio::net::UnixStream;

use super::cache::{FileCache, Stamp};
use super::short_scalar;
use crate::transport::IdentityError;

/// Larger than any private key.
const KEY_LIMIT: u64 = 256 * 1024;

/// Where the passphrases of encrypted keys come from. `Debug` shows none.
#[derive(Clone, Default)]
pub struct Passphrase(Option<Arc<Source>>);

type Source = dyn Fn(&Path) -> Option<String> + Send + Sync;

impl Passphrase {
    /// Encrypted keys cannot be used.
    #[must_use]
    pub fn none() -> Self {
        Self(None)
    }

    /// The same passphrase for every key.
    #[must_use]
    pub fn fixed(passphrase: impl Into<String>) -> Self {
        let passphrase = passphrase.into();
        Self::from_fn(move |_| Some(passphrase.clone()))
    }

    /// Asks this function for the passphrase of the key at a path, once for each content of the file, on a thread
    /// where it may block.
    #[must_use]
    pub fn from_fn(source: impl Fn(&Path) -> Option<String> + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(source)))
    }

    fn ask(&self, path: &Path) -> Option<String> {
        self.0.as_ref().and_then(|source| source(path))
    }
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() {
            "Passphrase(hidden)"
        } else {
            "Passphrase(none)"
        })
    }
}

/// Private keys, each file decrypted once.
#[derive(Default)]
pub(crate) struct Keys {
    passphrase: Passphrase,
    files: FileCache<PrivateKey>,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys")
            .field("passphrase", &self.passphrase)
            .finish_non_exhaustive()
    }
}

impl Keys {
    pub(crate) fn new(passphrase: Passphrase) -> Self {
        Self {
            passphrase,
            files: FileCache::default(),
        }
    }

    /// Loads the key; from memory when the file did not change. Blocks.
    pub(crate) fn load(&self, path: &Path) -> Result<Arc<PrivateKey>, IdentityError> {
        let unreadable = |cause: String| IdentityError::Unreadable {
            path: path.display().to_string(),
            cause,
        };
        // What is checked is the open file, not what the path may name a moment later.
        let file = File::open(path).map_err(|error| unreadable(error.to_string()))?;
        let metadata = file
            .metadata()
            .map_err(|error| unreadable(error.to_string()))?;
        if !metadata.is_file() {
            return Err(unreadable("it is not a regular file".to_owned()));
        }
        let mode = metadata.permissions().mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(IdentityError::TooOpen {
                path: path.display().to_string(),
                mode,
            });
        }
        self.files.get(path, Stamp::from(&metadata), || {
            let mut text = String::new();
            file.take(KEY_LIMIT)
                .read_to_string(&mut text)
                .map_err(|error| match error.kind() {
                    std::io::ErrorKind::InvalidData => malformed(path, "it is not text"),
                    _ => unreadable(error.to_string()),
                })?;
            self.decode(path, &text)
        })
    }

    fn decode(&self, path: &Path, text: &str) -> Result<PrivateKey, IdentityError> {
        if let Some(cause) = unsupported(text) {
            return Err(malformed(path, cause));
        }
        match decode_secret_key(text, None) {
            Ok(key) => return Ok(key),
            Err(russh::keys::Error::KeyIsEncrypted) => {}
            Err(_) if text.contains("-----BEGIN ENCRYPTED PRIVATE KEY-----") => {}
            Err(error) => {
                return short_scalar::read(text, None)
                    .ok_or_else(|| malformed(path, &error.to_string()));
            }
        }
        let path_shown = path.display().to_string();
        let Some(passphrase) = self.passphrase.ask(path) else {
            return Err(IdentityError::NeedsPassphrase { path: path_shown });
        };
        decode_secret_key(text, Some(&passphrase))
            .ok()
            .or_else(|| short_scalar::read(text, Some(&passphrase)))
            .ok_or(IdentityError::WrongPassphrase { path: path_shown })
    }
}

/// Old ways to encrypt a PEM file that are not read.
fn unsupported(text: &str) -> Option<&'static str> {
    const HINT: &str = "it is encrypted in an old format; run: ssh-keygen -p -f FILE";
    let old = text
        .lines()
        .find_map(|line| line.trim().strip_prefix("DEK-Info:"))?;
    let readable =
        old.trim().starts_with("AES-128-CBC,") && text.contains("-----BEGIN RSA PRIVATE KEY-----");
    (!readable).then_some(HINT)
}

fn malformed(path: &Path, cause: &str) -> IdentityError {
    IdentityError::Malformed {
        path: path.display().to_string(),
        cause: cause.to_owned(),
    }
}

/// A connection to the agent and what it holds. Never empty.
pub(crate) struct Agent {
    pub(crate) client: AgentClient<UnixStream>,
    pub(crate) identities: Vec<AgentIdentity>,
}

impl Agent {
    /// Asks the agent for its keys. Has no time limit of its own; callers set one.
    pub(crate) async fn open(
        socket: &Path,
        binding: Option<&russh::keys::agent::AgentSessionBinding>,
    ) -> Result<Self, IdentityError> {
        let failed = |cause: String| IdentityError::Agent {
            socket: socket.display().to_string(),
            cause,
        };
        let mut client = AgentClient::connect_uds(socket)
            .await
            .map_err(|error| failed(error.to_string()))?;
        if let Some(binding) = binding {
            // Keys restricted to some destinations show only after this; agents that do not know it refuse, harmlessly.
            let _ = client.bind_session(binding, false).await;
        }
        let identities = client
            .request_identities()
            .await
            .map_err(|error| failed(error.to_string()))?;
        if identities.is_empty() {
            return Err(failed("it holds no key".to_owned()));
        }
        Ok(Self { client, identities })
    }
}
