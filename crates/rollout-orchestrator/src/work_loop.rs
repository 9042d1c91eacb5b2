//! The loop of one worker: one task owns its state; each thing that can happen calls one `on_…` method; what to do next
//! is decided by [`next_action`].

mod hosts;
mod registration;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use fleet_store::{NewWorker, RolloutRecord};
use fleet_types::{HostName, Planted, RolloutId, planted};
use tokio::sync::{Notify, watch};
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, sleep_until};

use crate::attempt::{AttemptEnd, Owned};
use crate::current::Current;
use crate::decide::{Action, View, next_action};
use crate::desk::RolloutDesk;
use crate::orchestrator::Orchestrator;
use crate::unusable::Learnt;
use crate::worker::{Finished, Order, Outlets, Registration, WorkError, WorkMode, WorkerStatus};

pub(crate) struct WorkLoop {
    orchestrator: Orchestrator,
    who: NewWorker,
    mode: WorkMode,
    registration: Registration,
    orders: watch::Receiver<Order>,
    stirred: watch::Receiver<u64>,
    outlets: Outlets,
    /// Told whenever a place for one more connection is free.
    freed: Arc<Notify>,
    attempts: JoinSet<AttemptEnd>,
    owned: HashMap<Id, Owned>,
    desks: HashMap<RolloutId, Arc<RolloutDesk>>,
    current: Option<Current>,
    /// When to look around although nothing happened here.
    next_tick: Instant,
    /// Whether attempts of dead workers are to be looked for.
    take_over_due: bool,
    /// When it was last looked whether other processes work on the store.
    company_looked: Option<Instant>,
    trouble: Option<String>,
    puzzle: Option<registration::Puzzle>,
    /// The active rollout, when it is left to processes of a newer version.
    left_to_newer: Option<RolloutId>,
    /// Hosts whose attempt stopped here for want of a key, until they are free for others.
    given_up: Vec<HostName>,
    /// What was known of a rollout's credentials under the name before.
    learnt: Option<(RolloutId, Learnt)>,
}

/// What comes after one thing done.
enum Turn {
    Again,
    Wait,
    End,
}

impl WorkLoop {
    pub(crate) fn new(
        orchestrator: Orchestrator,
        who: NewWorker,
        mode: WorkMode,
        registration: Registration,
        orders: watch::Receiver<Order>,
        outlets: Outlets,
    ) -> Self {
        Self {
            stirred: orchestrator.stirred(),
            orchestrator,
            who,
            mode,
            registration,
            orders,
            outlets,
            freed: Arc::default(),
            attempts: JoinSet::new(),
            owned: HashMap::new(),
            desks: HashMap::new(),
            current: None,
            next_tick: Instant::now(),
            take_over_due: true,
            company_looked: None,
            trouble: None,
            puzzle: None,
            left_to_newer: None,
            given_up: Vec::new(),
            learnt: None,
        }
    }

