//! Known mistakes in the safety rules, to be switched on one at a time, so that the simulator can show that it finds
//! each. They are there with the feature `planted` alone; without it [`planted`] is a constant `false` and the compiler
//! leaves nothing of them.

macro_rules! mistakes {
    ($($(#[$doc:meta])* $name:ident,)+) => {
        /// A mistake.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Planted { $($(#[$doc])* $name,)+ }

        impl Planted {
            /// All of them.
            pub const ALL: &'static [Planted] = &[$(Planted::$name,)+];
        }
    };
}

mistakes! {
    /// Writes of an attempt are let in whatever their epoch and worker.
    OldEpochs,
    /// Commands are sent without the host's lock and fence.
    NoHostLock,
    /// After a lost connection the epoch is not raised.
    NoRaise,
    /// A changing step is put on record after it was sent.
    IntentAfterSend,
    /// A takeover reads the previous version anew.
    PreviousReread,
    /// A command without an end marker counts as done.
    NoMarker,
    /// A host that fails does not count for the gate.
    FailedNotCounted,
    /// A stage halts at the threshold, not above it.
    GateAtThreshold,
    /// A stage is closed while hosts of it are still worked on.
    StageClosedEarly,
    /// Hosts are claimed while the rollout is paused.
    ClaimedWhilePaused,
    /// An attempt uses the host's entry as it is now.
    PlanNotFrozen,
    /// One connection more than allowed.
    OneSlotMore,
    /// A health check takes the host of an update.
    HealthInUpdates,
    /// Two services of one machine are updated together.
    MachinesShared,
    /// A failed verification counts as a good one.
    NoProof,
    /// What was touched is told as untouched.
    TouchedForgotten,
    /// Hosts of a dead process are left alone.
    NobodyTakesOver,
    /// Hosts of a live process are taken over.
    TakenFromTheLiving,
    /// A takeover always goes back.
    TakeoverGoesBack,
    /// A worker sends commands however old its lease is.
    NoFenceOfItsOwn,
    /// A worker that is told that its lease is lost goes on.
    LostLeaseGoesOn,
    /// Whoever takes a host over works under the old epoch.
    TakeoverKeepsEpoch,
    /// Leases go by the clock that people set.
    LeaseByWallClock,
    /// A host that is not reached counts as updated.
    UnreachableIsSuccess,
    /// A host that was rolled back does not count for the gate.
    RolledBackNotCounted,
    /// The share of hosts that may fail is rounded up to whole hosts.
    GateRoundsUp,
    /// The size of a stage is rounded to the nearest number of hosts.
    StageSizeRounded,
    /// The end of a host is not told in the feed.
    EndNotTold,
    /// Slots are never given back.
    SlotKept,
    /// The way back leaves the files as they are.
    RollbackWithoutCheckout,
    /// The way back does not install.
    RollbackWithoutInstall,
    /// Whatever the way back comes to counts as proven.
    RollbackNotProven,
    /// A rollout that is over can be aborted.
    AbortAfterEnd,
    /// Hosts that had no turn stay open when a rollout ends early.
    OpenHostsLeft,
    /// That a process cannot load its key is held against the host.
    KeyHeldAgainstHost,
    /// What a request was carried out as is not remembered.
    RequestForgotten,
    /// No host is begun while another one is under way in the same process.
    SlowHostsAwaited,
}

#[cfg(feature = "planted")]
mod switched {
    use std::cell::Cell;

    use super::Planted;

    thread_local! {
        static NOW: Cell<Option<Planted>> = const { Cell::new(None) };
    }

    /// Makes this mistake on this thread from now on, or none.
    pub fn plant(mistake: Option<Planted>) {
        NOW.with(|now| now.set(mistake));
    }

    /// Whether this mistake is to be made.
    #[must_use]
    pub fn planted(mistake: Planted) -> bool {
        NOW.with(Cell::get) == Some(mistake)
    }
}

#[cfg(feature = "planted")]
pub use switched::{plant, planted};

/// Whether this mistake is to be made: never.
#[cfg(not(feature = "planted"))]
#[inline(always)]
#[must_use]
pub const fn planted(_: Planted) -> bool {
    false
}
