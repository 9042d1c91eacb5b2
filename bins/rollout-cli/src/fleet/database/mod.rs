//! A fleet in a database, worked on by this program.

mod inventory;
mod people;
mod rollouts;

use std::path::PathBuf;
use std::sync::Arc;

use fleet_store::{Actor, AdminStore, NewWorker, ProcessId, Store};
use fleet_types::WorkerId;
use rollout_orchestrator::{
    Orchestrator, OrchestratorSettings, SlotTransport, SshDefaults, WorkMode, Worker,
};
use rollout_parts::{open_store, ssh_defaults, transport};
use rollout_settings::{RolloutLayer, Settings};
use ssh_exec::Transport;
use uuid::Uuid;

use super::Fleet;
use crate::cli::Global;
use crate::environment;
use crate::failure::Failure;
use crate::output::Output;

/// A fleet in a database. A cheap handle on it.
#[derive(Clone, Debug)]
pub(crate) struct DatabaseFleet {
    /// Where to write.
    pub out: Output,
    /// The settings in force.
    pub settings: Settings,
    /// Who asks.
    pub actor: Actor,
    /// The database.
    pub store: Arc<dyn Store>,
    /// The same, with people, tokens and the audit trail.
    pub admin: Arc<dyn AdminStore>,
    /// The home folder, for keys that are named with `~/`.
    pub home: Option<PathBuf>,
}

impl DatabaseFleet {
    /// Reads the settings, with what the command says about the policy over them, and opens the database.
    pub(crate) async fn open(
        global: &Global,
        out: Output,
        policy: RolloutLayer,
    ) -> Result<Self, Failure> {
        let settings = environment::settings(global, policy)?;
        let admin: Arc<dyn AdminStore> = Arc::new(open_store(&settings).await?);
        let store: Arc<dyn Store> = Arc::clone(&admin) as _;
        let home = environment::places(global).home;
        Ok(Self {
            out,
            settings,
            actor: environment::actor(),
            store,
            admin,
            home,
        })
    }

    /// As any fleet.
    pub(crate) fn fleet(&self) -> Arc<dyn Fleet> {
        Arc::new(self.clone())
    }

    /// The way to the hosts.
    pub(crate) fn transport(&self) -> Result<Arc<dyn Transport>, Failure> {
        Ok(transport(&self.settings.ssh)?)
    }

    /// How hosts are signed in to that say nothing else.
    pub(crate) fn ssh_defaults(&self) -> SshDefaults {
        ssh_defaults(&self.settings.ssh, self.home.clone())
    }

    /// What plans, steers and does the work.
    pub(crate) fn orchestrator(&self) -> Result<Orchestrator, Failure> {
        let settings = OrchestratorSettings {
            concurrency: self.settings.rollout.concurrency,
            ssh: self.ssh_defaults(),
            ..OrchestratorSettings::default()
        };
        Ok(Orchestrator::new(
            Arc::clone(&self.store),
            self.transport()?,
            settings,
        ))
    }

    /// Keeps the database from being closed before this program ends: to close one that does not answer would be to wait for
    /// it.
    pub(crate) fn leave_open(&self) {
        std::mem::forget(Arc::clone(&self.store));
    }

    /// Does something with hosts outside of rollouts. This process is registered for that long: it holds the lease that
    /// connections need.
    pub(crate) async fn looking<T>(
        &self,
        work: impl AsyncFnOnce(&Orchestrator, &Worker, Arc<SlotTransport>) -> T,
    ) -> Result<T, Failure> {
        let orchestrator = self.orchestrator()?;
        let mut worker = Worker::start(&orchestrator, new_worker(), WorkMode::Nothing).await?;
        let transport = Arc::new(worker.transport());
        let done = work(&orchestrator, &worker, transport).await;
        worker.abandon();
        worker.finished().await?;
        Ok(done)
    }
}

/// This process as one that does work.
pub(crate) fn new_worker() -> NewWorker {
    NewWorker {
        id: WorkerId(Uuid::now_v7()),
        label: format!("rollout-cli on {}", environment::machine()),
        serves: false,
        process: ProcessId::current(),
    }
}
