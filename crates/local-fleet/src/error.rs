//! What can go wrong with a fleet itself. What goes wrong on its hosts on purpose is a fault, not an error.

use std::io;
use std::path::{Path, PathBuf};

/// Why a fleet, or something in its folder, could not be made, read or changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FleetError {
    /// A file or folder could not be read or written.
    #[error("{path}: {source}")]
    Folder {
        /// What was being read or written.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// git is not there, or said no.
    #[error("git {arguments}: {cause}")]
    Git {
        /// The arguments it was given.
        arguments: String,
        /// Its last words, or why it did not start.
        cause: String,
    },
    /// No port could be had on loopback.
    #[error("no port for {host} on 127.0.0.1: {source}")]
    Listen {
        /// The host's name.
        host: String,
        /// What the system said.
        source: io::Error,
    },
    /// A key could not be made or read back.
    #[error("key {path}: {cause}")]
    Key {
        /// The key's file.
        path: PathBuf,
        /// What the key library said.
        cause: String,
    },
    /// What was asked for makes no sense: a host name that is no file name, a fleet folder that is none.
    #[error("{0}")]
    Invalid(String),
}

impl FleetError {
    pub(crate) fn folder(path: &Path) -> impl FnOnce(io::Error) -> FleetError {
        move |source| FleetError::Folder {
            path: path.to_owned(),
            source,
        }
    }

    pub(crate) fn key(path: &Path, cause: impl ToString) -> FleetError {
        FleetError::Key {
            path: path.to_owned(),
            cause: cause.to_string(),
        }
    }
}
