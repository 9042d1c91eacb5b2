//! Moments of the store's calls at which a test can make the program die, stop or wait, and errors that it can have a
//! call meet as if the database had said so. Also a schema that only a later version will know.
//!
//! Only in builds with the feature `crash-points`, which no program that people get has.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

/// When, in a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallMoment {
    /// Nobody was asked yet.
    Before,
    /// All rows are written, and not committed.
    Open,
    /// They are durable; whoever called does not know it yet.
    After,
}

/// What the database says instead of doing what it was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallFault {
    /// Somebody else held it for too long.
    Busy,
    /// The disk failed.
    Io,
    /// The disk is full.
    Full,
    /// The connection was lost before anything was asked; the next one works.
    Lost,
    /// The connection was lost after it all took effect.
    LostAfter,
    /// This transaction and another one could not both be; the next try works.
    Race,
    /// A row that must be there once is there already, whatever is tried.
    Twice,
    /// It takes no changes.
    ReadOnly,
    /// All that was asked is done, and then the commit is refused: nothing of it stays. The next try works.
    Uncommitted,
}

impl CallFault {
    /// Whether another try of the store's own meets it again.
    pub(crate) fn lasts(self) -> bool {
        !matches!(self, Self::Lost | Self::Race)
    }
}

/// Sees every call of a store.
pub trait CallWatch: fmt::Debug + Send + Sync {
    /// A call of this name begins: what is to go wrong with it.
    fn begins(&self, call: &str) -> Option<CallFault>;
    /// It has come to this moment, with these kinds of events to its name. It goes on once this returns.
    fn at(&self, call: &str, moment: CallMoment, events: &[String]);
}

static MORE_MIGRATIONS: OnceLock<PathBuf> = OnceLock::new();

/// Every store of this process that is opened from now on knows the migrations in this folder as well, as a later version
/// of the program will. False when that was said before.
pub fn know_more_migrations(folder: PathBuf) -> bool {
    MORE_MIGRATIONS.set(folder).is_ok()
}

pub(crate) fn more_migrations_of_all() -> Option<PathBuf> {
    MORE_MIGRATIONS.get().cloned()
}

static OF_ALL: OnceLock<Arc<dyn CallWatch>> = OnceLock::new();

/// Watches every store of this process that is opened from now on. False when another watch is set.
pub fn watch_calls(watch: Arc<dyn CallWatch>) -> bool {
    OF_ALL.set(watch).is_ok()
}

pub(crate) fn watch_of_all() -> Option<Arc<dyn CallWatch>> {
    OF_ALL.get().cloned()
}
