//! A process loses its keys in the midst of a rollout: that is never the fault of a host.

use std::sync::Arc;
use std::time::Duration;

use fleet_store::{Inventory, NewWorker, Rollouts, sample_host};
use fleet_types::*;
use rollout_orchestrator::*;
use tokio::time::{Instant, sleep};
use update_engine::testing::{SimFault, SimWhat};

use crate::process::Process;
use crate::process_network::ProcessTransport;
use crate::world::*;

const KEY: &str = "/keys/default";

impl World {
    /// One host loses its connection while it installs, and `process` its key.
    async fn loses_the_key_in_the_midst(&self, process: &Process) {
        self.takes("install", Duration::from_secs(10));
        self.fleet.change("web-02", |host| {
            host.faults.push(SimFault {
                command: "install".to_owned(),
                nth: 1,
                what: SimWhat::LostAfter,
            });
        });
        until(async || {
            let received = self.fleet.host("web-02").unwrap().received;
            received.iter().any(|command| command.name == "install")
        })
        .await;
        process.cannot_read(&[KEY]);
    }

    /// The second host is signed in to with a key that no other one has.
    async fn second_has_its_own_key(&self) {
        let mut host = sample_host("web-02");
        host.spec.key = Some("/keys/web-02".into());
        let name = host.name.clone();
        self.store.host_edit(&name, host, &actor()).await.unwrap();
    }

    /// What people see.
    async fn left_to_others(&self, id: RolloutId) -> Vec<view::LeftToOthers> {
        let view = self.store.rollout_view(id).await.unwrap().unwrap();
        view.left_to_others
    }

    async fn check_all_updated(&self, id: RolloutId) {
        let outcomes = self.outcomes(id).await;
        let updated = |outcome: &String| outcome.ends_with(" success/updated");
        assert!(outcomes.iter().all(updated), "{outcomes:?}");
        for attempt in self.attempts(id).await {
            assert!(!attempt.needs_attention, "{}", attempt.name);
        }
        self.check_truth(id).await;
    }
}

fn serves(label: &str) -> NewWorker {
    NewWorker {
        serves: true,
        ..who(label)
    }
}

/// A server on the fleet, and a rollout that was left to it.
async fn serve(world: &World, orchestrator: &Orchestrator, policy: Policy) -> (RolloutId, Worker) {
    let server = Worker::start(orchestrator, serves("server"), WorkMode::All)
        .await
        .unwrap();
    let asks = world.orchestrator();
    let plan = asks.plan(&all(policy)).await.unwrap();
    let id = asks.trigger_detached(&plan).await.unwrap();
    (id, server)
}

async fn ends(world: &World, id: RolloutId) -> RolloutState {
    until(async || !world.record(id).await.state.is_active()).await;
    world.record(id).await.state
}

