use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rollout_orchestrator::SshDefaults;
use rollout_settings::SshSettings;
use ssh_exec::{Identity, Passphrase, RusshSettings, RusshTransport, Transport};

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
        Some(path) => Passphrase::fixed(read_passphrase(path)?),
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

fn read_passphrase(path: &Path) -> Result<String, PassphraseError> {
    let refuse = |why: String| PassphraseError {
        path: path.to_owned(),
        why,
    };
    let mode = fs::metadata(path)
        .map_err(|error| refuse(error.to_string()))?
        .permissions()
        .mode()
        & 0o777;
    if mode & 0o077 != 0 {
        return Err(refuse(format!(
            "it has mode {mode:03o}: others can read it"
        )));
    }
    let text = fs::read_to_string(path).map_err(|error| refuse(error.to_string()))?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}
