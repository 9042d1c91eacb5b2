//! How long calls take, for those who watch.

use std::fmt;
use std::time::{Duration, Instant};

use super::store::DieselStore;

/// Is told how long each call of a store took, from when it was made to its answer: the wait for calls before it is in
/// that. Must not block.
pub trait Timings: fmt::Debug + Send + Sync {
    /// A call was answered, also when the answer is an error. One that nobody waited for to the end is not told of.
    fn took(&self, call: CallKind, time: Duration);
}

/// What a call may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CallKind {
    /// It only reads.
    Read,
    /// It may change something.
    Write,
}

impl CallKind {
    /// In one word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
        }
    }
}

impl DieselStore {
    /// Waits for the answer to a call and tells how long that took, if anybody wants to know.
    pub(super) async fn timed<T>(&self, kind: CallKind, call: impl Future<Output = T>) -> T {
        let Some(timings) = &self.timings else {
            return call.await;
        };
        let began = Instant::now();
        let answer = call.await;
        timings.took(kind, began.elapsed());
        answer
    }
}
