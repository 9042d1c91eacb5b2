//! Places for connections. When all are taken, the one that has been idle for longest gives way.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

/// When there is no room, one place of so many is made free, at least one: if each newcomer waited for another one to go, a
/// crowd at the door would keep everybody waiting.
const SHARE: usize = 64;

/// All places.
#[derive(Debug)]
pub(crate) struct Places {
    free: Arc<Semaphore>,
    /// So many give way together.
    at_once: usize,
    idle: Arc<Mutex<Idle>>,
    /// Told whenever a connection becomes idle.
    rests: Arc<Notify>,
    /// Told whenever one that was asked to give way has a whole request.
    stays: Arc<Notify>,
}

/// Connections without a whole request, by the time since which that is so.
#[derive(Debug, Default)]
struct Idle {
    turn: u64,
    tokens: BTreeMap<u64, CancellationToken>,
}

/// The place of one connection.
#[derive(Debug)]
pub(crate) struct Seat {
    idle: Arc<Mutex<Idle>>,
    rests: Arc<Notify>,
    stays: Arc<Notify>,
    /// When it became idle; none while it has a whole request.
    since: Mutex<Option<u64>>,
    give_way: CancellationToken,
    _permit: Option<OwnedSemaphorePermit>,
}

/// While this is there, the connection has a whole request and is left alone.
#[derive(Debug)]
pub(crate) struct Busy {
    seat: Arc<Seat>,
}

impl Places {
    pub(crate) fn new(most: usize) -> Self {
        Self {
            free: Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS))),
            at_once: (most / SHARE).max(1),
            idle: Arc::default(),
            rests: Arc::default(),
            stays: Arc::default(),
        }
    }

    /// A place. If there is none, an idle connection is asked to give way; if all are busy, it is waited for.
    pub(crate) async fn take(&self) -> Arc<Seat> {
        let permit = match Arc::clone(&self.free).try_acquire_owned() {
            Ok(permit) => Some(permit),
            Err(_) => self.wait().await,
        };
        let seat = Arc::new(Seat {
            idle: Arc::clone(&self.idle),
            rests: Arc::clone(&self.rests),
            stays: Arc::clone(&self.stays),
            since: Mutex::new(None),
            give_way: CancellationToken::new(),
            _permit: permit,
        });
        seat.rest();
        metrics::gauge!(crate::metrics::CONNECTIONS).increment(1);
        seat
    }

    /// A place that somebody left: one who was idle and is asked to, or becomes idle; or who goes by themselves.
    async fn wait(&self) -> Option<OwnedSemaphorePermit> {
        let mut left = pin!(Arc::clone(&self.free).acquire_owned());
        loop {
            // Before the look, so that nobody becomes idle, or busy, in between unseen.
            let (rests, stays) = (self.rests.notified(), self.stays.notified());
            let asked = self.make_room();
            // The semaphore is never closed.
            tokio::select! {
                permit = left.as_mut() => return permit.ok(),
                () = rests, if !asked => {}
                () = stays, if asked => {}
            }
        }
    }

    /// Asks the connections that have been idle for longest to give way; false if none is idle.
    pub(crate) fn make_room(&self) -> bool {
        let mut idle = lock(&self.idle);
        let mut asked = 0;
        while asked < self.at_once
            && let Some((_, token)) = idle.tokens.pop_first()
        {
            // Still under the lock: who becomes busy now knows that it was asked.
            metrics::counter!(crate::metrics::CONNECTIONS_CUT).increment(1);
            token.cancel();
            asked += 1;
        }
        asked > 0
    }
}

impl Seat {
    /// Cancelled when it has to give way.
    pub(crate) fn give_way(&self) -> &CancellationToken {
        &self.give_way
    }

    /// Whether it has no whole request.
    pub(crate) fn is_idle(&self) -> bool {
        lock(&self.since).is_some()
    }

