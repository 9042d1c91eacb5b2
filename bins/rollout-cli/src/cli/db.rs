//! `db`

use std::path::PathBuf;

use clap::Subcommand;

/// The database itself.
#[derive(Debug, Subcommand)]
pub(crate) enum DbCommand {
    /// Bring the schema up to date, and say from which to which
    Migrate,
    /// Copy an SQLite database to a new file, also while it is in use
    Backup {
        /// The new file.
        file: PathBuf,
    },
    /// Write the whole fleet to a new file, to move it to another database
    #[command(
        long_about = "Write the whole fleet to a new file, to move it to another database: hosts and their keys, rollouts with \
                      all that was printed, events, people, tokens, the audit trail and health. Not sessions, nor what \
                      works on it now. Stop the servers first: what happens afterwards is not in the file. The file holds \
                      hashes of secrets."
    )]
    Export {
        /// The new file.
        file: PathBuf,
    },
    /// Read a file of `db export` into an empty database: all of it, or nothing
    Import {
        /// The file.
        file: PathBuf,
    },
}
