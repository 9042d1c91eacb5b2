//! What everything in one run shares: the real store, the hosts as they are, time, dice, and what is known to have
//! happened.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fleet_store::{DieselStore, ManualClock, ManualProcesses, StoreOptions};
use ssh_exec::ScriptedTransport;
use tokio::sync::Notify;
use tokio::time::Instant;
use update_engine::testing::{SimFleet, SimHost, SimOrigin, SimRelease};

use crate::checker::Checker;
use crate::coverage::Coverage;
use crate::dice::Dice;
use crate::schedule::{Rates, Schedule};
use crate::trace::Trace;

pub(crate) struct World {
    pub(crate) schedule: Schedule,
    pub(crate) fleet: SimFleet,
    /// Straight to the hosts, without delays and faults.
    pub(crate) hosts: ScriptedTransport,
    pub(crate) store: Arc<DieselStore>,
    pub(crate) clock: ManualClock,
    pub(crate) ended: ManualProcesses,
    dice: Mutex<Dice>,
    trace: Mutex<Trace>,
    checker: Mutex<Checker>,
    coverage: Mutex<Coverage>,
    /// No more faults from now on.
    calm: AtomicBool,
    /// Until when a host cannot be reached.
    dark: Mutex<BTreeMap<String, Instant>>,
    /// The lock on each host.
    locks: Mutex<BTreeMap<String, Arc<tokio::sync::Mutex<()>>>>,
    workers: AtomicU32,
    pub(crate) violated: Notify,
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("World")
    }
}

pub(crate) fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl World {
    pub(crate) fn new(mut dice: Dice, schedule: Schedule) -> Arc<Self> {
        let mut origin = SimOrigin::default();
        origin.push("main", SimRelease::Good);
        let fleet = SimFleet::new(origin);
        let (clock, ended) = (ManualClock::ticking(), ManualProcesses::default());
        let store = DieselStore::in_memory_with(StoreOptions {
            clock: Arc::new(clock.clone()),
            processes: Arc::new(ended.clone()),
            ..StoreOptions::default()
        });
        let own = Dice::new(dice.below(u64::MAX));
        Arc::new(Self {
            checker: Mutex::new(Checker::new(fleet.clone(), &schedule)),
            hosts: fleet.transport(),
            schedule,
            fleet,
            store: Arc::new(store),
            clock,
            ended,
            dice: Mutex::new(own),
            trace: Mutex::new(Trace::new()),
            coverage: Mutex::default(),
            calm: AtomicBool::new(false),
            dark: Mutex::default(),
            locks: Mutex::default(),
            workers: AtomicU32::new(0),
            violated: Notify::new(),
        })
    }

    pub(crate) fn dice<T>(&self, roll: impl FnOnce(&mut Dice) -> T) -> T {
        roll(&mut held(&self.dice))
    }

    pub(crate) fn note(&self, line: fmt::Arguments<'_>) {
        held(&self.trace).add(line);
    }

    pub(crate) fn trace(&self) -> MutexGuard<'_, Trace> {
        held(&self.trace)
    }

    pub(crate) fn coverage(&self) -> MutexGuard<'_, Coverage> {
        held(&self.coverage)
    }

    /// Something happened that the checker must know of.
    pub(crate) fn check<T>(&self, tell: impl FnOnce(&mut Checker) -> T) -> T {
        let mut checker = held(&self.checker);
        let before = checker.violation().is_some();
        let told = tell(&mut checker);
        if let (false, Some(violation)) = (before, checker.violation()) {
            let line = violation.clone();
            drop(checker);
            self.note(format_args!("VIOLATED {line}"));
            self.violated.notify_one();
        }
        told
    }

    /// Its books know processes, and these know the world: without this, none of them would ever be freed.
    pub(crate) fn forget(&self) {
        *held(&self.checker) = Checker::new(self.fleet.clone(), &self.schedule);
    }

    pub(crate) fn violation(&self) -> Option<String> {
        held(&self.checker).violation().clone()
    }

    /// How often things go wrong now.
    pub(crate) fn rates(&self) -> Rates {
        match self.calm.load(Ordering::Relaxed) {
            true => Rates::default(),
            false => self.schedule.rates,
        }
    }

    /// How often they go wrong around this step or call.
    pub(crate) fn rates_at(&self, step: &str) -> Rates {
        let rates = self.rates();
        let dwells = self.schedule.focus == Some(step) && !self.calm.load(Ordering::Relaxed);
        if dwells { rates.often() } else { rates }
    }

    /// Faults stop, and what they left behind in the network and on the hosts' locks is over.
    pub(crate) fn calm_down(&self) {
        self.calm.store(true, Ordering::Relaxed);
        held(&self.dark).clear();
        self.note(format_args!("faults stop"));
    }

    pub(crate) fn darken(&self, host: &str, until: Instant) {
        held(&self.dark).insert(host.to_owned(), until);
        self.check(|checker| checker.disturb(host));
    }

    pub(crate) fn is_dark(&self, host: &str) -> bool {
        held(&self.dark)
            .get(host)
            .is_some_and(|until| *until > Instant::now())
    }

    pub(crate) fn lock_of(&self, host: &str) -> Arc<tokio::sync::Mutex<()>> {
        Arc::clone(held(&self.locks).entry(host.to_owned()).or_default())
    }

    /// Changes a host from outside, as people and machines do.
    pub(crate) fn interfere(&self, host: &str, what: &str, change: impl FnOnce(&mut SimHost)) {
        self.note(format_args!("{host}: {what}"));
        self.fleet.change(host, change);
        self.check(|checker| checker.interfered(host, what));
    }

    /// As hosts have it on record.
    pub(crate) fn store_name(&self) -> String {
        fleet_store::Store::id(&*self.store).to_string()
    }

    pub(crate) fn next_worker(&self) -> u32 {
        self.workers.fetch_add(1, Ordering::Relaxed) + 1
    }
}
