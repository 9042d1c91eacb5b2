//! One attempt as a task: from the claim to the settled host.

use std::sync::Arc;
use std::time::Duration;

use fleet_store::{AttemptRecord, Claimed, LeaseError, Store, StoreError};
use fleet_types::{
    AttemptStatus, HostEvent, HostId, HostName, Outcome, Progress, Reason, RolloutId, TargetRef,
};
use tokio::time::sleep;
use update_engine::{AttemptSpec, Goal, GuardSpec, run_attempt};

use crate::desk::RolloutDesk;
use crate::endpoint::{EndpointError, endpoint};
use crate::journal::{SharedHostLease, StopCause, StoreJournal};
use crate::lease::Lease;
use crate::places::{Place, Seat};

/// An attempt that panicked or recorded nonsense this often is not started anew.
const FAULTS: u32 = 3;
/// Between two starts of the same attempt by the same worker.
const PAUSE: Duration = Duration::from_secs(1);

/// An attempt that this worker owns, over all its starts.
#[derive(Clone, Debug)]
pub(crate) struct Owned {
    claimed: Arc<Claimed>,
    host_lease: SharedHostLease,
    /// Panics and illegal events so far.
    faults: u32,
    /// Why it cannot be signed in to, when it is not left to other processes any more.
    no_key: Option<String>,
}

/// How one start of an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AttemptEnd {
    /// The host is settled.
    Settled,
    /// Nothing is wrong with the host; its attempt must be taken up again.
    Interrupted,
    /// The host's credential cannot be loaded in this process, and why.
    NoKey(String),
    /// The program is at fault.
    Faulty,
    /// By the store's record the host is no longer ours.
    NotOurs,
}

impl Owned {
    pub(crate) fn new(claimed: Claimed) -> Self {
        Self {
            host_lease: SharedHostLease::new(claimed.lease.clone()),
            claimed: Arc::new(claimed),
            faults: 0,
            no_key: None,
        }
    }

    pub(crate) fn attempt(&self) -> &AttemptRecord {
        &self.claimed.attempt
    }

    pub(crate) fn rollout(&self) -> RolloutId {
        self.claimed.lease.rollout
    }

    pub(crate) fn host(&self) -> HostId {
        self.claimed.lease.host
    }

    pub(crate) fn name(&self) -> &HostName {
        &self.claimed.attempt.name
    }

    pub(crate) fn concurrency(&self) -> u32 {
        self.claimed.concurrency
    }

    /// The same attempt, given up for want of a key.
    pub(crate) fn without_key(mut self, why: String) -> Self {
        self.no_key = Some(why);
        self
    }

    /// The same attempt, with one more fault to its name.
    pub(crate) fn after_fault(mut self) -> Self {
        self.faults += 1;
        self
    }
}

/// What an attempt needs of its worker.
#[derive(Clone, Debug)]
pub(crate) struct AttemptTask {
    pub(crate) desk: Arc<RolloutDesk>,
    pub(crate) owned: Owned,
}

impl AttemptTask {
    /// Right after the claim: what is on record came with it.
    pub(crate) async fn first(self, place: Option<Place>) -> AttemptEnd {
        let progress = self.owned.claimed.attempt.progress.clone();
        self.run(progress, place).await
    }

    /// After an interruption or a fault: asks the store what is on record by now.
    pub(crate) async fn again(self) -> AttemptEnd {
        sleep(PAUSE).await;
        let progress = match self.on_record().await {
            OnRecord::Updating(progress) => progress,
            OnRecord::Settled => return AttemptEnd::Settled,
            OnRecord::NotOurs => return AttemptEnd::NotOurs,
        };
        if let Some(why) = self.owned.no_key.clone() {
            return self.settle(&progress, Reason::NoCredential, why).await;
        }
        if self.owned.faults >= FAULTS {
            let message =
                format!("the program failed {FAULTS} times in this attempt; its log says how");
            return self.settle(&progress, Reason::Internal, message).await;
        }
        self.run(progress, None).await
    }