    pub(crate) async fn run(mut self) -> Result<Finished, WorkError> {
        let end = loop {
            match self.turn().await {
                Ok(Turn::Again) => {}
                Ok(Turn::Wait) => self.wait().await,
                Ok(Turn::End) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        let finished = self.leave().await;
        end.map(|()| finished)
    }

    /// Does one thing.
    async fn turn(&mut self) -> Result<Turn, WorkError> {
        let order = *self.orders.borrow_and_update();
        let leaving = match order {
            Order::Work => false,
            Order::StopBy(deadline) if Instant::now() < deadline => true,
            Order::StopBy(_) | Order::Abandon => return Ok(Turn::End),
        };
        if self.registration.lease().is_lost() {
            return if leaving {
                Ok(Turn::End)
            } else {
                self.register_anew().await
            };
        }
        self.look().await?;
        self.look_for_company().await?;
        self.wait_for_credentials().await?;
        // Who works on no rollout, because it only looks or cannot see which is active, takes nothing over: it would change
        // hosts that it is not there to change, and does not know which credentials it lacks.
        if self.take_over_due && !leaving && self.current.is_some() {
            self.take_over().await?;
        }
        self.act(leaving).await
    }

    /// Finds the rollout to work on, and where it stands.
    async fn look(&mut self) -> Result<(), WorkError> {
        if self.current.as_ref().is_some_and(|current| current.fresh) {
            return Ok(());
        }
        let found = match self.mode {
            WorkMode::Nothing => Ok(None),
            WorkMode::All => self.store().rollout_active().await,
            WorkMode::One(id) => self.store().rollout_get(id).await,
        };
        let Some(found) = self.weather(found)? else {
            return Ok(());
        };
        self.note_left(found.as_ref());
        match (found, self.mode) {
            (None, WorkMode::One(id)) => return Err(WorkError::UnknownRollout { id }),
            (None, _) => self.work_on_none(),
            // Hosts in flight here are finished; all else is for those who understand what was written.
            (Some(_), _) if self.left_to_newer.is_some() => self.work_on_none(),
            (Some(record), _) => {
                let known = self
                    .current
                    .as_ref()
                    .is_some_and(|current| current.record.id == record.id);
                if !known {
                    let desk = self.desk(record.id, record.policy.concurrency);
                    let learnt = self.learnt.iter().find(|(id, _)| *id == record.id);
                    let learnt = learnt.map(|(_, learnt)| learnt.clone()).unwrap_or_default();
                    let current = Current::open(record, desk, &self.orchestrator, learnt).await;
                    self.current = self.weather(current)?;
                } else if let Some(current) = &mut self.current {
                    current.see(record);
                }
            }
        }
        Ok(())
    }

    fn work_on_none(&mut self) {
        self.current = None;
        if self.owned.is_empty() {
            self.desks.clear();
        }
    }

    /// Takes note of whether a newer version of the program has written to the rollout that is under way.
    fn note_left(&mut self, found: Option<&RolloutRecord>) {
        let known = self.store().schema_known();
        let left = found
            .filter(|record| record.state.is_active() && record.schema > known)
            .map(|record| record.id);
        if let Some(rollout) = left.filter(|_| left != self.left_to_newer) {
            tracing::warn!("{}", left_to_newer(rollout));
        }
        self.left_to_newer = left;
    }

    async fn act(&mut self, leaving: bool) -> Result<Turn, WorkError> {
        let in_flight = self.owned.len();
        let in_doubt = self.registration.slots.in_doubt.load(Ordering::Relaxed);
        let Some(current) = &mut self.current else {
            if leaving && in_flight == 0 {
                return Ok(Turn::End);
            }
            // Of a host that it may hold without knowing, those who carry on must hear that it is free.
            if self.left_to_newer.is_some() && in_flight == 0 && in_doubt {
                self.registration.lease().lose();
                return Ok(Turn::Again);
            }
            return Ok(Turn::Wait);
        };
        let view = View {
            state: current.record.state,
            unresolved: current.is_unresolved(),
            resolving: current.is_resolving(),
            leaving,
            in_flight,
            place: current.desk.has_place()
                && !(in_flight > 0 && planted(Planted::SlowHostsAwaited)),
            in_doubt,
            nothing_to_claim: current.nothing_to_claim,
            advanced: current.advanced,
        };
        match next_action(&view) {
            Action::Resolve => current.resolve(self.mode),
            Action::Claim => return self.claim().await,
            Action::Advance => return self.advance().await,
            Action::StartOver => self.registration.lease().lose(),
            Action::Wait => return Ok(Turn::Wait),
            Action::Done if leaving || matches!(self.mode, WorkMode::One(_)) => {
                return Ok(Turn::End);
            }
            Action::Done => {
                self.desks.remove(&current.record.id);
                self.current = None;
                return Ok(Turn::Wait);
            }
        }
        Ok(Turn::Again)
    }

    /// Waits until something happens, and takes note of it.
    async fn wait(&mut self) {
        self.show();
        let lease = Arc::clone(self.registration.lease());
        let freed = Arc::clone(&self.freed);
        let until = match *self.orders.borrow() {
            Order::StopBy(deadline) => self.next_tick.min(deadline),
            _ => self.next_tick,
        };
        let resolving = self
            .current
            .as_mut()
            .and_then(|current| current.resolving.as_mut());
        tokio::select! {
            // The order is fixed so that a simulated run can be repeated. What a busy worker must not miss comes first;
            // none of these is ready again at once.
            biased;
            () = lease.lost(), if !lease.is_lost() => {}
            _ = self.orders.changed() => self.on_tick(),
            () = sleep_until(until) => self.on_tick(),
            // A place is free: the next turn uses it.
            () = freed.notified() => {}
            Some(ended) = self.attempts.join_next_with_id() => self.on_attempt_end(ended),
            trouble = async { resolving.expect("guarded by the condition").await }, if resolving.is_some() => {
                self.on_resolved(trouble);
            }
            _ = self.stirred.changed() => self.on_tick(),
        }
    }

    fn on_attempt_end(&mut self, ended: Result<(Id, AttemptEnd), JoinError>) {
        let (id, end) = match ended {
            Ok(ended) => ended,
            Err(error) => {
                tracing::error!(%error, "an attempt failed by a fault of this program");
                (error.id(), AttemptEnd::Faulty)
            }
        };
        if let Some(current) = &mut self.current {
            current.stir();
        }
        let Some(owned) = self.owned.remove(&id) else {
            return;
        };
        match end {
            AttemptEnd::Settled => {
                if let Some(current) = &mut self.current {
                    current.settled(owned.name());
                }
            }
            AttemptEnd::Interrupted => self.begin_again(owned),
            AttemptEnd::NoKey(why) => self.on_no_key(owned, why),
            AttemptEnd::Faulty => self.begin_again(owned.after_fault()),
            AttemptEnd::NotOurs => {
                // The store may still take us for its owner, and then nobody else would take it on. Under a new name we
                // have what every other worker has: the right to take over what is orphaned.
                tracing::warn!(host = %owned.name(), "a host is no longer ours; registering anew");
                self.registration.lease().lose();
            }
        }
    }

    /// Another process may have the key, or this one may have it again: for both the host is free once this one has
    /// another name, which it takes as soon as nothing else of its own is in flight.
    fn on_no_key(&mut self, owned: Owned, why: String) {
        let left = match &mut self.current {
            Some(current) => current.leaves_to_others(&owned, &why),
            None => true,
        };
        if left {
            self.given_up.push(owned.name().clone());
            self.registration.slots.doubt();
        } else {
            self.begin_again(owned.without_key(why));
        }
    }

    fn on_resolved(&mut self, trouble: Result<Option<String>, JoinError>) {
        if let Some(current) = &mut self.current {
            current.trouble = trouble.unwrap_or_else(|error| Some(error.to_string()));
            current.resolving = None;
            current.stale();
        }
    }

    fn on_tick(&mut self) {
        let settings = self.orchestrator.settings();
        let pause = if self.current.is_some() {
            settings.poll
        } else {
            settings.idle_poll
        };
        self.next_tick = Instant::now() + pause;
        self.take_over_due = true;
        if let Some(current) = &mut self.current {
            current.stale();
        }
    }

    /// Hosts that are this worker's by the store's record, and what was sent to them last may be under way still.
    fn in_flight(&self) -> Vec<HostName> {
        let owned = self.owned.values().map(|owned| owned.name());
        let mut all: Vec<_> = owned.chain(&self.given_up).cloned().collect();
        all.sort();
        all.dedup();
        all
    }

    fn show(&self) {
        let in_flight = self.in_flight();
        let status = WorkerStatus {
            worker: self.worker(),
            in_flight,
            cannot_load: self
                .current
                .as_ref()
                .map(Current::cannot_load)
                .unwrap_or_default(),
            trouble: self
                .trouble
                .clone()
                .or_else(|| self.left_to_newer.map(left_to_newer))
                .or_else(|| self.current.as_ref()?.trouble.clone()),
        };
        self.outlets.shown.send_if_modified(|shown| {
            let changed = *shown != status;
            *shown = status;
            changed
        });
    }
}

/// Why nothing of it is done here.
fn left_to_newer(rollout: RolloutId) -> String {
    let rollout = rollout.short();
    format!(
        "rollout {rollout} is carried on by a newer version of this program; this process leaves it to those"
    )
}
