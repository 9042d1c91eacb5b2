//! Places: how many hosts of a rollout this process may be connected to, or be about to connect to, at once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// The places of one process. They are had in the order in which they were asked for.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    free: Arc<Semaphore>,
    /// Told whenever one is free again.
    freed: Arc<Notify>,
}

impl Places {
    pub(crate) fn new(count: u32, freed: Arc<Notify>) -> Self {
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        let count = count.clamp(1, Semaphore::MAX_PERMITS);
        Self {
            free: Arc::new(Semaphore::new(count)),
            freed,
        }
    }

    pub(crate) fn any_free(&self) -> bool {
        self.free.available_permits() > 0
    }

    /// One, if one is free and nobody waits for it.
    pub(crate) fn try_take(&self) -> Option<Place> {
        let permit = Arc::clone(&self.free).try_acquire_owned().ok()?;
        Some(self.place(permit))
    }

    /// One, as soon as it is our turn.
    pub(crate) async fn take(&self) -> Place {
        let permit = Arc::clone(&self.free).acquire_owned().await;
        self.place(permit.expect("the semaphore is never closed"))
    }

    fn place(&self, permit: OwnedSemaphorePermit) -> Place {
        Place {
            permit: Some(permit),
            freed: Arc::clone(&self.freed),
        }
    }
}

/// One place. Free again when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    permit: Option<OwnedSemaphorePermit>,
    freed: Arc<Notify>,
}

impl Place {
    /// Puts it back as it was found, which is no news to anybody.
    pub(crate) fn put_back(mut self) {
        drop(self.permit.take());
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(permit) = self.permit.take() {
            // Whoever is told must find it free.
            drop(permit);
            self.freed.notify_one();
        }
    }
}

/// The place of one attempt between its connections. The default is nobody's seat, which keeps no place.
///
/// It is given up while the host settles, and kept otherwise until the attempt is over: the outcome of one host must be
/// on record before the next one is started in its place, or the gate would always be one host late.
#[derive(Debug, Default)]
pub(crate) struct Seat {
    place: Mutex<Option<Place>>,
    of_attempt: bool,
    keeps: AtomicBool,
}

impl Seat {
    /// The seat of an attempt, with the place that was taken for it already.
    pub(crate) fn of_attempt(place: Option<Place>) -> Self {
        Self {
            place: Mutex::new(place),
            of_attempt: true,
            keeps: AtomicBool::new(true),
        }
    }

    /// The next connection that closes frees the place.
    pub(crate) fn leave(&self) {
        self.keeps.store(false, Ordering::SeqCst);
    }

    /// The place for the next connection, if it was kept.
    pub(crate) fn take(&self) -> Option<Place> {
        self.lock().take()
    }

    /// After a connection was closed in order.
    pub(crate) fn give(&self, place: Place) {
        if self.keeps.load(Ordering::SeqCst) {
            *self.lock() = Some(place);
        }
    }

    /// The attempt goes on after it had settled.
    pub(crate) fn sit_down(&self) {
        self.keeps.store(self.of_attempt, Ordering::SeqCst);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Place>> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one() -> (Places, Arc<Notify>) {
        let freed = Arc::new(Notify::new());
        (Places::new(1, Arc::clone(&freed)), freed)
    }

    #[tokio::test]
    async fn a_place_is_free_when_its_owner_is_told() {
        let (places, freed) = one();
        let place = places.take().await;
        assert!(places.try_take().is_none());
        drop(place);
        freed.notified().await;
        assert!(places.try_take().is_some());
    }

    #[tokio::test]
    async fn a_seat_keeps_its_place_but_for_the_settle_wait() {
        let (places, _) = one();
        let seat = Seat::of_attempt(places.try_take());
        for _ in 0..2 {
            let place = seat.take().or_else(|| places.try_take());
            seat.sit_down();
            seat.give(place.expect("kept or free"));
            assert!(places.try_take().is_none(), "kept between connections");
            let place = seat.take();
            seat.leave();
            place.into_iter().for_each(|place| seat.give(place));
            assert!(places.try_take().is_some(), "free while the host settles");
        }
        seat.sit_down();
        seat.give(places.try_take().expect("free"));
        drop(seat);
        assert!(places.try_take().is_some(), "free when the attempt is over");
    }
}
