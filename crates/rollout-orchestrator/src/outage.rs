//! Whether the store can be used now, as this process sees it: told in the log when that changes, not at every try.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fleet_store::StoreError;
use tokio::time::Instant;

/// While it lasts, it is told again this often.
const REMIND: Duration = Duration::from_secs(60);
/// Calls that fail within this time may all have failed for one thing that is over: a connection that was cut.
const MOMENT: Duration = Duration::from_millis(500);

/// What all parts of a process that use one store know of it. Each failed call is noted; a lease that was renewed says
/// that the store can be written again. One call that is not answered is no outage: another one has to fail later, without
/// a renewal in between.
#[derive(Debug, Default)]
pub(crate) struct Outage(Mutex<State>);

#[derive(Debug, Default)]
enum State {
    /// Nothing is known against it.
    #[default]
    Usable,
    /// A call failed then.
    Doubtful(Instant),
    /// It cannot be used now.
    Out(Now),
}

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
        let mut state = self.lock();
        // A disk that is full, or read-only, says so itself.
        let certain = matches!(error, StoreError::Full { .. } | StoreError::ReadOnly { .. });
        match *state {
            _ if certain => state.go_out(error.in_brief(), &error.to_string()),
            State::Usable => {
                tracing::info!(%error, "a call to the store failed; it is tried again");
                *state = State::Doubtful(Instant::now());
            }
            State::Doubtful(since) if since.elapsed() < MOMENT => {}
            _ => state.go_out(error.in_brief(), &error.to_string()),
        }
    }

    /// A call did not come back in its time, which is so long that there is nothing to wait for.
    pub(crate) fn note_silence(&self) {
        let brief = "the database does not answer";
        self.lock().go_out(brief, brief);
    }

    /// The store took a write.
    pub(crate) fn over(&self) {
        if let State::Out(outage) = std::mem::take(&mut *self.lock()) {
            let seconds = outage.since.elapsed().as_secs();
            tracing::info!(seconds, "the store can be used again");
        }
    }

    /// What is wrong now, for anybody to see.
    pub(crate) fn brief(&self) -> Option<&'static str> {
        match &*self.lock() {
            State::Out(outage) => Some(outage.brief),
            State::Usable | State::Doubtful(_) => None,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// There is no doubt any more.
    fn go_out(&mut self, brief: &'static str, error: &str) {
        let now = Instant::now();
        let since = match self {
            Self::Usable => now,
            Self::Doubtful(since) => *since,
            Self::Out(outage) => {
                outage.brief = brief;
                outage.remind(now, error);
                return;
            }
        };
        tracing::warn!(
            error,
            "the store cannot be used now; no command that changes a host is sent without it"
        );
        *self = Self::Out(Now {
            since,
            told: now,
            brief,
        });
    }
}

impl Now {
    fn remind(&mut self, now: Instant, error: &str) {
        if now.duration_since(self.told) >= REMIND {
            let seconds = now.duration_since(self.since).as_secs();
            tracing::warn!(error, seconds, "the store still cannot be used");
            self.told = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    fn lost() -> StoreError {
        StoreError::Unavailable {
            cause: "the connection was cut".to_owned(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_thing_that_goes_wrong_is_no_outage() {
        let outage = Outage::default();
        for _ in 0..3 {
            // Whoever used that connection failed by it.
            outage.note(&lost());
            advance(Duration::from_millis(100)).await;
            outage.note(&lost());
            assert_eq!(outage.brief(), None);
            advance(Duration::from_secs(5)).await;
            outage.over();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_disk_is_one_at_once() {
        let outage = Outage::default();
        let full = StoreError::Full {
            database: "here".to_owned(),
            cause: "the disk is full".to_owned(),
        };
        outage.note(&full);
        assert_eq!(outage.brief(), Some(full.in_brief()));
    }

    #[tokio::test(start_paused = true)]
    async fn what_goes_on_is_one_until_a_write_is_taken() {
        let outage = Outage::default();
        outage.note(&lost());
        advance(Duration::from_secs(1)).await;
        outage.note(&lost());
        assert_eq!(outage.brief(), Some(lost().in_brief()));
        outage.over();
        assert_eq!(outage.brief(), None);
        outage.note_silence();
        assert!(outage.brief().is_some(), "nothing came back for long");
    }
}
