//! The handle that everything starts from, and the verbs.

use std::sync::Arc;

use fleet_store::{Actor, Store, VerbError};
use fleet_types::{RolloutId, Verb};
use ssh_exec::Transport;
use tokio::sync::watch;

use crate::outage::Outage;
use crate::settings::OrchestratorSettings;

/// Plans, triggers, steers and works on rollouts. A cheap handle: clones share everything.
#[derive(Clone, Debug)]
pub struct Orchestrator {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    store: Arc<dyn Store>,
    transport: Arc<dyn Transport>,
    settings: OrchestratorSettings,
    outage: Arc<Outage>,
    /// Counts what was changed through this handle, so that the workers of this process look at once.
    stirred: watch::Sender<u64>,
}

impl Orchestrator {
    /// An orchestrator on this store, reaching hosts through this transport.
    #[must_use]
    pub fn new(
        store: Arc<dyn Store>,
        transport: Arc<dyn Transport>,
        settings: OrchestratorSettings,
    ) -> Self {
        let stirred = watch::Sender::new(0);
        Self {
            inner: Arc::new(Inner {
                store,
                transport,
                settings,
                outage: Arc::default(),
                stirred,
            }),
        }
    }

    /// The store.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.inner.store
    }

    /// The settings.
    #[must_use]
    pub fn settings(&self) -> &OrchestratorSettings {
        &self.inner.settings
    }

    /// Why the store cannot be used now, in words that anybody may see. Known from the workers of this process: they
    /// write to it every few seconds.
    #[must_use]
    pub fn store_trouble(&self) -> Option<&'static str> {
        self.inner.outage.brief()
    }

    /// Starts no further hosts; those in flight finish. Idempotent, and stored: it outlives the process that asked.
    pub async fn pause(&self, rollout: RolloutId, actor: &Actor) -> Result<(), VerbError> {
        self.verb(rollout, Verb::Pause, actor).await
    }

    /// Goes on after a pause. Idempotent. Whoever has a live worker goes on with it; if nobody has, start one.
    pub async fn resume(&self, rollout: RolloutId, actor: &Actor) -> Result<(), VerbError> {
        self.verb(rollout, Verb::Resume, actor).await
    }

    /// Ends the rollout once the hosts in flight have finished; done stays done. Idempotent.
    pub async fn abort(&self, rollout: RolloutId, actor: &Actor) -> Result<(), VerbError> {
        self.verb(rollout, Verb::Abort, actor).await
    }

    async fn verb(&self, rollout: RolloutId, verb: Verb, actor: &Actor) -> Result<(), VerbError> {
        self.store().rollout_verb(rollout, verb, actor).await?;
        self.stir();
        Ok(())
    }

    pub(crate) fn outage(&self) -> &Arc<Outage> {
        &self.inner.outage
    }

    pub(crate) fn transport(&self) -> &Arc<dyn Transport> {
        &self.inner.transport
    }

    /// Lets the workers of this process look at once.
    pub(crate) fn stir(&self) {
        self.inner.stirred.send_modify(|count| *count += 1);
    }

    pub(crate) fn stirred(&self) -> watch::Receiver<u64> {
        self.inner.stirred.subscribe()
    }
}
