use async_trait::async_trait;
use fleet_types::{Epoch, HostEvent, Outcome, Progress};

use crate::journal::{Journal, Stopped};

/// A journal in memory. It checks that every event can follow the one before, and can lose its lease on cue.
#[derive(Clone, Debug, Default)]
pub struct MemoryJournal {
    /// What was recorded, in order.
    pub events: Vec<HostEvent>,
    /// What a taking-over worker would be given.
    pub progress: Progress,
    /// How many more events are taken before the lease is lost; for ever when none.
    pub events_left: Option<usize>,
    /// The epoch handed out last.
    pub epoch: i64,
    /// Whether raising the epoch is refused: the host is somebody else's now.
    pub refuses_to_raise: bool,
}

impl MemoryJournal {
    /// The journal of an attempt that this is on record of.
    #[must_use]
    pub fn with_progress(progress: Progress) -> Self {
        Self {
            progress,
            ..Self::default()
        }
    }

    /// The outcome, when the attempt is over.
    #[must_use]
    pub fn outcome(&self) -> Option<&Outcome> {
        match self.events.last() {
            Some(HostEvent::Settled { outcome }) => Some(outcome),
            _ => None,
        }
    }
}

#[async_trait]
impl Journal for MemoryJournal {
    async fn record(&mut self, event: &HostEvent) -> Result<(), Stopped> {
        match &mut self.events_left {
            Some(0) => return Err(Stopped("the lease was lost".to_owned())),
            Some(left) => *left -= 1,
            None => {}
        }
        self.progress = self
            .progress
            .after(event)
            .map_err(|illegal| Stopped(illegal.to_string()))?;
        self.events.push(event.clone());
        Ok(())
    }

    async fn raise(&mut self, above: Epoch) -> Result<Epoch, Stopped> {
        if self.refuses_to_raise {
            return Err(Stopped("the lease was lost".to_owned()));
        }
        self.epoch = self.epoch.max(above.0) + 1;
        Ok(Epoch(self.epoch))
    }
}
