//! Panics, keys that cannot be loaded, and slots that nobody waits for any more.

use std::sync::Arc;
use std::time::Duration;

use fleet_store::{Inventory, SlotId, Workers, sample_host};
use fleet_types::*;
use rollout_orchestrator::*;
use ssh_exec::{ConnectError, Endpoint, RemoteCommand, Session, SessionError, Transport};
use tokio::time::{Instant, sleep, timeout};

use crate::process::{Cut, Process};
use crate::process_network::ProcessTransport;
use crate::world::*;

#[tokio::test(start_paused = true)]
async fn a_panic_stays_in_its_attempt() {
    let world = World::new(4).await;
    let (process, orchestrator) = world.process();
    process.panics("web-02", 2);
    let record = run(&orchestrator, in_one_go()).await;
    assert_eq!(
        record.state,
        RolloutState::Completed,
        "{:?}",
        world.outcomes(record.id).await
    );
    world.check_truth(record.id).await;
    world.check_all_left().await;
}

#[tokio::test(start_paused = true)]
async fn a_host_that_always_brings_the_program_down_is_given_up() {
    let world = World::new(4).await;
    let (process, orchestrator) = world.process();
    process.panics("web-02", 100);
    let record = run(&orchestrator, in_one_go()).await;
    assert_eq!(record.state, RolloutState::CompletedWithFailures);
    let outcomes = world.outcomes(record.id).await;
    assert_eq!(outcomes[1], "web-02 failed/internal", "{outcomes:?}");
    world.check_truth(record.id).await;
    world.check_all_left().await;
}

/// `web-03` has a key of its own.
async fn with_a_key() -> World {
    let world = World::new(4).await;
    let mut host = sample_host("web-03");
    host.spec.key = Some("/keys/web-03".into());
    world
        .store
        .host_edit(&host.name.clone(), host, &actor())
        .await
        .unwrap();
    world
}

