//! What the tasks of one worker share about one rollout.

use std::sync::Arc;

use tokio::sync::Notify;

use crate::places::{Place, Places, Seat};
use crate::settings::SshDefaults;
use crate::slots::{Limit, SlotTransport, Slots};

/// The connections of one rollout, as far as this worker opens them.
#[derive(Debug)]
pub(crate) struct RolloutDesk {
    pub(crate) slots: Slots,
    pub(crate) ssh: SshDefaults,
    places: Places,
    limit: u32,
}

impl RolloutDesk {
    pub(crate) fn new(
        slots: Slots,
        ssh: SshDefaults,
        concurrency: u32,
        freed: Arc<Notify>,
    ) -> Self {
        let places = Places::new(concurrency, freed);
        Self {
            slots,
            ssh,
            places,
            limit: concurrency,
        }
    }

    /// Whether a place for one more connection seems to be free.
    pub(crate) fn has_place(&self) -> bool {
        self.places.any_free()
    }

    /// A place for one more connection, if one is free. Those who wait for one come first.
    pub(crate) fn place(&self) -> Option<Place> {
        self.places.try_take()
    }

    /// A transport for whoever sits there.
    pub(crate) fn transport(&self, seat: Arc<Seat>) -> SlotTransport {
        let limit = Limit::of_all(self.limit);
        SlotTransport::new(self.slots.clone(), self.places.clone(), limit, seat)
    }

    /// Connections of this rollout at once.
    pub(crate) fn limit(&self) -> u32 {
        self.limit
    }
}
