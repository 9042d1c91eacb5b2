use std::path::PathBuf;
use std::sync::Arc;

use rollout_orchestrator::SshDefaults;
use rollout_settings::SshSettings;
use ssh_exec::{Identity, Passphrase, RusshSettings, RusshTransport, Transport};

use crate::secret_file::first_line;

/// The file with the passphrase of the key cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the passphrase file {} cannot be used: {why}", path.display())]
pub struct PassphraseError {
    /// Which.
    pub path: PathBuf,
    /// What is wrong with it.
    pub why: String,
}

/// The way to the hosts.
pub fn transport(ssh: &SshSettings) -> Result<Arc<dyn Transport>, PassphraseError> {
    let passphrase = match &ssh.passphrase_file {
        Some(path) => Passphrase::fixed(first_line(path).map_err(|why| PassphraseError {
            path: path.clone(),
            why,
        })?),
        None => Passphrase::none(),
    };
    Ok(Arc::new(RusshTransport::new(RusshSettings {
        passphrase,
        ..RusshSettings::default()
    })))
}

/// How to sign in where a host does not say: the configured key, else the agent.
#[must_use]
pub fn ssh_defaults(ssh: &SshSettings, home: Option<PathBuf>) -> SshDefaults {
    let key = ssh.key.clone().map(Identity::File);
    SshDefaults {
        identity: key.or_else(|| ssh.agent.clone().map(Identity::Agent)),
        known_hosts: ssh.known_hosts.clone(),
        home,
    }
}