#[tokio::test(start_paused = true)]
async fn a_key_that_cannot_be_loaded_refuses_before_anything_is_touched() {
    let world = with_a_key().await;
    let (process, orchestrator) = world.process();
    process.cannot_read(&["/keys/web-03"]);
    let plan = orchestrator.plan(&all(policy())).await.unwrap();
    let refused = orchestrator
        .trigger(&plan, Some(who("test")))
        .await
        .unwrap_err();
    let TriggerRefusal::Identity { host, source } = refused else {
        panic!("{refused}")
    };
    assert_eq!(host.as_str(), "web-03");
    assert!(source.to_string().contains("/keys/web-03"), "{source}");
    assert_eq!(process.identities_checked(), 2, "each key once");
    assert_eq!(orchestrator.standing().await.unwrap(), Standing::Free);
    assert_eq!(world.network.connections(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_host_is_left_to_the_process_that_has_its_key() {
    let world = with_a_key().await;
    world.takes("pull", Duration::from_secs(2));
    let (poor, first) = world.process();
    poor.cannot_read(&["/keys/web-03"]);
    let (rich, second) = world.process();
    let (id, mut worker) = begin(&second, in_one_go()).await;
    let mut other = Worker::start(&first, who("poor"), WorkMode::One(id))
        .await
        .unwrap();
    until(async || !other.status().cannot_load.is_empty()).await;
    let (name, why) = other.status().cannot_load[0].clone();
    assert!(
        name.as_str() == "web-03" && why.contains("/keys/web-03"),
        "{why}"
    );
    let (mine, others) = tokio::join!(worker.finished(), other.finished());
    assert_eq!(mine.unwrap().record.unwrap().state, RolloutState::Completed);
    assert_eq!(
        others.unwrap().record.unwrap().state,
        RolloutState::Completed
    );
    let three = world.attempts(id).await[2].host;
    assert!(poor.kept().iter().all(|(host, _)| *host != three));
    assert!(rich.kept().iter().any(|(host, _)| *host == three));
}

/// It would have been long enough to give up, but another one gets on.
#[tokio::test(start_paused = true)]
async fn hosts_are_left_to_the_process_that_has_the_keys_as_long_as_it_gets_on() {
    let world = with_a_key().await;
    world.takes("install", Duration::from_secs(100));
    let (poor, first) = world.process();
    poor.cannot_read(&["/keys/default", "/keys/web-03"]);
    let (_, second) = world.process();
    // There is always one more that could be claimed.
    let (id, mut worker) = begin(&second, at_once(1)).await;
    let mut other = Worker::start(&first, who("poor"), WorkMode::One(id))
        .await
        .unwrap();
    until(async || other.status().cannot_load.len() == 4).await;
    let began = Instant::now();
    let (mine, others) = tokio::join!(worker.finished(), other.finished());
    assert!(began.elapsed() > Duration::from_secs(120), "{began:?}");
    let record = mine.unwrap().record.unwrap();
    assert_eq!(
        record.state,
        RolloutState::Completed,
        "{:?}",
        world.outcomes(id).await
    );
    assert_eq!(
        others.unwrap().record.unwrap().state,
        RolloutState::Completed
    );
    world.check_truth(id).await;
}

/// Another process is there and does nothing for them.
#[tokio::test(start_paused = true)]
async fn hosts_whose_key_nobody_has_are_given_up_beside_an_idle_process() {
    let world = with_a_key().await;
    let (poor, orchestrator) = world.process();
    poor.cannot_read(&["/keys/web-03"]);
    let idle = world.orchestrator();
    let mut idle = Worker::start(&idle, who("idle"), WorkMode::Nothing)
        .await
        .unwrap();
    let plans = world.orchestrator();
    let plan = plans.plan(&all(in_one_go())).await.unwrap();
    let id = plans.trigger(&plan, None).await.unwrap();
    let began = Instant::now();
    let record = orchestrator.drive(id, who("test")).await.unwrap();
    assert!(
        began.elapsed() > Duration::from_secs(60),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(record.state, RolloutState::CompletedWithFailures);
    assert_eq!(world.outcomes(id).await[2], "web-03 failed/no_credential");
    idle.stop(Duration::ZERO);
    idle.finished().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_host_whose_key_nobody_has_fails_untouched_in_the_end() {
    let world = with_a_key().await;
    let plans = world.orchestrator();
    let plan = plans.plan(&all(in_one_go())).await.unwrap();
    let id = plans.trigger(&plan, None).await.unwrap();
    let (process, orchestrator) = world.process();
    process.cannot_read(&["/keys/web-03"]);
    let record = orchestrator.drive(id, who("test")).await.unwrap();
    assert_eq!(record.state, RolloutState::CompletedWithFailures);
    assert_eq!(world.outcomes(id).await[2], "web-03 failed/no_credential");
    let settled = world.attempts(id).await.iter().map(|a| a.finished_at).max();
    assert_eq!(
        settled,
        Some(world.attempts(id).await[2].finished_at),
        "after everything else"
    );
    world.check_truth(id).await;
}

#[tokio::test(start_paused = true)]
async fn a_key_that_comes_later_is_found() {
    let world = with_a_key().await;
    let serves = fleet_store::NewWorker {
        serves: true,
        ..who("server")
    };
    let (process, orchestrator) = world.process();
    process.cannot_read(&["/keys/web-03"]);
    let _server = Worker::start(&orchestrator, serves, WorkMode::All)
        .await
        .unwrap();
    let asks = world.orchestrator();
    let plan = asks.plan(&all(in_one_go())).await.unwrap();
    let id = asks.trigger_detached(&plan).await.unwrap();
    sleep(Duration::from_secs(300)).await;
    assert_eq!(
        world.record(id).await.state,
        RolloutState::Running,
        "a server waits"
    );
    process.cannot_read(&[]);
    until(async || !world.record(id).await.state.is_active()).await;
    assert_eq!(world.record(id).await.state, RolloutState::Completed);
}

fn somewhere(name: &str) -> Endpoint {
    let ssh = SshDefaults {
        identity: Some(ssh_exec::Identity::File("/keys/default".into())),
        ..SshDefaults::default()
    };
    endpoint(&name.parse().unwrap(), &sample_host(name).spec, &[], &ssh).unwrap()
}

/// A process that may have one connection open.
fn one_connection(world: &World) -> (Process, Orchestrator) {
    let (process, orchestrator) = world.process();
    let settings = OrchestratorSettings {
        concurrency: 1,
        ..orchestrator.settings().clone()
    };
    let network = ProcessTransport::new(&process, Arc::new(world.network.clone()));
    let store = Arc::clone(orchestrator.store());
    (
        process,
        Orchestrator::new(store, Arc::new(network), settings),
    )
}

/// The slot stands for the connection: it is not free before that is closed, however it is closed.
#[tokio::test(start_paused = true)]
async fn a_slot_is_taken_for_as_long_as_the_connection_is_open() {
    let world = World::new(2).await;
    let (process, orchestrator) = one_connection(&world);
    process.closes_in(Duration::from_secs(2));
    let worker = Worker::start(&orchestrator, who("checks"), WorkMode::Nothing)
        .await
        .unwrap();
    let transport = worker.transport();
    for orderly in [true, false] {
        let session = transport.connect(&somewhere("web-01")).await.unwrap();
        let since = Instant::now();
        if orderly {
            tokio::spawn(session.close());
        } else {
            drop(session);
        }
        let other = world.store.worker_register(who("other")).await.unwrap();
        let slot = SlotId::fresh(other);
        assert!(!world.store.slot_acquire(slot, 1).await.unwrap());
        let session = transport.connect(&somewhere("web-02")).await.unwrap();
        assert!(
            since.elapsed() >= Duration::from_secs(2),
            "{:?}",
            since.elapsed()
        );
        assert_eq!(world.network.open(), 1);
        session.close().await;
    }
    assert_eq!(world.network.most_open(), 1);
}

/// One slot, and everything that can be done with it half-way.
#[tokio::test(start_paused = true)]
async fn a_slot_is_given_back_whatever_happens_to_who_wanted_it() {
    let world = World::new(3).await;
    let orchestrator = one_connection(&world).1;
    let mut worker = Worker::start(&orchestrator, who("checks"), WorkMode::Nothing)
        .await
        .unwrap();
    let transport = worker.transport();
    let endpoint = somewhere("web-01");

    let session = transport.connect(&endpoint).await.unwrap();
    // The second waits; it gives up; a third gets in once the first has closed.
    let waits = timeout(Duration::from_secs(10), transport.connect(&endpoint)).await;
    assert!(waits.is_err());
    let third = tokio::spawn({
        let (transport, endpoint) = (transport.clone(), endpoint.clone());
        async move { transport.connect(&endpoint).await }
    });
    sleep(Duration::from_secs(1)).await;
    session.close().await;
    let session = third.await.unwrap().unwrap();
    // Dropped without a goodbye.
    drop(session);
    let session = transport.connect(&endpoint).await.unwrap();
    drop(session);
    // Refused by the host.
    world
        .fleet
        .change("web-01", |host| host.refuses_connections = 1);
    assert!(transport.connect(&endpoint).await.is_err());
    // Another process on the store, which holds the one slot.
    let other = orchestrator
        .store()
        .worker_register(who("other"))
        .await
        .unwrap();
    until(async || world.network.open() == 0).await;
    let slot = SlotId::fresh(other);
    assert!(world.store.slot_acquire(slot, 1).await.unwrap());
    assert!(
        timeout(Duration::from_secs(10), transport.connect(&endpoint))
            .await
            .is_err()
    );
    world.store.slot_release(slot).await.unwrap();
    let since = Instant::now();
    transport.connect(&endpoint).await.unwrap().close().await;
    assert!(since.elapsed() <= Duration::from_secs(1));
    assert_eq!(world.network.most_open(), 1);
    // Nothing is left taken.
    let slot = SlotId::fresh(other);
    assert!(world.store.slot_acquire(slot, 1).await.unwrap());
    worker.stop(Duration::ZERO);
    worker.finished().await.unwrap();
    assert!(
        transport.connect(&endpoint).await.is_err(),
        "not after it has left"
    );
}

/// One slot, and the answer to each of the calls that take it and give it back lost in turn: it never stays taken by
/// somebody who does not know of it, whether the caller waits on or not.
#[tokio::test(start_paused = true)]
async fn a_slot_whose_answer_was_lost_is_not_lost() {
    for waits in [true, false] {
        let world = World::new(1).await;
        let (process, orchestrator) = one_connection(&world);
        let mut worker = Worker::start(&orchestrator, who("checks"), WorkMode::Nothing)
            .await
            .unwrap();
        let transport = worker.transport();
        let name = worker.status().worker;
        let other = world.store.worker_register(who("other")).await.unwrap();
        for ahead in 1..=3 {
            process.is_cut(Cut::After(process.store_calls() + ahead));
            let host = somewhere("web-01");
            if waits {
                transport.connect(&host).await.unwrap().close().await;
            } else {
                // It gives up at once, in the midst of it.
                let connecting = transport.connect(&host);
                drop(timeout(Duration::from_millis(1), connecting).await);
            }
            until(async || world.network.open() == 0).await;
            let slot = SlotId::fresh(other);
            until(async || world.store.slot_acquire(slot, 1).await.unwrap()).await;
            world.store.slot_release(slot).await.unwrap();
            assert_eq!(
                worker.status().worker,
                name,
                "it comes back under no new name"
            );
        }
        worker.stop(Duration::ZERO);
        worker.finished().await.unwrap();
    }
}

/// A process with a connection to `web-01`.
async fn connected(world: &World) -> (Process, Worker, Box<dyn Session>) {
    let (process, orchestrator) = world.process();
    let worker = Worker::start(&orchestrator, who("checks"), WorkMode::Nothing)
        .await
        .unwrap();
    let host = somewhere("web-01");
    let session = worker.transport().connect(&host).await.unwrap();
    (process, worker, session)
}

#[tokio::test(start_paused = true)]
async fn an_open_session_sends_nothing_after_the_fence() {
    let world = World::new(1).await;
    let (process, worker, mut session) = connected(&world).await;
    let look = RemoteCommand::new("inspect", "true", Duration::from_secs(5));
    session.run(&look).await.unwrap();
    process.cut_off(true);
    sleep(Duration::from_secs(21)).await;
    let withheld = session.run(&look).await.unwrap_err();
    assert!(
        matches!(withheld, SessionError::Withheld { .. }),
        "{withheld}"
    );
    let refused = worker
        .transport()
        .connect(&somewhere("web-01"))
        .await
        .unwrap_err();
    assert!(
        matches!(refused, ConnectError::Withheld { .. }),
        "{refused}"
    );
    assert_eq!(process.commands(), 1);
    process.cut_off(false);
    sleep(Duration::from_secs(2)).await;
    session.run(&look).await.unwrap();
}

/// The lease was fresh when the command was to be sent, and the network let it wait.
#[tokio::test(start_paused = true)]
async fn what_a_stalled_network_holds_back_is_not_sent_after_the_fence() {
    let world = World::new(1).await;
    let (process, _worker, mut session) = connected(&world).await;
    let look = RemoteCommand::new("inspect", "true", Duration::from_secs(60));
    process.is_stalled_for(Duration::from_secs(25));
    session.run(&look).await.unwrap();
    process.cut_off(true);
    let withheld = session.run(&look).await.unwrap_err();
    assert!(
        matches!(withheld, SessionError::Withheld { .. }),
        "{withheld}"
    );
    assert_eq!(process.commands(), 1);
}
