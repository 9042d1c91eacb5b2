//! Processes: a server that does the work of every rollout, or a command line that drives one.

use std::sync::Arc;
use std::time::Duration;

use fleet_store::{Health, NewWorker, ProcessId};
use fleet_types::{RolloutId, WorkerId};
use rollout_orchestrator::{
    HealthSweeper, Orchestrator, OrchestratorSettings, SshDefaults, SweepSettings, WorkMode, Worker,
};
use ssh_exec::Identity;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;
use uuid::Uuid;

use crate::gate::Gate;
use crate::network::SimTransport;
use crate::store::SimStore;
use crate::world::World;

/// How a process is asked to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Work,
    Stop,
    Abandon,
}

/// One process. Dropping it ends all of its tasks.
pub(crate) struct Process {
    pub(crate) gate: Gate,
    pub(crate) orchestrator: Orchestrator,
    orders: watch::Sender<Order>,
    tasks: JoinSet<()>,
}

impl Process {
    /// A process that does nothing yet.
    pub(crate) fn new(world: &Arc<World>) -> Self {
        let number = world.next_worker();
        let gate = Gate::new(world, number);
        let settings = OrchestratorSettings {
            concurrency: world.schedule.concurrency,
            ssh: SshDefaults {
                identity: Some(Identity::File("/keys/default".into())),
                ..SshDefaults::default()
            },
            poll: world.schedule.poll,
            idle_poll: (world.schedule.poll * 5).min(Duration::from_secs(10)),
            ..OrchestratorSettings::default()
        };
        let orchestrator = Orchestrator::new(
            Arc::new(SimStore::new(&gate)),
            Arc::new(SimTransport::new(&gate)),
            settings,
        );
        Self {
            gate,
            orchestrator,
            orders: watch::Sender::new(Order::Work),
            tasks: JoinSet::new(),
        }
    }

    /// As whom it registers; on some machines its death can be known at once.
    pub(crate) fn who(&self, serves: bool) -> NewWorker {
        let world = self.gate.world();
        let number = self.gate.number();
        let known = world.dice(|dice| dice.below(2) == 0);
        if known {
            self.gate.has_pid(number);
        }
        NewWorker {
            id: WorkerId(Uuid::from_u128((0xf1_u128 << 64) | u128::from(number))),
            label: format!("p{number}"),
            serves,
            process: known.then(|| ProcessId {
                boot: "simulated".to_owned(),
                pid_namespace: 1,
                pid: number,
                started: 1,
            }),
        }
    }

    /// It does the work of every rollout, and looks after services.
    pub(crate) fn serve(&mut self) {
        self.gate
            .world()
            .note(format_args!("p{} serves", self.gate.number()));
        self.gate.is_server();
        let who = self.who(true);
        self.work(who, WorkMode::All, false);
    }

    /// It drives one rollout to its end; `registered` when the trigger has put it on record.
    pub(crate) fn drive(&mut self, who: NewWorker, id: RolloutId, registered: bool) {
        self.gate.world().note(format_args!(
            "p{} drives {}",
            self.gate.number(),
            id.short()
        ));
        self.work(who, WorkMode::One(id), registered);
    }

    fn work(&mut self, who: NewWorker, mode: WorkMode, registered: bool) {
        let (gate, orchestrator) = (self.gate.clone(), self.orchestrator.clone());
        let mut orders = self.orders.subscribe();
        self.tasks.spawn(async move {
            let started = loop {
                let worker = match registered {
                    true => Worker::start_registered(&orchestrator, who.clone(), mode).await,
                    false => Worker::start(&orchestrator, who.clone(), mode).await,
                };
                match worker {
                    Ok(worker) => break worker,
                    Err(_) => sleep(Duration::from_secs(1)).await,
                }
            };
            let mut worker = started;
            let mut sweeps = JoinSet::new();
            if gate.world().schedule.sweeps {
                let health: Arc<dyn Health> = Arc::new(SimStore::new(&gate));
                let settings = SweepSettings::default();
                let sweeper = HealthSweeper::beside(&worker, &orchestrator, health, settings);
                sweeps.spawn(async move { sweeper.run().await });
            }
            loop {
                tokio::select! {
                    biased;
                    ended = worker.finished() => {
                        return gate.world().note(format_args!("p{} is done: {}", gate.number(), match ended {
                            Ok(ended) => format!("{} hosts left in flight", ended.unfinished.len()),
                            Err(error) => error.to_string(),
                        }));
                    }
                    Ok(()) = orders.changed() => match *orders.borrow_and_update() {
                        Order::Work => {}
                        Order::Stop => worker.stop(Duration::from_secs(30)),
                        Order::Abandon => worker.abandon(),
                    }
                }
            }
        });
    }

    /// Anything else that it does.
    pub(crate) fn spawn(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(task);
    }

    pub(crate) fn stop(&self) {
        self.orders.send_replace(Order::Stop);
    }

    pub(crate) fn abandon(&self) {
        self.orders.send_replace(Order::Abandon);
    }

    /// Whether it still does anything.
    pub(crate) fn is_over(&mut self) -> bool {
        while self.tasks.try_join_next().is_some() {}
        self.gate.is_dead() || self.tasks.is_empty()
    }
}
