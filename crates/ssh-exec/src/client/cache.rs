//! Files that are parsed once and again only when they changed.

use std::collections::HashMap;
use std::fs::Metadata;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

/// What tells one content of a file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    modified: Option<SystemTime>,
    length: u64,
}

impl Stamp {
    pub(crate) fn of(path: &Path) -> io::Result<Self> {
        std::fs::metadata(path).map(|metadata| Self::from(&metadata))
    }
}

impl From<&Metadata> for Stamp {
    fn from(metadata: &Metadata) -> Self {
        Self {
            modified: metadata.modified().ok(),
            length: metadata.len(),
        }
    }
}

/// Parsed contents by path.
#[derive(Debug)]
pub(crate) struct FileCache<T> {
    entries: Mutex<HashMap<PathBuf, Slot<T>>>,
}

/// One file's place. Its own lock lets many callers wait for one parse, and none for that of another file.
type Slot<T> = Arc<Mutex<Option<(Stamp, Arc<T>)>>>;

impl<T> Default for FileCache<T> {
    fn default() -> Self {
        Self {
            entries: Mutex::default(),
        }
    }
}

impl<T> FileCache<T> {
    /// The parsed file, from memory when it is the one with this stamp. Blocks while another caller parses it.
    pub(crate) fn get<E>(
        &self,
        path: &Path,
        stamp: Stamp,
        parse: impl FnOnce() -> Result<T, E>,
    ) -> Result<Arc<T>, E> {
        let slot = {
            let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(entries.entry(path.to_owned()).or_default())
        };
        let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((seen, value)) = &*slot
            && *seen == stamp
        {
            return Ok(Arc::clone(value));
        }
        let value = Arc::new(parse()?);
        *slot = Some((stamp, Arc::clone(&value)));
        Ok(value)
    }
}