    /// A whole request came. If it was asked to give way, somebody else has to.
    pub(crate) fn busy(self: &Arc<Self>) -> Busy {
        self.rise();
        if self.give_way.is_cancelled() {
            self.stays.notify_waiters();
        }
        Busy {
            seat: Arc::clone(self),
        }
    }

    /// Something came: of all that are idle, it is the last to give way.
    pub(crate) fn stir(&self) {
        self.rise();
        self.rest();
    }

    fn rise(&self) {
        if let Some(since) = lock(&self.since).take() {
            lock(&self.idle).tokens.remove(&since);
        }
    }

    fn rest(&self) {
        let mut idle = lock(&self.idle);
        idle.turn += 1;
        let turn = idle.turn;
        idle.tokens.insert(turn, self.give_way.clone());
        drop(idle);
        *lock(&self.since) = Some(turn);
        self.rests.notify_waiters();
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.seat.rest();
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        metrics::gauge!(crate::metrics::CONNECTIONS).decrement(1);
        self.rise();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_becomes_idle_while_others_wait_gives_way() {
        let places = Places::new(1);
        let first = places.take().await;
        let busy = first.busy();
        let given_way = first.give_way().clone();
        let leave = async {
            tokio::task::yield_now().await;
            assert!(!given_way.is_cancelled());
            drop(busy);
            given_way.cancelled().await;
            drop(first);
        };
        let limit = std::time::Duration::from_secs(10);
        let both = async { tokio::join!(places.take(), leave) };
        assert!(tokio::time::timeout(limit, both).await.is_ok());
    }

    #[tokio::test]
    async fn another_gives_way_when_the_one_that_was_asked_has_become_busy() {
        let places = Places::new(2);
        let (first, second) = (places.take().await, places.take().await);
        let way = second.give_way().clone();
        let become_busy = async {
            first.give_way().cancelled().await;
            let busy = first.busy();
            way.cancelled().await;
            drop(second);
            busy
        };
        let limit = std::time::Duration::from_secs(10);
        let both = async { tokio::join!(places.take(), become_busy) };
        assert!(tokio::time::timeout(limit, both).await.is_ok());
    }

    #[tokio::test]
    async fn of_many_places_several_are_made_free_at_once() {
        let places = Places::new(640);
        let mut seats = Vec::new();
        for _ in 0..640 {
            seats.push(places.take().await);
        }
        assert!(places.make_room());
        let asked: Vec<bool> = seats
            .iter()
            .map(|seat| seat.give_way().is_cancelled())
            .collect();
        assert!(asked[..10].iter().all(|asked| *asked), "the first ones");
        assert!(asked[10..].iter().all(|asked| !*asked), "and only they");
    }

    #[tokio::test]
    async fn who_stirs_is_the_last_to_give_way() {
        let places = Places::new(2);
        let (first, second) = (places.take().await, places.take().await);
        first.stir();
        places.make_room();
        assert!(second.give_way().is_cancelled() && !first.give_way().is_cancelled());
        places.make_room();
        assert!(first.give_way().is_cancelled());
    }

    #[tokio::test]
    async fn the_longest_idle_gives_way_and_a_busy_one_never() {
        let places = Places::new(3);
        let (first, second, third) = (
            places.take().await,
            places.take().await,
            places.take().await,
        );
        let busy = first.busy();
        let given_way = second.give_way().clone();
        let fourth = tokio::spawn({
            let free = Arc::clone(&places.free);
            async move { free.acquire_owned().await.is_ok() }
        });
        places.make_room();
        assert!(given_way.is_cancelled());
        assert!(!first.give_way().is_cancelled() && !third.give_way().is_cancelled());
        drop(second);
        assert!(fourth.await.is_ok_and(|taken| taken));
        // The first has rested later than the third.
        drop(busy);
        places.make_room();
        assert!(third.give_way().is_cancelled() && !first.give_way().is_cancelled());
        drop(first);
        // Who has left is not asked again.
        places.make_room();
        assert!(lock(&places.idle).tokens.is_empty());
    }
}
