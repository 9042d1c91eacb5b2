//! What most commands need: settings, database, transport.

use std::path::PathBuf;
use std::sync::Arc;

use fleet_store::{Actor, AdminStore, NewWorker, ProcessId, Store};
use fleet_types::{HostName, RolloutId, WorkerId};
use rollout_orchestrator::{Orchestrator, OrchestratorSettings, WorkMode, Worker};
use rollout_parts::{open_store, ssh_defaults, transport};
use rollout_settings::{RolloutLayer, Settings};
use ssh_exec::Transport;
use uuid::Uuid;

use crate::cli::{Global, Which};
use crate::environment;
use crate::failure::Failure;
use crate::output::Output;

/// What most commands need.
#[derive(Debug)]
pub(crate) struct Context {
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

impl Context {
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

    /// The way to the hosts.
    pub(crate) fn transport(&self) -> Result<Arc<dyn Transport>, Failure> {
        Ok(transport(&self.settings.ssh)?)
    }

    /// What plans, steers and does the work.
    pub(crate) fn orchestrator(&self) -> Result<Orchestrator, Failure> {
        let settings = OrchestratorSettings {
            concurrency: self.settings.rollout.concurrency,
            ssh: ssh_defaults(&self.settings.ssh, self.home.clone()),
            ..OrchestratorSettings::default()
        };
        Ok(Orchestrator::new(
            Arc::clone(&self.store),
            self.transport()?,
            settings,
        ))
    }

    /// Registers this process for looking at hosts outside of rollouts: it holds the lease that connections need.
    pub(crate) async fn looker(&self, orchestrator: &Orchestrator) -> Result<Worker, Failure> {
        Ok(Worker::start(orchestrator, new_worker(), WorkMode::Nothing).await?)
    }

    /// A host that must be there.
    pub(crate) async fn host(&self, name: &HostName) -> Result<fleet_store::HostRecord, Failure> {
        self.store.host_get(name).await?.ok_or_else(|| {
            Failure::refused(format!("there is no host {name}"))
                .help("rollout-cli hosts list shows the names")
        })
    }

    /// The rollout that was named, by its id or by what is shown of it, or the latest.
    pub(crate) async fn rollout(&self, which: &Which) -> Result<RolloutId, Failure> {
        let Some(text) = &which.rollout else {
            let latest = self.store.rollout_latest().await?;
            return latest.map(|rollout| rollout.id).ok_or_else(|| {
                Failure::refused("there was no rollout yet")
                    .help("rollout-cli update --all starts one")
            });
        };
        if let Ok(id) = text.parse::<RolloutId>() {
            return match self.store.rollout_get(id).await? {
                Some(rollout) => Ok(rollout.id),
                None => Err(unknown_rollout(text)),
            };
        }
        self.by_short_id(text).await
    }

    async fn short_ids(&self, wanted: &str) -> Result<Vec<RolloutId>, Failure> {
        let mut found = Vec::new();
        let mut before = None;
        loop {
            let page = self.store.rollout_list(before, 200).await?;
            let Some(last) = page.last() else {
                return Ok(found);
            };
            before = Some(last.id);
            let fits = |id: &RolloutId| {
                id.short().starts_with(wanted) || id.to_string().starts_with(wanted)
            };
            found.extend(page.iter().map(|rollout| rollout.id).filter(fits));
        }
    }

    async fn by_short_id(&self, text: &str) -> Result<RolloutId, Failure> {
        let wanted = text.to_ascii_lowercase();
        let fits = wanted.len() >= 4 && wanted.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
        let found = if fits {
            self.short_ids(&wanted).await?
        } else {
            Vec::new()
        };
        match found.as_slice() {
            [id] => Ok(*id),
            [] => Err(unknown_rollout(text)),
            _ => Err(Failure::refused(format!(
                "{} rollouts have an id that starts with {text}",
                found.len()
            ))
            .help("give more of it; rollout-cli rollouts list --json shows whole ids")),
        }
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

fn unknown_rollout(text: &str) -> Failure {
    Failure::refused(format!("there is no rollout {text}"))
        .help("rollout-cli rollouts list shows them")
}
