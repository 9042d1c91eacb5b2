//! A fleet that moves, and copies of it.

use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::run;
use crate::diesel_store::desk::Rank;
use crate::diesel_store::on_sqlite::Sqlite;
use crate::diesel_store::options::StoreOptions;
use crate::diesel_store::sqlite_file::folder;
use crate::diesel_store::store::{DieselStore, Engines};
use crate::diesel_store::work::Work;
use crate::diesel_store::{on_postgres, on_sqlite};
use crate::error::MoveError;
use crate::records::Moved;

impl DieselStore {
    /// Writes the whole fleet to a new file, from one snapshot: hosts, keys, rollouts with all that was printed, events,
    /// people, tokens and the audit trail. Not who is signed in, nor what works on it now.
    ///
    /// Refused while a rollout is active. The file holds hashes of secrets; others cannot read it.
    pub async fn export(&self, path: &Path) -> Result<Moved, MoveError> {
        check_new(path)?;
        let beside = partial(path);
        let to = beside.clone();
        let exported = run!(self, read, |conn, work, q| q::moving::export(
            conn, work, &to
        ));
        let placed = exported.and_then(|moved| {
            place(&beside, path).map_err(|error| MoveError::file(path, error))?;
            Ok(moved)
        });
        let _ = std::fs::remove_file(&beside);
        placed.map_err(|error| about(error, path))
    }

    /// Reads a file of [`DieselStore::export`] into this database, which must be empty: all of it, or nothing.
    pub async fn import(&self, path: &Path) -> Result<Moved, MoveError> {
        let path = path.to_owned();
        run!(self, write Rollout, |conn, work, q| q::moving::import(
            conn, work, &path
        ))
    }

    /// Copies the SQLite database at `sqlite://PATH` to a new file while it may be in use. Its schema stays as it is.
    /// Blocks until it is done.
    pub fn backup(url: &str, to: &Path) -> Result<(), MoveError> {
        let Some(path) = url.strip_prefix("sqlite://") else {
            return Err(MoveError::NotAFile);
        };
        check_new(to)?;
        let beside = partial(to);
        // What is left of an earlier try.
        let _ = std::fs::remove_file(&beside);
        let copied = Sqlite::file(path, &StoreOptions::default())
            .copy(&beside)
            .and_then(|()| {
                File::open(&beside)
                    .and_then(|file| file.sync_all())
                    .and_then(|()| place(&beside, to))
                    .map_err(|error| MoveError::file(to, error))
            });
        let _ = std::fs::remove_file(&beside);
        copied.map_err(|error| about(error, to))
    }
}

/// The file's name until it is whole.
fn partial(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}.partial", std::process::id()));
    PathBuf::from(name)
}

/// Gives a file that is whole its name, and never takes the place of one that came meanwhile.
fn place(from: &Path, to: &Path) -> std::io::Result<()> {
    match std::fs::hard_link(from, to) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
            rename(from, to).map_err(|told| {
                // Neither way is known there: the first answer says more.
                match told.kind() {
                    ErrorKind::AlreadyExists => told,
                    _ => error,
                }
            })?
        }
        linked => linked?,
    }
    // So that the name is there after a power cut too. Not every file system can do it.
    let _ = File::open(folder(to)).and_then(|folder| folder.sync_all());
    Ok(())
}

/// For what has no links, as most sticks and shares of other systems.
#[cfg(any(target_os = "linux", target_os = "macos"))]
fn rename(from: &Path, to: &Path) -> std::io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    Ok(renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE)?)
}

#[cfg(not(any(target_os = "linux", target_os = "macos")))]
fn rename(_: &Path, _: &Path) -> std::io::Result<()> {
    Err(ErrorKind::Unsupported.into())
}

/// What went wrong with a file that was not whole yet, by the name that was asked for.
fn about(error: MoveError, path: &Path) -> MoveError {
    match error {
        MoveError::File { cause, .. } => MoveError::File {
            path: path.to_owned(),
            cause,
        },
        other => other,
    }
}

fn check_new(path: &Path) -> Result<(), MoveError> {
    match std::fs::symlink_metadata(path) {
        Ok(_) => Err(MoveError::file(path, ErrorKind::AlreadyExists.into())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(MoveError::file(path, error)),
    }
}
