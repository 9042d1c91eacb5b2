//! Taking hosts on: those of dead workers first, then the next of the stage.

use std::sync::Arc;
use std::time::Duration;

use fleet_store::{Claim, Claimed, LeftToOthers};
use fleet_types::RolloutId;
use tokio::time::Instant;

use super::{Turn, WorkLoop};
use crate::attempt::{AttemptTask, Owned};
use crate::current::Current;
use crate::desk::RolloutDesk;
use crate::places::Place;
use crate::worker::{WorkError, WorkMode};

/// How often it is looked whether other processes work on the store.
const LOOK_FOR_COMPANY: Duration = Duration::from_secs(2);

impl WorkLoop {
    /// Who is alone on the store needs not be polite about connection slots.
    pub(super) async fn look_for_company(&mut self) -> Result<(), WorkError> {
        if self
            .company_looked
            .is_some_and(|at| at.elapsed() < LOOK_FOR_COMPANY)
        {
            return Ok(());
        }
        let alive = self.store().worker_alive().await;
        if let Some(alive) = self.weather(alive)? {
            self.registration.slots.queue.has_company(alive.len() > 1);
            self.company_looked = Some(Instant::now());
        }
        Ok(())
    }

    /// Hosts whose credential cannot be loaded here are left to other processes. Who is there for one rollout tries them in
    /// the end all the same, so that they fail and the rollout ends: when it has waited long enough and saw nobody come
    /// any further, or at once when it is alone and never had their keys. A server goes on waiting for its keys, but for a
    /// rollout that is to end.
    pub(super) async fn wait_for_credentials(&mut self) -> Result<(), WorkError> {
        let Some(current) = &mut self.current else {
            return Ok(());
        };
        current.look_at_credentials(&self.orchestrator).await;
        if let Some(left) = current.due_to_be_told() {
            self.tell(left).await;
        }
        let Some(current) = &mut self.current else {
            return Ok(());
        };
        let Some(waited) = current.held_up_for(self.owned.len()) else {
            return Ok(());
        };
        let id = current.record.id;
        let long_enough = waited >= self.orchestrator.settings().credential_patience;
        let gives_up = match self.mode {
            WorkMode::One(_) => true,
            WorkMode::All => current.is_ending(),
            WorkMode::Nothing => false,
        };
        let nobody_comes = match self.mode {
            _ if gives_up && long_enough => {
                let attempts = self.store().attempt_list(id).await;
                match (self.weather(attempts)?, &mut self.current) {
                    (Some(attempts), Some(current)) => current.stands_still(&attempts),
                    _ => false,
                }
            }
            WorkMode::One(_) if current.never_had_the_keys() => {
                let alive = self.store().worker_alive().await;
                self.weather(alive)?.is_some_and(|alive| alive.len() <= 1)
            }
            WorkMode::One(_) | WorkMode::All | WorkMode::Nothing => false,
        };
        if let Some(current) = self.current.as_mut().filter(|_| nobody_comes) {
            current.try_all_the_same();
            self.take_over_due = true;
        }
        Ok(())
    }

    /// Puts on record what is left to other processes, for people to see. It is tried again when it fails, and nothing
    /// else depends on it.
    async fn tell(&mut self, left: Option<LeftToOthers>) {
        let worker = self.worker();
        let Some(current) = &self.current else {
            return;
        };
        let id = current.record.id;
        let told = self.store().rollout_leaves(id, worker, left.clone()).await;
        match (told, &mut self.current) {
            (Ok(()), Some(current)) => current.told(left),
            (Ok(()), None) => {}
            (Err(error), _) => self.orchestrator.outage().note(&error),
        }
    }

    pub(super) async fn claim(&mut self) -> Result<Turn, WorkError> {
        let Some(current) = &self.current else {
            return Ok(Turn::Wait);
        };
        let Some(place) = current.desk.place() else {
            return Ok(Turn::Wait);
        };
        let (rollout, except) = (current.record.id, current.except());
        let claim = self
            .store()
            .attempt_claim(rollout, self.worker(), &except)
            .await;
        let idle = match self.weather_lease(claim)? {
            Some(Claim::Claimed(claimed)) => {
                self.begin(*claimed, Some(place));
                return Ok(Turn::Again);
            }
            Some(Claim::Nothing(idle)) => Some(idle),
            None => None,
        };
        place.put_back();
        let (Some(idle), Some(current)) = (idle, &mut self.current) else {
            return Ok(Turn::Wait);
        };
        tracing::trace!(%rollout, ?idle, "nothing to claim");
        current.found_nothing(idle);
        Ok(Turn::Again)
    }

    pub(super) async fn advance(&mut self) -> Result<Turn, WorkError> {
        let Some(id) = self.current.as_ref().map(|current| current.record.id) else {
            return Ok(Turn::Wait);
        };
        let advanced = self.store().rollout_advance(id).await;
        let Some(record) = self.weather(advanced)? else {
            return Ok(Turn::Wait);
        };
        if let Some(current) = &mut self.current {
            current.advanced = true;
            current.see(record);
        }
        Ok(Turn::Again)
    }

    /// Hosts of dead workers come before new ones.
    pub(super) async fn take_over(&mut self) -> Result<(), WorkError> {
        let except = self
            .current
            .as_ref()
            .map(Current::except)
            .unwrap_or_default();
        loop {
            let taken = self.store().attempt_take_over(self.worker(), &except).await;
            let Some(Some(claimed)) = self.weather_lease(taken)? else {
                break;
            };
            tracing::info!(host = %claimed.attempt.name, "took over from a worker that is gone");
            let desk = self.desk(claimed.lease.rollout, claimed.concurrency);
            self.begin(claimed, desk.place());
        }
        self.take_over_due = false;
        Ok(())
    }

    pub(super) fn begin(&mut self, claimed: Claimed, place: Option<Place>) {
        let owned = Owned::new(claimed);
        let task = self.task(&owned);
        let id = self.attempts.spawn(task.first(place)).id();
        self.owned.insert(id, owned);
    }

    pub(super) fn begin_again(&mut self, owned: Owned) {
        let task = self.task(&owned);
        let id = self.attempts.spawn(task.again()).id();
        self.owned.insert(id, owned);
    }

    pub(super) fn task(&mut self, owned: &Owned) -> AttemptTask {
        AttemptTask {
            desk: self.desk(owned.rollout(), owned.concurrency()),
            owned: owned.clone(),
        }
    }

    pub(super) fn desk(&mut self, rollout: RolloutId, concurrency: u32) -> Arc<RolloutDesk> {
        let slots = &self.registration.slots;
        let ssh = &self.orchestrator.settings().ssh;
        let kept = self.orchestrator.settings().kept_for_checks;
        let concurrency = concurrency.saturating_sub(kept).max(1);
        let new = || {
            let freed = Arc::clone(&self.freed);
            Arc::new(RolloutDesk::new(
                slots.clone(),
                ssh.clone(),
                concurrency,
                freed,
            ))
        };
        Arc::clone(self.desks.entry(rollout).or_insert_with(new))
    }
}
