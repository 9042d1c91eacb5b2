//! What a connection is at, and how long that may take.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// From the beginning of a connection, or the first byte of a later request, to the end of the request's head.
pub(super) const HEAD_TIME: Duration = Duration::from_secs(10);
/// Whoever takes longer than this for an answer that has an end reads so slowly that others need the place more.
pub(super) const ANSWER_TIME: Duration = Duration::from_secs(120);
/// For so long a connection is kept for another request. Whoever sends one just when the other side closes cannot know
/// whether it was heard, so that the one who sends should be the one who closes. Of what stands before a server, nginx keeps
/// its side for 60 s, Caddy for 120 s, Google's load balancers for 600 s.
pub(super) const IDLE_TIME: Duration = Duration::from_secs(620);

/// How far a connection is.
#[derive(Debug)]
pub(crate) struct Progress(Mutex<Phase>);

#[derive(Clone, Copy, Debug)]
enum Phase {
    /// The head of a request is on its way, since then.
    Head(Instant),
    /// It is there, and its handler minds how long the rest takes.
    Request,
    /// An answer that has an end is being made and sent, since then.
    Answer(Instant),
    /// There is no more of the answer, and some of it may not be sent yet.
    Rest {
        since: Instant,
        /// A body that nobody wanted was still on its way.
        owed: bool,
        /// Something came meanwhile.
        heard: bool,
    },
    /// Another request is there, and its handler waits for that rest.
    Behind(Instant),
    /// Nothing came since then; some of another request may have come with what was before it.
    Idle(Instant),
    /// It is being closed, which has a limit of its own.
    Over,
}

impl Progress {
    /// Of a connection that was just made.
    pub(super) fn new() -> Self {
        Self(Mutex::new(Phase::Head(Instant::now())))
    }

    /// Something was read.
    pub(super) fn hears(&self) {
        let mut phase = self.phase();
        match &mut *phase {
            Phase::Idle(_) => *phase = Phase::Head(Instant::now()),
            Phase::Rest { heard, .. } => *heard = true,
            Phase::Head(_) | Phase::Request | Phase::Answer(_) | Phase::Behind(_) | Phase::Over => {
            }
        }
    }

    /// The head of a request is there.
    pub(super) fn begins(&self) {
        let mut phase = self.phase();
        *phase = match *phase {
            Phase::Rest { since, .. } | Phase::Behind(since) => Phase::Behind(since),
            _ => Phase::Request,
        };
    }

    /// An answer that has an end is on its way from now on.
    pub(super) fn answers(&self) {
        *self.phase() = Phase::Answer(Instant::now());
    }

    /// There is no more of the answer; `owed` when not all of the request was read.
    pub(super) fn ends(&self, owed: bool) {
        let mut phase = self.phase();
        let since = match *phase {
            Phase::Answer(since) | Phase::Behind(since) => since,
            _ => Instant::now(),
        };
        *phase = Phase::Rest {
            since,
            owed,
            heard: false,
        };
    }

    /// All that there was to send is sent.
    pub(super) fn flushed(&self) {
        let mut phase = self.phase();
        *phase = match *phase {
            // What comes may be the rest of that body.
            Phase::Rest { owed: true, .. } | Phase::Behind(_) => Phase::Request,
            Phase::Rest { heard: true, .. } => Phase::Head(Instant::now()),
            Phase::Rest { .. } => Phase::Idle(Instant::now()),
            other => other,
        };
    }

    /// It is being closed.
    pub(super) fn closes(&self) {
        *self.phase() = Phase::Over;
    }

    /// Waits until something has taken longer than it may.
    pub(super) async fn is_too_slow(&self) {
        loop {
            match self.left() {
                Duration::ZERO => return,
                // What begins meanwhile is looked at before its time is over.
                left => sleep(left.min(HEAD_TIME)).await,
            }
        }
    }

    fn left(&self) -> Duration {
        let (limit, since) = match *self.phase() {
            Phase::Head(since) => (HEAD_TIME, since),
            Phase::Answer(since) | Phase::Rest { since, .. } | Phase::Behind(since) => {
                (ANSWER_TIME, since)
            }
            Phase::Idle(since) => (IDLE_TIME, since),
            Phase::Request | Phase::Over => return Duration::MAX,
        };
        limit.saturating_sub(since.elapsed())
    }

    fn phase(&self) -> MutexGuard<'_, Phase> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
