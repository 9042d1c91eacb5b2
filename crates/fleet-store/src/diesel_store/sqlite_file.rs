//! The file of an SQLite store, before SQLite sees it.

use std::fs::{DirBuilder, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use crate::error::StoreError;

/// Makes the folder and the file, for this user alone, and finds out early what would only show as a riddle later.
pub(super) fn prepare(path: &Path, create: bool) -> Result<(), StoreError> {
    let open = |cause: String| StoreError::Open {
        database: path.display().to_string(),
        cause,
    };
    let read_only = |cause: &str| StoreError::ReadOnly {
        database: path.display().to_string(),
        cause: cause.to_owned(),
    };
    match std::fs::metadata(path) {
        Ok(found) if found.is_dir() => return Err(open("it is a folder".to_owned())),
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound && create => make(path)?,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Err(open("there is no such file".to_owned()));
        }
        Err(error) => return Err(open(error.to_string())),
    }
    let may = |path: &Path, access| rustix::fs::access(path, access).is_ok();
    if !may(path, rustix::fs::Access::READ_OK) {
        return Err(open("this user may not read the file".to_owned()));
    }
    if !may(path, rustix::fs::Access::WRITE_OK) {
        return Err(read_only("this user may not write the file"));
    }
    if !may(folder(path), rustix::fs::Access::WRITE_OK) {
        return Err(read_only(
            "this user may not write its folder, where the log is kept",
        ));
    }
    Ok(())
}

/// The folder that a file is in.
pub(super) fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn make(path: &Path) -> Result<(), StoreError> {
    let failed = |error: std::io::Error| {
        let database = path.display().to_string();
        let cause = error.to_string();
        match error.kind() {
            ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied => {
                StoreError::ReadOnly { database, cause }
            }
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
                StoreError::Full { database, cause }
            }
            _ => StoreError::Open { database, cause },
        }
    };
    let folder = folder(path);
    if !folder.exists() {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(failed)?;
    }
    match make_private(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(failed(error)),
    }
}

/// Makes an empty file that others cannot read.
pub(super) fn make_private(path: &Path) -> std::io::Result<()> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map(drop)
}
