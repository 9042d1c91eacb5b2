//! Several processes on one store.

use std::time::Duration;

use fleet_store::{NewHost, Store, VerbError, sample_host};
use fleet_types::*;
use rollout_orchestrator::*;
use tokio::time::{Instant, sleep};
use update_engine::testing::SimRelease;

use crate::process::Process;
use crate::world::*;

fn took_on(process: &Process) -> usize {
    let mut hosts: Vec<HostId> = process.kept().iter().map(|(host, _)| *host).collect();
    hosts.sort();
    hosts.dedup();
    hosts.len()
}

#[tokio::test(start_paused = true)]
async fn two_processes_share_a_rollout() {
    let world = World::new(20).await;
    world.takes("pull", Duration::from_secs(2));
    let (one, first) = world.process();
    let (two, second) = world.process();
    let (id, mut worker) = begin(&first, at_once(4)).await;
    let other = second.drive(id, who("second"));
    let (mine, other) = tokio::join!(worker.finished(), other);
    assert_eq!(mine.unwrap().record.unwrap().state, RolloutState::Completed);
    assert_eq!(other.unwrap().state, RolloutState::Completed);
    assert_eq!(world.network.most_open(), 4, "over both processes together");
    assert!(
        took_on(&one) >= 5 && took_on(&two) >= 5,
        "{} and {}",
        took_on(&one),
        took_on(&two)
    );
    assert_eq!(took_on(&one) + took_on(&two), 20);
    for name in world.names() {
        let received = world.fleet.host(&name).unwrap().received;
        let pulls = received
            .iter()
            .filter(|command| command.name == "pull")
            .count();
        assert_eq!(pulls, 1, "{name}");
    }
    world.check_truth(id).await;
    world.check_all_left().await;
}

/// One stands still in the middle of everything, longer than its lease; the other one finishes; the first wakes up.
#[tokio::test(start_paused = true)]
async fn a_frozen_process_that_wakes_up_changes_nothing() {
    let world = World::new(6).await;
    world.takes("pull", Duration::from_secs(2));
    world.takes("install", Duration::from_secs(2));
    let (frozen, first) = world.process();
    let (id, mut worker) = begin(&first, at_once(3)).await;
    until(async || frozen.commands() >= 8).await;
    frozen.freeze(true);
    let (kept, sent) = (frozen.kept().len(), frozen.sent().len());
    let before = worker.status().worker;

    let (_, second) = world.process();
    let record = second.drive(id, who("second")).await.unwrap();
    assert_eq!(record.state, RolloutState::Completed);
    let taken_over = world
        .attempts(id)
        .await
        .iter()
        .filter(|a| a.takeovers > 0)
        .count();
    assert!(taken_over >= 3, "{taken_over}");
    let truth: Vec<_> = world
        .names()
        .iter()
        .map(|name| world.fleet.host(name).unwrap())
        .collect();

    frozen.freeze(false);
    let finished = worker.finished().await.unwrap();
    assert_eq!(finished.record.unwrap().state, RolloutState::Completed);
    assert_eq!(
        frozen.kept().len(),
        kept,
        "nothing more of it came into the journal"
    );
    for (name, before) in world.names().iter().zip(truth) {
        let mut after = world.fleet.host(name).unwrap();
        let late = after.received.split_off(before.received.len());
        assert!(late.iter().all(|command| !command.ran), "{name}: {late:?}");
        assert_eq!(after, before, "{name}");
    }
    // A command that was on its way already is the host's to refuse.
    assert!(frozen.sent().len() <= sent + 3);
    assert_ne!(
        worker.status().worker,
        before,
        "it came back under a new name"
    );
    world.check_truth(id).await;
    world.check_all_left().await;
}

