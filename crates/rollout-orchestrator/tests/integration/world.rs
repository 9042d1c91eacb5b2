//! A fleet in memory, one store in memory, and processes that share both. All time is tokio's paused clock.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use fleet_store::*;
use fleet_types::*;
use rollout_orchestrator::*;
use ssh_exec::{Identity, ScriptedTransport};
use update_engine::testing::{SimFleet, SimHost, SimOrigin, SimRelease};
use uuid::Uuid;

use crate::process::Process;
use crate::process_network::ProcessTransport;
use crate::process_store::ProcessStore;

pub(crate) struct World {
    pub(crate) fleet: SimFleet,
    pub(crate) store: Arc<DieselStore>,
    pub(crate) network: ScriptedTransport,
    /// Goes with tokio's; [`World::freeze`] sets it ahead.
    pub(crate) clock: ManualClock,
    /// What was before that.
    pub(crate) oldest: CommitHash,
    /// What every host runs at the beginning.
    pub(crate) old: CommitHash,
    /// The tip of `main`.
    pub(crate) new: CommitHash,
}

pub(crate) fn actor() -> Actor {
    Actor::local("ann")
}

pub(crate) fn name_of(number: usize) -> String {
    format!("web-{number:02}")
}

impl World {
    /// `hosts` healthy hosts `web-01`…, one good release behind `main`.
    pub(crate) async fn new(hosts: usize) -> Self {
        let mut origin = SimOrigin::default();
        let oldest = origin.push("main", SimRelease::Good);
        let old = origin.push("main", SimRelease::Good);
        let new = origin.push("main", SimRelease::Good);
        let fleet = SimFleet::new(origin.clone());
        let clock = ManualClock::ticking();
        let store = Arc::new(DieselStore::in_memory_with(StoreOptions {
            clock: Arc::new(clock.clone()),
            ..StoreOptions::default()
        }));
        for number in 1..=hosts {
            fleet.add(&name_of(number), SimHost::on(&old, &origin));
        }
        let inventory = (1..=hosts)
            .map(|number| sample_host(&name_of(number)))
            .collect();
        store.host_add(inventory, &actor()).await.unwrap();
        let network = fleet.transport();
        Self {
            fleet,
            store,
            network,
            clock,
            oldest,
            old,
            new,
        }
    }

    /// The new release does this on these hosts.
    pub(crate) fn breaks(&self, hosts: &[usize], release: SimRelease) {
        for number in hosts {
            let new = self.new.clone();
            self.fleet.change(&name_of(*number), |host| {
                host.releases.insert(new, release);
            });
        }
    }

    /// What hosts were sent so far is not looked at any more.
    pub(crate) fn forget(&self) {
        for host in self.names() {
            self.fleet.change(&host, |host| host.received.clear());
        }
    }

    /// Every command of this name takes this long, everywhere.
    pub(crate) fn takes(&self, command: &str, time: Duration) {
        for host in self.names() {
            self.fleet.change(&host, |host| {
                host.takes.insert(command.to_owned(), time);
            });
        }
    }

    pub(crate) fn names(&self) -> Vec<String> {
        (1..)
            .map(name_of)
            .take_while(|name| self.fleet.host(name).is_some())
            .collect()
    }

    /// Another process on the same store and network.
    pub(crate) fn process(&self) -> (Process, Orchestrator) {
        self.process_with(OrchestratorSettings::default())
    }

    /// The same, and otherwise as the settings say.
    pub(crate) fn process_with(&self, settings: OrchestratorSettings) -> (Process, Orchestrator) {
        let process = Process::default();
        let store = ProcessStore::new(&process, Arc::clone(&self.store) as Arc<dyn Store>);
        let transport = ProcessTransport::new(&process, Arc::new(self.network.clone()));
        let settings = OrchestratorSettings {
            ssh: SshDefaults {
                identity: Some(Identity::File("/keys/default".into())),
                ..SshDefaults::default()
            },
            ..settings
        };
        (
            process,
            Orchestrator::new(Arc::new(store), Arc::new(transport), settings),
        )
    }

    pub(crate) fn orchestrator(&self) -> Orchestrator {
        self.process().1
    }

    /// Time goes on for the store while every process stands still.
    pub(crate) fn freeze(&self, time: Duration) {
        self.clock.advance(time);
    }

    pub(crate) async fn record(&self, id: RolloutId) -> RolloutRecord {
        self.store.rollout_get(id).await.unwrap().unwrap()
    }

    pub(crate) async fn attempts(&self, id: RolloutId) -> Vec<AttemptRecord> {
        self.store.attempt_list(id).await.unwrap()
    }

