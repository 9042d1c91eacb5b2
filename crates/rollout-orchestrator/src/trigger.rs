//! From a request to a frozen plan.

use std::collections::HashSet;

use fleet_store::{NewWorker, StoreError};
use fleet_types::{HostName, RolloutId, TargetRef};
use ssh_exec::IdentityError;

use crate::again::{AgainRequest, Earlier, plan_retry, plan_rollback};
use crate::endpoint::{EndpointError, endpoint};
use crate::orchestrator::Orchestrator;
use crate::planning::{Plan, PlanError, PlanRequest, plan_update};

/// Why a plan was not started. Nothing was changed and no host was touched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TriggerRefusal {
    /// A credential cannot be loaded here.
    #[error("the key for {host} cannot be used")]
    Identity {
        /// The first host that it is for.
        host: HostName,
        /// What is wrong with it.
        source: IdentityError,
    },
    /// A host cannot even be tried.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// The rollout was to be left to others, and nobody is there to do the work.
    #[error("no live process does the work of every rollout, so nobody would carry it out")]
    NobodyServes,
    /// The store refused: another rollout is active, the commit is known bad, a host is gone, ...
    #[error(transparent)]
    Refused(#[from] fleet_store::TriggerError),
}

impl Orchestrator {
    /// Plans an update. Changes nothing.
    pub async fn plan(&self, request: &PlanRequest) -> Result<Plan, PlanError> {
        plan_update(self.store().host_list().await?, request)
    }

    /// Plans a retry: the failed, rolled back and never started hosts of an earlier rollout, to the same target, in
    /// stages of their own. A retry of a rollback goes back as well. Changes nothing.
    pub async fn plan_retry(&self, request: &AgainRequest) -> Result<Plan, PlanError> {
        plan_retry(self.earlier(request.source).await?, request)
    }

    /// Plans a rollback: every host that an earlier rollout changed, each back to its own previous version, gated the
    /// same way. Changes nothing.
    pub async fn plan_rollback(&self, request: &AgainRequest) -> Result<Plan, PlanError> {
        plan_rollback(self.earlier(request.source).await?, request)
    }

    /// Freezes a plan. From then on a process that dies leaves a rollout that the next one finishes.
    ///
    /// Every credential that the plan needs is loaded first, so that a bad key refuses before any host is touched.
    /// `worker` is registered in the same transaction, so that nobody takes the newborn rollout for an interrupted one;
    /// hand it to [`Worker::start_registered`](crate::Worker::start_registered) next. None when a worker of this process
    /// that does the work of every rollout is running.
    pub async fn trigger(
        &self,
        plan: &Plan,
        worker: Option<NewWorker>,
    ) -> Result<RolloutId, TriggerRefusal> {
        self.check_identities(plan).await?;
        self.freeze(plan, worker).await
    }

    /// Freezes a plan for others to carry out: refused when no live process of at least this version does the work of every
    /// rollout. Its credentials are theirs and not looked for here.
    pub async fn trigger_detached(&self, plan: &Plan) -> Result<RolloutId, TriggerRefusal> {
        let alive = self
            .store()
            .worker_alive()
            .await
            .map_err(fleet_store::TriggerError::Store)?;
        let known = self.store().schema_known();
        // Those of an older version leave to others what this one writes.
        if !alive
            .iter()
            .any(|worker| worker.serves && worker.schema >= known)
        {
            return Err(TriggerRefusal::NobodyServes);
        }
        self.freeze(plan, None).await
    }

    /// Plans and triggers a retry; see [`Orchestrator::plan_retry`].
    pub async fn retry(
        &self,
        request: &AgainRequest,
        worker: Option<NewWorker>,
    ) -> Result<RolloutId, AgainError> {
        let plan = self.plan_retry(request).await?;
        Ok(self.trigger(&plan, worker).await?)
    }

    /// Plans and triggers a rollback; see [`Orchestrator::plan_rollback`].
    pub async fn rollback(
        &self,
        request: &AgainRequest,
        worker: Option<NewWorker>,
    ) -> Result<RolloutId, AgainError> {
        let plan = self.plan_rollback(request).await?;
        Ok(self.trigger(&plan, worker).await?)
    }

    /// Loads every credential that the plan needs, each once, without connecting anywhere.
    pub async fn check_identities(&self, plan: &Plan) -> Result<(), TriggerRefusal> {
        let mut checked = HashSet::new();
        for host in &plan.hosts {
            let endpoint = endpoint(
                &host.name,
                &host.spec,
                &host.host_keys,
                &self.settings().ssh,
            )?;
            if checked.insert(endpoint.identity.clone()) {
                self.transport()
                    .check_identity(&endpoint)
                    .await
                    .map_err(|source| TriggerRefusal::Identity {
                        host: host.name.clone(),
                        source,
                    })?;
            }
        }
        Ok(())
    }

    async fn freeze(
        &self,
        plan: &Plan,
        worker: Option<NewWorker>,
    ) -> Result<RolloutId, TriggerRefusal> {
        self.refuse_known_bad(plan).await?;
        let id = self
            .store()
            .rollout_create(plan.rollout.clone(), worker)
            .await?;
        self.stir();
        Ok(id)
    }

    /// A commit asked for by its hash is not on record as the target before it was found, but whether it is known to be
    /// bad can be said at once.
    async fn refuse_known_bad(&self, plan: &Plan) -> Result<(), fleet_store::TriggerError> {
        let Ok(TargetRef::Commit(version)) = plan.rollout.target_ref.parse() else {
            return Ok(());
        };
        if plan.rollout.force {
            return Ok(());
        }
        match self.store().known_bad(&version).await? {
            None => Ok(()),
            Some(rollout) => Err(fleet_store::TriggerError::KnownBad {
                version: version.into(),
                rollout,
            }),
        }
    }

    async fn earlier(&self, id: RolloutId) -> Result<Earlier, PlanError> {
        let store = self.store();
        let record = store
            .rollout_get(id)
            .await?
            .ok_or(PlanError::UnknownRollout { id })?;
        let attempts = store.attempt_list(id).await?;
        let fleet = store.host_list().await?;
        Ok(Earlier {
            record,
            attempts,
            fleet,
        })
    }
}

/// Why there is no retry or rollback. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AgainError {
    /// It could not be planned.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// It was not started.
    #[error(transparent)]
    Trigger(#[from] TriggerRefusal),
}

impl From<StoreError> for TriggerRefusal {
    fn from(error: StoreError) -> Self {
        Self::Refused(error.into())
    }
}
