//! Whether the store can be used now, as this process sees it: told in the log when that changes, not at every try.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fleet_store::StoreError;
use tokio::time::Instant;

/// While it lasts, it is told again this often.
const REMIND: Duration = Duration::from_secs(60);

/// What all parts of a process that use one store know of it. Each failed call is noted; a lease that was renewed says
/// that the store can be written again.
#[derive(Debug, Default)]
pub(crate) struct Outage(Mutex<Option<Now>>);

/// It cannot be used now.
#[derive(Debug)]
struct Now {
    since: Instant,
    told: Instant,
    brief: &'static str,
}

impl Outage {
    /// A call failed.
    pub(crate) fn note(&self, error: &StoreError) {
        if !error.may_pass() {
            // One record that cannot be read does not make the store unusable.
            tracing::warn!(%error, "a call to the store failed");
            return;
        }
        tracing::debug!(%error, "a call to the store failed");
        self.begin(error.in_brief(), &error.to_string());
    }

    /// A call did not come back in its time.
    pub(crate) fn note_silence(&self) {
        let brief = "the database does not answer";
        self.begin(brief, brief);
    }

    fn begin(&self, brief: &'static str, error: &str) {
        let now = Instant::now();
        let mut state = self.lock();
        match &mut *state {
            None => {
                tracing::warn!(
                    error,
                    "the store cannot be used now; no command that changes a host is sent without it"
                );
                *state = Some(Now {
                    since: now,
                    told: now,
                    brief,
                });
            }
            Some(outage) => {
                outage.brief = brief;
                if now.duration_since(outage.told) >= REMIND {
                    let seconds = now.duration_since(outage.since).as_secs();
                    tracing::warn!(error, seconds, "the store still cannot be used");
                    outage.told = now;
                }
            }
        }
    }

    /// The store took a write.
    pub(crate) fn over(&self) {
        if let Some(outage) = self.lock().take() {
            let seconds = outage.since.elapsed().as_secs();
            tracing::info!(seconds, "the store can be used again");
        }
    }

    /// What is wrong now, for anybody to see.
    pub(crate) fn brief(&self) -> Option<&'static str> {
        self.lock().as_ref().map(|outage| outage.brief)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Now>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