    pub(crate) async fn events(&self, id: RolloutId) -> Vec<Event> {
        self.store
            .events_after(Seq(0), Some(id), 10_000)
            .await
            .unwrap()
    }

    /// `web-01 success/updated`, in plan order.
    pub(crate) async fn outcomes(&self, id: RolloutId) -> Vec<String> {
        let attempts = self.attempts(id).await;
        attempts
            .iter()
            .map(|a| {
                format!(
                    "{} {}/{}",
                    a.name,
                    a.status,
                    a.reason.map_or("-", Reason::as_str)
                )
            })
            .collect()
    }

    /// How many ended how.
    pub(crate) async fn tally(&self, id: RolloutId) -> BTreeMap<AttemptStatus, usize> {
        let mut tally = BTreeMap::new();
        for attempt in self.attempts(id).await {
            *tally.entry(attempt.status).or_default() += 1;
        }
        tally
    }

    /// Everything that a status promises, compared with the hosts as they really are.
    pub(crate) async fn check_truth(&self, id: RolloutId) {
        for attempt in self.attempts(id).await {
            let host = self.fleet.host(attempt.name.as_str()).unwrap();
            let what = format!(
                "{} is {} ({:?})",
                attempt.name, attempt.status, attempt.message
            );
            let previous = attempt.progress.previous.as_ref().map(|p| &p.version);
            match attempt.status {
                AttemptStatus::Success => {
                    assert!(
                        host.is_wholly_on(attempt.target.as_ref().unwrap()),
                        "{what}"
                    );
                }
                AttemptStatus::RolledBack => {
                    assert!(host.is_wholly_on(previous.unwrap()), "{what}")
                }
                AttemptStatus::Failed if !attempt.touched => assert!(!host.was_changed(), "{what}"),
                AttemptStatus::Failed => {}
                AttemptStatus::Skipped => assert!(!host.was_changed(), "{what}"),
                status => panic!("{what}: nothing may stay {status}"),
            }
            let epochs: Vec<i64> = host
                .received
                .iter()
                .filter(|c| c.ran)
                .filter_map(|c| c.epoch)
                .collect();
            assert!(
                epochs.is_sorted(),
                "{}: an older epoch was let in: {epochs:?}",
                attempt.name
            );
        }
    }

    /// Everybody who worked has left, and holds nothing.
    pub(crate) async fn check_all_left(&self) {
        let workers = self.store.worker_alive().await.unwrap();
        assert!(workers.is_empty(), "{workers:?}");
        assert_eq!(self.network.open(), 0, "connections are left open");
    }
}

pub(crate) fn who(label: &str) -> NewWorker {
    NewWorker {
        id: WorkerId(Uuid::now_v7()),
        label: label.into(),
        serves: false,
        process: None,
    }
}

pub(crate) fn policy() -> Policy {
    Policy {
        settle: Duration::from_secs(5),
        ..Policy::default()
    }
}

/// All stages at once, and nothing halts.
pub(crate) fn in_one_go() -> Policy {
    Policy {
        stages: "100".parse().unwrap(),
        max_failure_percent: "100".parse().unwrap(),
        ..policy()
    }
}

/// The same, with so many connections at once.
pub(crate) fn at_once(concurrency: u32) -> Policy {
    Policy {
        concurrency,
        ..in_one_go()
    }
}

pub(crate) fn all(policy: Policy) -> PlanRequest {
    PlanRequest {
        selection: Selection::All,
        to: None,
        policy,
        message: None,
        actor: actor(),
        force: false,
    }
}

/// Plans and freezes a rollout of the whole fleet, and goes to work on it.
pub(crate) async fn begin(orchestrator: &Orchestrator, policy: Policy) -> (RolloutId, Worker) {
    let plan = orchestrator.plan(&all(policy)).await.unwrap();
    let me = who("test");
    let id = orchestrator.trigger(&plan, Some(me.clone())).await.unwrap();
    let worker = Worker::start_registered(orchestrator, me, WorkMode::One(id))
        .await
        .unwrap();
    (id, worker)
}

/// The same, to its end.
pub(crate) async fn run(orchestrator: &Orchestrator, policy: Policy) -> RolloutRecord {
    let (_, mut worker) = begin(orchestrator, policy).await;
    worker.finished().await.unwrap().record.unwrap()
}

/// Waits until this holds, by virtual time.
pub(crate) async fn until<F: Future<Output = bool>>(mut holds: impl FnMut() -> F) {
    for _ in 0..100_000 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("what the test waits for did not come");
}
