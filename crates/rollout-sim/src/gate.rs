//! One process: it can die, stand still, or lose the database, all of it at once.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fleet_store::StoreError;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::world::{World, held};

/// No run needs so many calls and commands.
const MOST_CALLS: u64 = 3_000_000;

/// Where a process may die or stand still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum At {
    Before,
    After,
}

impl At {
    fn killed(self) -> &'static str {
        match self {
            Self::Before => "killed before",
            Self::After => "killed after",
        }
    }

    fn stands_still(self) -> &'static str {
        match self {
            Self::Before => "stands still before",
            Self::After => "stands still after",
        }
    }
}

/// What happens to one process. Clones are the same process.
#[derive(Clone, Debug)]
pub(crate) struct Gate {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    world: Arc<World>,
    number: u32,
    dead: AtomicBool,
    /// How often it stood still: what it left open then, it could not close in time.
    troubled: AtomicU64,
    /// Until when it stands still, and who waits for that: tokio's `watch` would wake them in an order of its own.
    frozen: Mutex<Option<Instant>>,
    thawed: Notify,
    /// The database does not answer until then.
    away: Mutex<Option<Instant>>,
    /// Its own key cannot be read until then.
    keyless: Mutex<Option<Instant>>,
    /// Whether it is there for every rollout, as servers are.
    serves: AtomicBool,
    /// By this number its death can be known on its machine; 0 when it cannot.
    pid: AtomicU32,
}

impl Gate {
    pub(crate) fn new(world: &Arc<World>, number: u32) -> Self {
        Self {
            shared: Arc::new(Shared {
                world: Arc::clone(world),
                number,
                dead: AtomicBool::new(false),
                troubled: AtomicU64::new(0),
                frozen: Mutex::new(None),
                thawed: Notify::new(),
                away: Mutex::new(None),
                keyless: Mutex::new(None),
                serves: AtomicBool::new(false),
                pid: AtomicU32::new(0),
            }),
        }
    }

    pub(crate) fn world(&self) -> &Arc<World> {
        &self.shared.world
    }

    /// For the trace and the checker.
    pub(crate) fn number(&self) -> u32 {
        self.shared.number
    }

    pub(crate) fn has_pid(&self, pid: u32) {
        self.shared.pid.store(pid, Ordering::Relaxed);
    }

    pub(crate) fn is_server(&self) {
        self.shared.serves.store(true, Ordering::Relaxed);
    }

    pub(crate) fn serves(&self) -> bool {
        self.shared.serves.load(Ordering::Relaxed)
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.shared.dead.load(Ordering::Relaxed)
    }

    /// How often it stood still.
    pub(crate) fn troubles(&self) -> u64 {
        self.shared.troubled.load(Ordering::Relaxed)
    }

    pub(crate) fn kill(&self) {
        if self.shared.dead.swap(true, Ordering::Relaxed) {
            return;
        }
        self.world()
            .note(format_args!("p{} is killed", self.number()));
        let pid = self.shared.pid.load(Ordering::Relaxed);
        if pid != 0 {
            self.world().ended.end(pid);
        }
    }

    /// It stands still for so long, in the middle of whatever it does.
    pub(crate) fn freeze(&self, time: Duration) {
        self.world()
            .note(format_args!("p{} stands still for {time:?}", self.number()));
        self.shared.troubled.fetch_add(1, Ordering::Relaxed);
        *held(&self.shared.frozen) = Some(Instant::now() + time);
        self.shared.thawed.notify_waiters();
    }

    /// Its database does not answer for so long.
    pub(crate) fn cut_off(&self, time: Duration) {
        self.world().note(format_args!(
            "p{} has no database for {time:?}",
            self.number()
        ));
        *held(&self.shared.away) = Some(Instant::now() + time);
    }

    /// Its key cannot be read for so long.
    pub(crate) fn lose_key(&self, time: Duration) {
        self.world()
            .note(format_args!("p{} has no key for {time:?}", self.number()));
        *held(&self.shared.keyless) = Some(Instant::now() + time);
    }

    pub(crate) fn has_key(&self) -> bool {
        held(&self.shared.keyless).is_none_or(|until| until <= Instant::now())
    }

    /// Whether it stood still at any time since then.
    pub(crate) fn stood_still_since(&self, then: Instant) -> bool {
        held(&self.shared.frozen).is_some_and(|until| until >= then)
    }

    /// Whatever keeps it from working is over.
    pub(crate) fn recover(&self) {
        let stands_still = held(&self.shared.frozen).take_if(|until| *until > Instant::now());
        if stands_still.is_some() {
            *held(&self.shared.frozen) = Some(Instant::now());
        }
        *held(&self.shared.away) = None;
        *held(&self.shared.keyless) = None;
        self.shared.thawed.notify_waiters();
    }

    /// A dead process does nothing any more, and is told nothing; one that stands still nothing for now.
    pub(crate) async fn alive(&self) {
        loop {
            let until = *held(&self.shared.frozen);
            let Some(until) = until.filter(|until| *until > Instant::now()) else {
                break;
            };
            tokio::select! {
                biased;
                () = self.shared.thawed.notified() => {}
                () = tokio::time::sleep_until(until) => {}
            }
        }
        if self.is_dead() {
            std::future::pending::<()>().await;
        }
    }

    /// A point at which it may die or stand still; `at` says where, for the count.
    pub(crate) async fn point(&self, at: At, step: &'static str, state: &'static str) {
        let world = self.world();
        world.coverage().total(step);
        if world.coverage().total("calls") > MOST_CALLS {
            // Time stands still while nobody waits for it.
            let text = format!("more than {MOST_CALLS} calls, the last for {step}");
            world.check(|checker| checker.violate("L4", text));
            std::future::pending::<()>().await;
        }
        let rates = world.rates_at(step);
        let (dies, freezes) = world.dice(|dice| {
            let (dies, freezes) = (dice.chance(rates.death), dice.chance(rates.freeze));
            (
                dies,
                freezes.then(|| Duration::from_millis(dice.between(100, 90_000))),
            )
        });
        if !self.is_dead() {
            if dies {
                world.coverage().fault(at.killed(), step, state);
                self.kill();
            } else if let Some(time) = freezes {
                world.coverage().fault(at.stands_still(), step, state);
                self.freeze(time);
            }
        }
        self.alive().await;
    }

    fn is_away(&self) -> bool {
        held(&self.shared.away).is_some_and(|until| until > Instant::now())
    }

    /// A call of the store begins.
    pub(crate) async fn call_begins(&self, call: &'static str) -> Result<(), StoreError> {
        self.point(At::Before, call, "store").await;
        let rate = self.world().rates().store_before;
        self.reaches(rate, "store fails before", call)
    }

    /// It has taken effect.
    pub(crate) async fn call_ends(&self, call: &'static str) -> Result<(), StoreError> {
        self.point(At::After, call, "store").await;
        let rate = self.world().rates().store_after;
        self.reaches(rate, "store fails after", call)
    }

    fn reaches(
        &self,
        rate: u64,
        fault: &'static str,
        call: &'static str,
    ) -> Result<(), StoreError> {
        let world = self.world();
        let fails = world.dice(|dice| dice.chance(rate));
        if !fails && !self.is_away() {
            return Ok(());
        }
        world.coverage().fault(fault, call, "store");
        world.note(format_args!("p{}: {fault} {call}", self.number()));
        Err(StoreError::Unavailable {
            cause: "cut off by the simulator".into(),
        })
    }
}