#[tokio::test(start_paused = true)]
async fn a_key_that_is_gone_before_the_second_stage_fails_nobody() {
    for (alone, gone) in [(true, 40), (false, 600)] {
        let world = World::new(10).await;
        let (process, orchestrator) = world.process();
        let (id, worker) = match alone {
            true => begin(&orchestrator, policy()).await,
            false => serve(&world, &orchestrator, policy()).await,
        };
        until(async || world.record(id).await.stage > 1).await;
        process.cannot_read(&[KEY]);
        sleep(Duration::from_secs(gone)).await;
        assert_eq!(world.record(id).await.state, RolloutState::Running);
        let takeovers = world
            .attempts(id)
            .await
            .iter()
            .map(|a| a.takeovers)
            .sum::<u32>();
        assert_eq!(takeovers, 0, "nobody has the key");
        let shown = worker.status().cannot_load;
        assert!(shown.iter().any(|(_, why)| why.contains(KEY)), "{shown:?}");
        let [left] = world.left_to_others(id).await.try_into().unwrap();
        assert_eq!(left.hosts as usize, shown.len());
        process.cannot_read(&[]);
        until(async || world.left_to_others(id).await.is_empty()).await;
        assert!(world.record(id).await.state.is_active());
        assert_eq!(ends(&world, id).await, RolloutState::Completed, "{alone}");
        world.check_all_updated(id).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_host_in_the_midst_of_its_update_goes_to_a_process_that_has_the_key() {
    let world = World::new(3).await;
    let (poor, first) = world.process();
    let (id, mut worker) = begin(&first, in_one_go()).await;
    world.loses_the_key_in_the_midst(&poor).await;
    let (rich, second) = world.process();
    let record = second.drive(id, who("rich")).await.unwrap();
    assert_eq!(record.state, RolloutState::Completed);
    world.check_all_updated(id).await;
    let two = &world.attempts(id).await[1];
    assert_eq!(two.takeovers, 1, "not again and again");
    let of_two = |process: &Process| {
        let kept = process.kept().into_iter();
        let kept = kept.filter(|(host, _)| *host == two.host);
        kept.map(|(_, event)| event).collect::<Vec<_>>()
    };
    let by = |kept: &[HostEvent], wanted: StepId| {
        let is = |event: &HostEvent| matches!(event, HostEvent::StepStarted { step, .. } if *step == wanted);
        kept.iter().any(is)
    };
    assert!(by(&of_two(&poor), StepId::Install) && !by(&of_two(&poor), StepId::Restart));
    assert!(by(&of_two(&rich), StepId::Inspect) && by(&of_two(&rich), StepId::Restart));
    let finished = worker.finished().await.unwrap();
    assert_eq!(finished.record.unwrap().state, RolloutState::Completed);
    world.check_all_left().await;
}

#[tokio::test(start_paused = true)]
async fn a_key_that_comes_back_finishes_the_host_that_was_in_the_midst() {
    for alone in [true, false] {
        for gone in [1, 3, 20, 200] {
            let world = World::new(3).await;
            let (process, orchestrator) = world.process();
            let (id, worker) = match alone {
                true => begin(&orchestrator, in_one_go()).await,
                false => serve(&world, &orchestrator, in_one_go()).await,
            };
            world.loses_the_key_in_the_midst(&process).await;
            // All are waiting to be looked at again by now.
            sleep(Duration::from_secs(20)).await;
            let shown = worker.status().cannot_load;
            assert_eq!(shown.len(), 3, "{shown:?}");
            sleep(Duration::from_secs(gone)).await;
            process.cannot_read(&[]);
            assert_eq!(ends(&world, id).await, RolloutState::Completed);
            world.check_all_updated(id).await;
            let attempts = world.attempts(id).await;
            assert!(attempts.iter().all(|a| a.takeovers <= 1), "{attempts:?}");
        }
    }
}

/// Hosts in flight are not cut short because another one lost its key.
#[tokio::test(start_paused = true)]
async fn the_keys_of_other_hosts_serve_on() {
    let world = World::new(3).await;
    world.second_has_its_own_key().await;
    let (process, orchestrator) = world.process();
    let (id, _server) = serve(&world, &orchestrator, in_one_go()).await;
    until(async || process.commands() >= 3).await;
    process.cannot_read(&["/keys/web-02"]);
    sleep(Duration::from_secs(120)).await;
    let outcomes = world.outcomes(id).await;
    assert_eq!(
        outcomes,
        [
            "web-01 success/updated",
            "web-02 updating/-",
            "web-03 success/updated"
        ]
    );
    process.cannot_read(&[]);
    assert_eq!(ends(&world, id).await, RolloutState::Completed);
    world.check_all_updated(id).await;
    let takeovers = world
        .attempts(id)
        .await
        .iter()
        .map(|a| a.takeovers)
        .collect::<Vec<_>>();
    assert_eq!(takeovers, [0, 1, 0]);
}

/// Who is there for this one rollout does not wait for ever for a host in the midst of its update either, and not less
/// long than one of its steps may take.
#[tokio::test(start_paused = true)]
async fn a_host_in_the_midst_whose_key_never_comes_back_is_given_up_in_the_end() {
    let world = World::new(3).await;
    let (process, orchestrator) = world.process();
    let (id, mut worker) = begin(&orchestrator, in_one_go()).await;
    world.loses_the_key_in_the_midst(&process).await;
    let began = Instant::now();
    let record = worker.finished().await.unwrap().record.unwrap();
    let limits = sample_host("web-02").spec.app.timeouts;
    let longest = Duration::from_secs(u64::from(limits.install));
    assert!(began.elapsed() > longest, "{:?}", began.elapsed());
    assert_eq!(record.state, RolloutState::CompletedWithFailures);
    let two = &world.attempts(id).await[1];
    assert_eq!(two.reason, Some(Reason::NoCredential));
    assert!(two.touched && two.needs_attention);
    world.check_all_left().await;
}

/// A server waits for its key, until somebody wants an end: it must not be needed to stop it for that.
#[tokio::test(start_paused = true)]
async fn a_server_without_its_key_ends_a_rollout_that_is_aborted() {
    let world = World::new(3).await;
    let (process, orchestrator) = world.process();
    let (id, server) = serve(&world, &orchestrator, in_one_go()).await;
    world.loses_the_key_in_the_midst(&process).await;
    sleep(Duration::from_secs(600)).await;
    assert_eq!(world.record(id).await.state, RolloutState::Running);
    let name = world.attempts(id).await[1].name.clone();
    let status = server.status();
    assert_eq!(status.in_flight, []);
    assert!(status.cannot_load.iter().any(|(host, _)| *host == name));

    orchestrator.abort(id, &actor()).await.unwrap();
    assert_eq!(ends(&world, id).await, RolloutState::Aborted);
    let two = &world.attempts(id).await[1];
    assert_eq!(two.reason, Some(Reason::NoCredential));
    assert!(two.touched && two.needs_attention);
}

/// As an agent may do whose keys are meant for other hosts, or a host that stalls while the agent is asked: it must not keep
/// the rollout from its end for ever.
#[tokio::test(start_paused = true)]
async fn a_key_that_can_be_loaded_and_not_used_is_tried_ever_more_seldom_and_then_no_more() {
    for (alone, back) in [(false, true), (false, false), (true, false)] {
        let world = World::new(3).await;
        world.second_has_its_own_key().await;
        let (process, orchestrator) = world.process();
        process.cannot_use(&["/keys/web-02"]);
        let (id, _worker) = match alone {
            true => begin(&orchestrator, in_one_go()).await,
            false => serve(&world, &orchestrator, in_one_go()).await,
        };
        let began = Instant::now();
        until(async || world.attempts(id).await[1].status == AttemptStatus::Updating).await;
        if back {
            sleep(Duration::from_secs(100)).await;
            let two = &world.attempts(id).await[1];
            assert_eq!(two.status, AttemptStatus::Updating);
            assert!((3..=6).contains(&two.takeovers), "{}", two.takeovers);
            process.cannot_use(&[]);
            assert_eq!(ends(&world, id).await, RolloutState::Completed);
            world.check_all_updated(id).await;
            continue;
        }
        ends(&world, id).await;
        assert!(
            (300..900).contains(&began.elapsed().as_secs()),
            "{:?}",
            began.elapsed()
        );
        let two = &world.attempts(id).await[1];
        assert_eq!(two.reason, Some(Reason::NoCredential));
        assert!(
            !two.touched && (5..=8).contains(&two.takeovers),
            "{}",
            two.takeovers
        );
        world.check_truth(id).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_whose_key_is_gone_asks_for_the_target_when_it_is_back() {
    let world = World::new(3).await;
    let (process, orchestrator) = world.process();
    process.cannot_use(&[KEY]);
    let (id, server) = serve(&world, &orchestrator, in_one_go()).await;
    sleep(Duration::from_secs(60)).await;
    let record = world.record(id).await;
    assert_eq!((record.state, record.target), (RolloutState::Running, None));
    assert!(server.status().trouble.is_some());
    process.cannot_use(&[]);
    assert_eq!(ends(&world, id).await, RolloutState::Completed);
    world.check_all_updated(id).await;
}

/// A process without any key of its own, beside one that has one.
#[tokio::test(start_paused = true)]
async fn who_names_no_key_leaves_the_hosts_to_others() {
    let world = World::new(3).await;
    let (process, orchestrator) = world.process();
    let settings = OrchestratorSettings {
        ssh: SshDefaults::default(),
        ..orchestrator.settings().clone()
    };
    let network = ProcessTransport::new(&process, Arc::new(world.network.clone()));
    let store = Arc::clone(orchestrator.store());
    let without = Orchestrator::new(store, Arc::new(network), settings);
    let (id, server) = serve(&world, &without, in_one_go()).await;
    sleep(Duration::from_secs(60)).await;
    assert_eq!(server.status().cannot_load.len(), 3);
    let [left] = world.left_to_others(id).await.try_into().unwrap();
    assert_eq!(left.first, ["web-01", "web-02", "web-03"]);
    let record = world.orchestrator().drive(id, who("rich")).await.unwrap();
    assert_eq!(record.state, RolloutState::Completed);
    world.check_all_updated(id).await;
}

/// What the store was told, and nobody heard that it was, is taken back all the same.
#[tokio::test(start_paused = true)]
async fn a_note_whose_answer_was_lost_does_not_stay() {
    let world = World::new(3).await;
    world.takes("pull", Duration::from_secs(50));
    let (process, orchestrator) = world.process();
    let (id, _server) = serve(&world, &orchestrator, in_one_go()).await;
    until(async || process.commands() >= 3).await;
    process.notes_are_lost(true);
    process.cannot_read(&[KEY]);
    until(async || !world.left_to_others(id).await.is_empty()).await;
    process.cannot_read(&[]);
    sleep(Duration::from_secs(6)).await;
    process.notes_are_lost(false);
    until(async || world.left_to_others(id).await.is_empty()).await;
    assert!(world.record(id).await.state.is_active());
    assert_eq!(ends(&world, id).await, RolloutState::Completed);
}

/// Who gives up waiting for others leaves them nothing any more.
#[tokio::test(start_paused = true)]
async fn who_tries_hosts_all_the_same_does_not_say_that_it_leaves_them() {
    let world = World::new(3).await;
    world.takes("inspect", Duration::from_secs(20));
    world.second_has_its_own_key().await;
    let (process, orchestrator) = world.process();
    process.cannot_read(&["/keys/web-02"]);
    let policy = Policy {
        stages: "1,34,100".parse().unwrap(),
        max_failure_percent: "100".parse().unwrap(),
        ..policy()
    };
    let asks = world.orchestrator();
    let plan = asks.plan(&all(policy)).await.unwrap();
    let id = asks.trigger(&plan, None).await.unwrap();
    let mode = WorkMode::One(id);
    let worker = Worker::start(&orchestrator, who("alone"), mode).await;
    let worker = worker.unwrap();
    until(async || !world.left_to_others(id).await.is_empty()).await;
    until(async || world.record(id).await.stage == 3).await;
    sleep(Duration::from_secs(6)).await;
    assert!(world.record(id).await.state.is_active());
    assert_eq!(
        world.attempts(id).await[1].reason,
        Some(Reason::NoCredential)
    );
    assert_eq!(world.left_to_others(id).await, []);
    assert_eq!(worker.status().cannot_load, []);
    assert_eq!(ends(&world, id).await, RolloutState::CompletedWithFailures);
}

/// The worker does other things meanwhile.
#[tokio::test(start_paused = true)]
async fn an_agent_that_is_slow_holds_up_nothing() {
    let mut took = Vec::new();
    for looks in [0, 30] {
        let world = World::new(12).await;
        world.takes("pull", Duration::from_secs(10));
        let (process, orchestrator) = world.process();
        let (id, _server) = serve(&world, &orchestrator, at_once(1)).await;
        until(async || process.commands() > 0).await;
        process.looks_at_keys_for(Duration::from_secs(looks));
        let began = Instant::now();
        assert_eq!(ends(&world, id).await, RolloutState::Completed);
        took.push(began.elapsed());
        world.check_all_updated(id).await;
    }
    assert_eq!(took[0], took[1]);
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_never_answers_has_no_key() {
    let world = World::new(12).await;
    world.takes("pull", Duration::from_secs(10));
    let (process, orchestrator) = world.process();
    let (id, server) = serve(&world, &orchestrator, at_once(1)).await;
    until(async || process.commands() > 0).await;
    process.looks_at_keys_for(Duration::from_secs(600));
    sleep(Duration::from_secs(300)).await;
    assert_eq!(world.record(id).await.state, RolloutState::Running);
    assert!(!server.status().cannot_load.is_empty());
    process.looks_at_keys_for(Duration::ZERO);
    assert_eq!(ends(&world, id).await, RolloutState::Completed);
    world.check_all_updated(id).await;
}
