//! Planning reads the whole fleet and starting one writes it, so nobody does so without end.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::identity::Caller;
use crate::problem::{Problem, too_many};

/// So many updates, retries and rollbacks may one caller ask for in a minute, dry runs included.
const MOST: u32 = 30;
const MINUTE: Duration = Duration::from_secs(60);

/// What each caller asked for lately, in this process.
#[derive(Debug, Default)]
pub(crate) struct Triggers {
    /// By the scope of the caller: when their minute began, and how often they asked since.
    minutes: Mutex<HashMap<String, (Instant, u32)>>,
}

impl Triggers {
    /// Takes one of what the caller has, or says when there will be more.
    pub(crate) fn take(&self, caller: &Caller) -> Result<(), Problem> {
        match self.wait(caller.scope(), Instant::now()) {
            None => Ok(()),
            Some(wait) => {
                let seconds = u64::try_from(wait.as_millis().div_ceil(1000)).unwrap_or(60);
                Err(too_many(
                    seconds,
                    &format!(
                        "at most {MOST} updates are planned or started in a minute; wait {seconds} s"
                    ),
                ))
            }
        }
    }

    fn wait(&self, whose: String, now: Instant) -> Option<Duration> {
        let mut minutes = self.minutes.lock().unwrap_or_else(PoisonError::into_inner);
        minutes.retain(|_, (began, _)| now.duration_since(*began) < MINUTE);
        let (began, asked) = minutes.entry(whose).or_insert((now, 0));
        if *asked >= MOST {
            return Some(MINUTE.saturating_sub(now.duration_since(*began)));
        }
        *asked += 1;
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thirty_in_a_minute_each() {
        let (triggers, now) = (Triggers::default(), Instant::now());
        let asks = |whose: &str, seconds| {
            let then = now + Duration::from_secs(seconds);
            triggers
                .wait(whose.to_owned(), then)
                .map(|wait| wait.as_secs())
        };
        assert!((0..30).all(|second| asks("vera", second).is_none()));
        assert_eq!(asks("vera", 30), Some(30));
        assert_eq!(asks("otto", 30), None);
        assert_eq!(asks("vera", 59), Some(1));
        assert_eq!(asks("vera", 60), None);
    }
}