/// Its slots are given to others once its lease is over: by then its connections must be closed, although it can ask for
/// nothing.
#[tokio::test(start_paused = true)]
async fn a_process_that_hears_nothing_from_its_database_closes_its_connections() {
    let world = World::new(6).await;
    world.takes("install", Duration::from_secs(200));
    let (deaf, first) = world.process();
    let (id, _worker) = begin(&first, at_once(3)).await;
    until(async || deaf.commands() >= 9).await;
    assert_eq!(world.network.open(), 3);
    deaf.hears_nothing();
    // The next turn of its loop has no answer either.
    sleep(world.store.lease_times().lease).await;
    assert_eq!(world.network.open(), 0);
    world.takes("install", Duration::from_secs(1));
    let (_, second) = world.process();
    let record = second.drive(id, who("second")).await.unwrap();
    assert_eq!(record.state, RolloutState::Completed);
    assert_eq!(world.network.most_open(), 3);
    world.check_truth(id).await;
}

#[tokio::test(start_paused = true)]
async fn without_a_renewal_nothing_is_sent_after_the_fence() {
    let world = World::new(6).await;
    world.takes("install", Duration::from_secs(3));
    let (process, orchestrator) = world.process();
    let (id, mut worker) = begin(&orchestrator, at_once(3)).await;
    until(async || process.commands() >= 8).await;
    process.cut_off(true);
    let since = Instant::now();
    sleep(Duration::from_secs(22)).await;
    let last = process.sent().into_iter().max().unwrap();
    assert!(
        last <= since + Duration::from_secs(20),
        "sent {:?} after the cut",
        last - since
    );
    assert!(worker.status().trouble.is_some(), "{:?}", worker.status());
    process.cut_off(false);
    // The lease was not lost: nothing needed to be taken over.
    let record = worker.finished().await.unwrap().record.unwrap();
    assert_eq!(record.state, RolloutState::Completed);
    assert!(world.attempts(id).await.iter().all(|a| a.takeovers == 0));
    assert!(process.sent().into_iter().max().unwrap() > last);
    world.check_truth(id).await;
    world.check_all_left().await;
}

#[tokio::test(start_paused = true)]
async fn a_store_that_was_away_for_long_finds_everything_going_on() {
    let world = World::new(6).await;
    world.takes("install", Duration::from_secs(3));
    let (process, orchestrator) = world.process();
    let (id, mut worker) = begin(&orchestrator, at_once(3)).await;
    until(async || process.commands() >= 8).await;
    process.cut_off(true);
    sleep(Duration::from_secs(300)).await;
    process.cut_off(false);
    let record = worker.finished().await.unwrap().record.unwrap();
    assert_eq!(record.state, RolloutState::Completed);
    assert!(world.attempts(id).await.iter().any(|a| a.takeovers == 1));
    world.check_truth(id).await;
    world.check_all_left().await;
}

#[tokio::test(start_paused = true)]
async fn the_store_comes_and_goes() {
    let world = World::new(8).await;
    let (process, orchestrator) = world.process();
    let (id, mut worker) = begin(&orchestrator, in_one_go()).await;
    let flicker = async {
        for pause in [1, 3, 7, 20, 2, 30, 5].into_iter().cycle() {
            sleep(Duration::from_millis(137 * pause)).await;
            process.cut_off(true);
            sleep(Duration::from_millis(89 * pause)).await;
            process.cut_off(false);
        }
    };
    let record = tokio::select! {
        finished = worker.finished() => finished.unwrap().record.unwrap(),
        () = flicker => unreachable!("it never ends"),
    };
    assert_eq!(record.state, RolloutState::Completed);
    world.check_truth(id).await;
}

