//! Is there a rollout under way, and does anybody work on it?

use fleet_store::{Actor, NewWorker, RolloutRecord, StoreError, VerbError};
use fleet_types::{RolloutId, RolloutState};

use crate::orchestrator::Orchestrator;
use crate::worker::{WorkError, WorkMode, Worker};

/// Where the one place for an active rollout stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// No rollout is active.
    Free,
    /// One is, and a live process works on it.
    Attended(RolloutRecord),
    /// One is, and a person paused it. It stays so until they resume or abort it.
    Paused(RolloutRecord),
    /// One is, not paused, and nobody works on it: its processes are gone.
    Interrupted(RolloutRecord),
    /// The same, and it is not for this program to go on with it: a newer version has written to it.
    LeftToNewer(RolloutRecord),
}

/// Why an interrupted rollout could not be settled.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SettleError {
    /// It could not be aborted.
    #[error(transparent)]
    Verb(#[from] VerbError),
    /// It could not be worked on.
    #[error(transparent)]
    Work(#[from] WorkError),
}

impl Orchestrator {
    /// Looks. What it says may change at once; the trigger decides for good.
    pub async fn standing(&self) -> Result<Standing, StoreError> {
        let Some(record) = self.store().rollout_active().await? else {
            return Ok(Standing::Free);
        };
        if record.state == RolloutState::Paused {
            return Ok(Standing::Paused(record));
        }
        let view = self.store().rollout_view(record.id).await?;
        Ok(match view {
            Some(view) if view.state.is_active() && view.attended => Standing::Attended(record),
            Some(view) if view.state.is_active() && record.schema > self.store().schema_known() => {
                Standing::LeftToNewer(record)
            }
            Some(view) if view.state.is_active() => Standing::Interrupted(record),
            _ => Standing::Free,
        })
    }

    /// Works on a rollout until it is over, together with whoever else does, and returns it as it ended. A paused one is
    /// waited for. Hosts that dead processes left in flight are finished first.
    ///
    /// Dropping the future is like the death of this process: the next one finishes what was in flight.
    pub async fn drive(
        &self,
        rollout: RolloutId,
        who: NewWorker,
    ) -> Result<RolloutRecord, WorkError> {
        let mut worker = Worker::start(self, who, WorkMode::One(rollout)).await?;
        let finished = worker.finished().await?;
        finished
            .record
            .ok_or(WorkError::UnknownRollout { id: rollout })
    }

    /// Ends an interrupted rollout: aborts it, finishes the hosts that were in flight, starts no other.
    pub async fn settle_interrupted(
        &self,
        rollout: RolloutId,
        who: NewWorker,
        actor: &Actor,
    ) -> Result<RolloutRecord, SettleError> {
        match self.abort(rollout, actor).await {
            // It may be halting, or over by now; then there is nothing to abort, only to finish.
            Ok(()) | Err(VerbError::WrongState { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(self.drive(rollout, who).await?)
    }
}