    async fn run(&self, progress: Progress, place: Option<Place>) -> AttemptEnd {
        let spec = match self.spec(progress.clone()) {
            Ok(spec) => spec,
            Err((reason, message)) => return self.settle(&progress, reason, message).await,
        };
        let seat = Arc::new(Seat::of_attempt(place));
        let transport = self.desk.transport(Arc::clone(&seat));
        let lease = Arc::clone(self.lease());
        let refusals = lease.refusals();
        let mut journal = StoreJournal::new(
            self.store(),
            Arc::clone(&lease),
            self.owned.host_lease.clone(),
            seat,
        );
        let running = async {
            #[cfg(feature = "crash-points")]
            let mut journal = crate::crash_points::watch(&spec, &mut journal);
            run_attempt(spec, &transport, &mut journal).await
        };
        let ran = tokio::select! {
            biased;
            // Its connection must be closed before others may take the slot, also when the store keeps all else waiting.
            () = lease.lost() => return AttemptEnd::NotOurs,
            ran = running => ran,
        };
        match ran {
            Ok(_) => AttemptEnd::Settled,
            Err(stopped) => {
                let host = self.owned.name();
                if let Some(why) = transport.no_key() {
                    tracing::warn!(%host, %why, "an attempt stopped: its credential cannot be loaded here");
                    return AttemptEnd::NoKey(why);
                }
                let outage = match journal.stopped() {
                    Some(cause) => cause == StopCause::Outage,
                    None => lease.refusals() > refusals,
                };
                if outage {
                    // The log has it already that the store cannot be used; this comes again until it can.
                    tracing::debug!(%host, %stopped, "an attempt stopped");
                    return AttemptEnd::Interrupted;
                }
                tracing::warn!(%host, %stopped, "an attempt stopped");
                match journal.stopped() {
                    Some(StopCause::HostLost) => self.after_host_lost().await,
                    _ => AttemptEnd::Faulty,
                }
            }
        }
    }

    /// The last event may have been kept although its answer was lost; trying it again then finds the host settled.
    async fn after_host_lost(&self) -> AttemptEnd {
        match self.on_record().await {
            OnRecord::Settled => AttemptEnd::Settled,
            OnRecord::Updating(_) | OnRecord::NotOurs => AttemptEnd::NotOurs,
        }
    }

    fn spec(&self, progress: Progress) -> Result<AttemptSpec, (Reason, String)> {
        let Claimed {
            attempt,
            host_keys,
            target_ref,
            settle,
            left_behind,
            ..
        } = &*self.owned.claimed;
        let endpoint =
            endpoint(&attempt.name, &attempt.spec, host_keys, &self.desk.ssh).map_err(|error| {
                let reason = match error {
                    EndpointError::NoIdentity { .. } => Reason::NoCredential,
                    EndpointError::Jump { .. } => Reason::Unreachable,
                };
                (reason, error.to_string())
            })?;
        let goal = match (attempt.from.clone(), attempt.target.clone()) {
            (None, Some(target)) => Goal::Update {
                target,
                branch: match target_ref.parse() {
                    Ok(TargetRef::Branch(branch)) => Some(branch),
                    Ok(TargetRef::Commit(_)) | Err(_) => None,
                },
            },
            (Some(from), Some(to)) => Goal::Back { from, to },
            (_, None) => {
                return Err((
                    Reason::Internal,
                    "the attempt has no target on record".to_owned(),
                ));
            }
        };
        Ok(AttemptSpec {
            endpoint,
            app: attempt.spec.app.clone(),
            goal,
            settle: *settle,
            guard: GuardSpec {
                store: self.desk.slots.store.id().to_string(),
                epoch: self.owned.host_lease.get().epoch.0,
            },
            progress,
            left_behind: *left_behind,
        })
    }

    /// What the store has on record, asked for until it answers.
    async fn on_record(&self) -> OnRecord {
        loop {
            if self.lease().is_lost() {
                return OnRecord::NotOurs;
            }
            match self.record().await {
                Ok(record) => return record,
                Err(error) => self.lease().outage().note(&error),
            }
            sleep(PAUSE).await;
        }
    }

    async fn record(&self) -> Result<OnRecord, StoreError> {
        let (rollout, host) = (self.owned.rollout(), self.owned.host());
        Ok(match self.store().attempt_get(rollout, host).await? {
            Some(attempt) if attempt.status == AttemptStatus::Updating => {
                OnRecord::Updating(attempt.progress)
            }
            Some(attempt) if attempt.status.is_settled() => OnRecord::Settled,
            _ => OnRecord::NotOurs,
        })
    }

    /// Settles the host as failed without going there.
    async fn settle(&self, progress: &Progress, reason: Reason, message: String) -> AttemptEnd {
        let outcome = Outcome {
            status: AttemptStatus::Failed,
            reason,
            step: progress.step,
            touched: progress.touched,
            needs_attention: progress.touched,
            message,
            version: None,
        };
        let event = HostEvent::Settled { outcome };
        match self
            .store()
            .attempt_record(&self.owned.host_lease.get(), &event)
            .await
        {
            Ok(()) => AttemptEnd::Settled,
            Err(LeaseError::Lost { .. } | LeaseError::Illegal(_)) => AttemptEnd::NotOurs,
            Err(_) => AttemptEnd::Interrupted,
        }
    }

    fn store(&self) -> Arc<dyn Store> {
        Arc::clone(&self.desk.slots.store)
    }

    fn lease(&self) -> &Arc<Lease> {
        &self.desk.slots.lease
    }
}

enum OnRecord {
    Updating(Progress),
    Settled,
    NotOurs,
}
