//! What most commands need: settings, database, transport.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fleet_store::{Actor, DieselStore, LeaseTimes, NewWorker, ProcessId, Store, StoreOptions};
use fleet_types::{HostName, RolloutId, WorkerId};
use rollout_orchestrator::{Orchestrator, OrchestratorSettings, SshDefaults, WorkMode, Worker};
use rollout_settings::{LeaseSettings, Origin, RolloutLayer, Settings, SshSettings};
use ssh_exec::{Identity, Passphrase, RusshSettings, RusshTransport, Transport};
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
        if settings.origin("database_url") == Origin::Default {
            make_state_folder(&settings.database_url)?;
        }
        let store = open_store(&settings.database_url, &settings.lease).await?;
        let home = environment::places(global).home;
        Ok(Self {
            out,
            settings,
            actor: environment::actor(),
            store,
            home,
        })
    }

    /// The way to the hosts.
    pub(crate) fn transport(&self) -> Result<Arc<dyn Transport>, Failure> {
        transport(&self.settings)
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

/// The way to the hosts under these settings.
pub(crate) fn transport(settings: &Settings) -> Result<Arc<dyn Transport>, Failure> {
    let passphrase = match &settings.ssh.passphrase_file {
        Some(path) => Passphrase::fixed(read_passphrase(path)?),
        None => Passphrase::none(),
    };
    Ok(Arc::new(RusshTransport::new(RusshSettings {
        passphrase,
        ..RusshSettings::default()
    })))
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

/// How to sign in where a host does not say: the configured key, else the agent.
pub(crate) fn ssh_defaults(ssh: &SshSettings, home: Option<PathBuf>) -> SshDefaults {
    let key = ssh.key.clone().map(Identity::File);
    SshDefaults {
        identity: key.or_else(|| ssh.agent.clone().map(Identity::Agent)),
        known_hosts: ssh.known_hosts.clone(),
        home,
    }
}

fn unknown_rollout(text: &str) -> Failure {
    Failure::refused(format!("there is no rollout {text}"))
        .help("rollout-cli rollouts list shows them")
}

/// Opens the database of a URL, and makes or migrates its tables.
pub(crate) async fn open_store(
    url: &str,
    lease: &LeaseSettings,
) -> Result<Arc<dyn Store>, Failure> {
    let lease_times = LeaseTimes {
        lease: lease.lease,
        renew: lease.renew,
        fence: lease.fence,
        slot_grace: lease.slot_grace,
    };
    let options = StoreOptions {
        lease_times,
        ..StoreOptions::default()
    };
    Ok(Arc::new(DieselStore::open(url, options).await?))
}

/// The folder of the default database; others can neither read nor write in it.
fn make_state_folder(url: &str) -> Result<(), Failure> {
    let Some(folder) = url
        .strip_prefix("sqlite://")
        .and_then(|path| Path::new(path).parent())
    else {
        return Ok(());
    };
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(|error| {
            Failure::refused(format!(
                "the folder {} for the database cannot be made",
                folder.display()
            ))
            .why(error)
            .help("name another place with --database-url sqlite://PATH")
        })
}

fn read_passphrase(path: &Path) -> Result<String, Failure> {
    let refuse = |why: String| {
        Failure::refused(format!(
            "the passphrase file {} cannot be used",
            path.display()
        ))
        .why(why)
        .help("it must be readable by you alone: chmod 600; its first line is the passphrase")
    };
    let mode = fs::metadata(path)
        .map_err(|error| refuse(error.to_string()))?
        .permissions()
        .mode()
        & 0o777;
    if mode & 0o077 != 0 {
        return Err(refuse(format!(
            "it has mode {mode:03o}: others can read it"
        )));
    }
    let text = fs::read_to_string(path).map_err(|error| refuse(error.to_string()))?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}
