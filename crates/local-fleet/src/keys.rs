//! Throwaway ed25519 keys.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use russh::keys::ssh_key::LineEnding;
use russh::keys::ssh_key::private::Ed25519Keypair;
use russh::keys::{PrivateKey, PublicKey};

use crate::error::FleetError;

/// A new key.
pub(crate) fn generate() -> PrivateKey {
    PrivateKey::from(Ed25519Keypair::from_seed(&rand::random()))
}

/// Writes a key in OpenSSH's format, readable by its owner alone.
pub(crate) fn write(key: &PrivateKey, file: &Path) -> Result<(), FleetError> {
    let text = key
        .to_openssh(LineEnding::LF)
        .map_err(|error| FleetError::key(file, error))?;
    let mut out = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(file)
        .map_err(FleetError::folder(file))?;
    out.write_all(text.as_bytes())
        .map_err(FleetError::folder(file))
}

/// Reads a key back.
pub(crate) fn read(file: &Path) -> Result<PrivateKey, FleetError> {
    let text = std::fs::read_to_string(file).map_err(FleetError::folder(file))?;
    PrivateKey::from_openssh(text).map_err(|error| FleetError::key(file, error))
}

/// Algorithm and key in one line, without a comment.
pub(crate) fn line(key: &PublicKey) -> String {
    let mut key = key.clone();
    key.set_comment("");
    // Writing a key that was made or read here cannot fail; an empty line matches no key.
    key.to_openssh()
        .map(|line| line.trim_end().to_owned())
        .unwrap_or_default()
}
