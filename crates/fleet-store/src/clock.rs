//! The clock is an input, so that years of leases can be simulated in a second.

use std::fmt;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use fleet_types::Timestamp;
use rustix::time::{ClockId, clock_gettime};
use uuid::Uuid;

/// A moment by the clock that leases go by. Moments of different eras cannot be compared: a lease of another era is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseMoment {
    /// What the time counts from: a boot of this machine, or the database's own clock.
    pub era: Arc<str>,
    /// Milliseconds since then.
    pub at: i64,
}

/// Where a store gets its time and its fresh ids from.
pub trait Clock: fmt::Debug + Send + Sync {
    /// Wall clock, for people.
    fn now(&self) -> Timestamp;

    /// The clock that leases go by on SQLite: it goes on while the machine sleeps and nobody can set it.
    fn lease_moment(&self) -> LeaseMoment;

    /// Whether leases go by this clock on PostgreSQL too, in place of the database's. True only where time is simulated.
    fn rules_the_database(&self) -> bool {
        false
    }

    /// A fresh version 7 id.
    fn fresh_id(&self) -> Uuid {
        Uuid::now_v7()
    }
}

/// The machine's clocks: wall time, and boot time with the boot's id.
#[derive(Clone, Debug)]
pub struct SystemClock {
    boot: Arc<str>,
}

impl SystemClock {
    /// Reads which boot this is. Where the system does not say, leases still end by time, only not at a reboot.
    #[must_use]
    pub fn new() -> Self {
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        Self {
            boot: boot.trim().into(),
        }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }

    fn lease_moment(&self) -> LeaseMoment {
        let time = clock_gettime(ClockId::Boottime);
        LeaseMoment {
            era: Arc::clone(&self.boot),
            at: time.tv_sec * 1000 + time.tv_nsec / 1_000_000,
        }
    }
}

#[cfg(feature = "testing")]
pub use manual::ManualClock;

#[cfg(feature = "testing")]
mod manual {
    use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
    use std::time::Duration;

    use fleet_types::Timestamp;
    use tokio::time::Instant;
    use uuid::Uuid;

    use super::{Clock, LeaseMoment};

    /// A clock set by hand, for tests and simulations: it rules leases on every database, and its ids are the same in
    /// every run. Clones are the same clock.
    #[derive(Clone, Debug)]
    pub struct ManualClock(Arc<Mutex<Hands>>);

    #[derive(Debug)]
    struct Hands {
        wall: i64,
        boot: i64,
        boots: u32,
        ids: u64,
        /// Up to which moment of tokio's clock they have gone along; `None` where they stand still.
        ticked: Option<Instant>,
    }

    impl Hands {
        fn advance(&mut self, by: Duration) {
            let by = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
            self.wall = self.wall.saturating_add(by);
            self.boot = self.boot.saturating_add(by);
        }

        fn tick(&mut self) {
            if let Some(since) = self.ticked {
                let whole = Duration::from_millis(
                    since.elapsed().as_millis().try_into().unwrap_or(u64::MAX),
                );
                self.ticked = Some(since + whole);
                self.advance(whole);
            }
        }
    }

    impl ManualClock {
        /// Stands at 2026-01-01 00:00:00 UTC, in its first boot.
        #[must_use]
        pub fn new() -> Self {
            Self::from(None)
        }

        /// Begins as [`ManualClock::new`] does and goes on with tokio's clock, which a test may pause.
        #[must_use]
        pub fn ticking() -> Self {
            Self::from(Some(Instant::now()))
        }

        fn from(ticked: Option<Instant>) -> Self {
            Self(Arc::new(Mutex::new(Hands {
                wall: 1_767_225_600_000,
                boot: 1_000_000,
                boots: 1,
                ids: 0,
                ticked,
            })))
        }

        fn hands(&self) -> MutexGuard<'_, Hands> {
            let mut hands = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            hands.tick();
            hands
        }

        /// Both clocks go on by this much.
        pub fn advance(&self, by: Duration) {
            self.hands().advance(by);
        }

        /// Sets the wall clock, as an administrator or a time server may; leases must not notice.
        pub fn set_wall(&self, to: Timestamp) {
            self.hands().wall = to.0;
        }

        /// The machine restarts: boot time begins anew, under a new id.
        pub fn reboot(&self) {
            let mut hands = self.hands();
            hands.boots += 1;
            hands.boot = 0;
        }
    }

    impl Default for ManualClock {
        fn default() -> Self {
            Self::new()
        }
    }

    impl Clock for ManualClock {
        fn now(&self) -> Timestamp {
            Timestamp(self.hands().wall)
        }

        fn lease_moment(&self) -> LeaseMoment {
            let hands = self.hands();
            LeaseMoment {
                era: format!("manual boot {}", hands.boots).into(),
                at: hands.boot,
            }
        }

        fn rules_the_database(&self) -> bool {
            true
        }

        fn fresh_id(&self) -> Uuid {
            let mut hands = self.hands();
            hands.ids += 1;
            let millis = u64::try_from(hands.wall).unwrap_or(0);
            let mut tail = [0; 10];
            tail[2..].copy_from_slice(&hands.ids.to_be_bytes());
            uuid::Builder::from_unix_timestamp_millis(millis, &tail).into_uuid()
        }
    }
}
