//! Strangers must not be able to fill the audit trail.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Denials of strangers put on record in a minute, by one process.
const MOST: u32 = 60;

/// How many denials of people who could not prove who they are may still be put on record.
#[derive(Debug, Default)]
pub(crate) struct DenialBudget {
    minute: Mutex<Option<(Instant, u32)>>,
}

impl DenialBudget {
    /// Whether one more may.
    pub(crate) fn take(&self) -> bool {
        let mut minute = self.minute.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let used = match *minute {
            Some((since, used)) if now.duration_since(since) < Duration::from_secs(60) => {
                *minute = Some((since, used.saturating_add(1)));
                used
            }
            _ => {
                *minute = Some((now, 1));
                0
            }
        };
        used < MOST
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_sixty_are_written() {
        let budget = DenialBudget::default();
        assert_eq!((0..100).filter(|_| budget.take()).count(), 60);
    }
}
