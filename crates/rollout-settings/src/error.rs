use std::path::PathBuf;

use fleet_types::Invalid;

use crate::origin::Origin;

/// The settings cannot be used. Nothing was done with them.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// The file named on the command line or in the environment cannot be read.
    #[error("the configuration {} cannot be read: {cause}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// What the system said.
        cause: String,
    },
    /// The file is not what it must be: syntax, an unknown key, a value that is not allowed.
    #[error("{}, line {line}, column {column}: {message}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// From 1, in characters.
        column: usize,
        /// What is wrong there, in one line.
        message: String,
    },
    /// A value is not allowed.
    #[error("{key} (from {origin}): {source}")]
    Value {
        /// The setting's key.
        key: &'static str,
        /// Where the value came from.
        origin: Origin,
        /// What is wrong with it.
        source: Invalid,
    },
    /// Neither `XDG_STATE_HOME` nor a home folder is known, and no database was named.
    #[error("there is no home folder to keep the database in, and database_url is not set")]
    NoHome,
}