#[tokio::test(start_paused = true)]
async fn two_services_on_one_machine_are_never_updated_together() {
    let world = World::new(4).await;
    let twin = |name: &str, repo: &str| {
        let mut host: NewHost = sample_host(name);
        host.spec.address = "shared.example".parse().unwrap();
        host.spec.app.repo = repo.parse().unwrap();
        host
    };
    for (name, repo) in [("web-02", "/srv/a"), ("web-03", "/srv/b")] {
        let inventory: &dyn fleet_store::Inventory = &*world.store;
        inventory
            .host_edit(&name.parse().unwrap(), twin(name, repo), &actor())
            .await
            .unwrap();
    }
    world.takes("pull", Duration::from_secs(2));
    let record = run(&world.orchestrator(), in_one_go()).await;
    assert_eq!(record.state, RolloutState::Completed);
    let attempts = world.attempts(record.id).await;
    let span = |name: &str| {
        let attempt = attempts.iter().find(|a| a.name.as_str() == name).unwrap();
        (attempt.started_at.unwrap(), attempt.finished_at.unwrap())
    };
    let (two, three, four) = (span("web-02"), span("web-03"), span("web-04"));
    assert!(two.1 <= three.0 || three.1 <= two.0, "{two:?} {three:?}");
    assert!(four.0 < two.1, "others do not wait for them");
}

#[tokio::test(start_paused = true)]
async fn standing_says_who_works_on_what() {
    let world = World::new(6).await;
    world.takes("pull", Duration::from_secs(5));
    let other = world.orchestrator();
    assert_eq!(other.standing().await.unwrap(), Standing::Free);
    let (process, orchestrator) = world.process();
    let (id, worker) = begin(&orchestrator, in_one_go()).await;
    assert!(matches!(other.standing().await.unwrap(), Standing::Attended(r) if r.id == id));
    until(async || process.commands() >= 10).await;
    process.kill();
    drop(worker);
    assert!(
        matches!(other.standing().await.unwrap(), Standing::Attended(_)),
        "as far as anybody can know"
    );
    until(async || !matches!(other.standing().await.unwrap(), Standing::Attended(_))).await;
    assert!(matches!(other.standing().await.unwrap(), Standing::Interrupted(r) if r.id == id));
    let started = world
        .attempts(id)
        .await
        .iter()
        .filter(|a| a.status != AttemptStatus::Pending)
        .count();
    let record = other
        .settle_interrupted(id, who("settles"), &actor())
        .await
        .unwrap();
    assert_eq!(record.state, RolloutState::Aborted);
    let tally = world.tally(id).await;
    assert_eq!(tally.get(&AttemptStatus::Success), Some(&started));
    assert_eq!(other.standing().await.unwrap(), Standing::Free);
    world.check_truth(id).await;
    let unknown = RolloutId(uuid::Uuid::now_v7());
    assert!(matches!(
        other.settle_interrupted(unknown, who("x"), &actor()).await,
        Err(SettleError::Verb(VerbError::Unknown { .. }))
    ));
    assert!(matches!(
        other.drive(unknown, who("x")).await,
        Err(WorkError::UnknownRollout { .. })
    ));
}

#[tokio::test(start_paused = true)]
async fn a_serving_process_does_what_others_leave_to_it() {
    let world = World::new(4).await;
    let asks = world.orchestrator();
    let plan = asks.plan(&all(policy())).await.unwrap();
    let refused = asks.trigger_detached(&plan).await.unwrap_err();
    assert!(matches!(refused, TriggerRefusal::NobodyServes), "{refused}");
    assert_eq!(world.store.id(), asks.store().id());

    let serves = fleet_store::NewWorker {
        serves: true,
        ..who("server")
    };
    let mut server = Worker::start(&world.orchestrator(), serves, WorkMode::All)
        .await
        .unwrap();
    for round in 0..2 {
        let target = match round {
            0 => world.new.clone(),
            _ => world
                .fleet
                .change_origin(|origin| origin.push("main", SimRelease::Good)),
        };
        let plan = asks.plan(&all(policy())).await.unwrap();
        let id = asks.trigger_detached(&plan).await.unwrap();
        until(async || !world.record(id).await.state.is_active()).await;
        assert_eq!(world.record(id).await.state, RolloutState::Completed);
        assert_eq!(world.record(id).await.target, Some(target));
        world.check_truth(id).await;
    }
    server.stop(Duration::from_secs(30));
    assert_eq!(server.finished().await.unwrap().unfinished, []);
    world.check_all_left().await;
}
