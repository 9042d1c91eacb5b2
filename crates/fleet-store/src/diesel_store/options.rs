//! How a store is opened.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Clock, SystemClock};
use crate::process::{Processes, SystemProcesses};
use crate::records::LeaseTimes;

/// How a store is opened. The default is what a program wants; tests and simulations set the rest.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// The times that leases go by.
    pub lease_times: LeaseTimes,
    /// Where time and ids come from.
    pub clock: Arc<dyn Clock>,
    /// How it is found out that a process is gone.
    pub processes: Arc<dyn Processes>,
    /// Where calls run.
    pub mode: Mode,
    /// Whether an SQLite file that is not there is made, with its folder. A PostgreSQL database must be there.
    pub create: bool,
    /// The password for PostgreSQL, when it is not in the URL.
    pub password: Option<Password>,
    /// How long a call waits for another process that holds an SQLite file.
    pub busy: Duration,
    /// An SQLite file may grow to so many pages, to try out what a full disk does.
    #[cfg(feature = "testing")]
    pub max_pages: Option<u32>,
    /// A folder with migrations that this program knows beside its own, as a later version of it will.
    #[cfg(any(feature = "testing", feature = "crash-points"))]
    pub more_migrations: Option<std::path::PathBuf>,
    /// Who sees the calls, unless they run inline.
    #[cfg(feature = "crash-points")]
    pub watch: Option<Arc<dyn crate::crash_points::CallWatch>>,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            lease_times: LeaseTimes::default(),
            clock: Arc::new(SystemClock::new()),
            processes: Arc::new(SystemProcesses::new()),
            mode: Mode::Threads,
            create: true,
            password: None,
            busy: Duration::from_secs(5),
            #[cfg(feature = "testing")]
            max_pages: None,
            #[cfg(any(feature = "testing", feature = "crash-points"))]
            more_migrations: more_migrations(),
            #[cfg(feature = "crash-points")]
            watch: crate::crash_points::watch_of_all(),
        }
    }
}

#[cfg(feature = "crash-points")]
fn more_migrations() -> Option<std::path::PathBuf> {
    crate::crash_points::more_migrations_of_all()
}

#[cfg(all(feature = "testing", not(feature = "crash-points")))]
fn more_migrations() -> Option<std::path::PathBuf> {
    None
}

/// A password. It is never shown.
#[derive(Clone)]
pub struct Password(String);

impl Password {
    /// Keeps it.
    #[must_use]
    pub fn new(password: impl Into<String>) -> Self {
        Self(password.into())
    }

    pub(super) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(***)")
    }
}

/// Where the calls of a store run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// On threads of the store's own: one writes, and calls that come together share a commit; a few read.
    #[default]
    Threads,
    /// Where they are made, one at a time, blocking: for simulations, which then are the same in every run. SQLite only.
    Inline,
}
