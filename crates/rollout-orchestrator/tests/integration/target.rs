//! Which commit a rollout goes to.

use std::time::Duration;

use fleet_store::{Resolution, Rollouts};
use fleet_types::*;
use rollout_orchestrator::*;
use tokio::time::Instant;
use update_engine::testing::SimRelease;

use crate::world::*;

async fn run_to(world: &World, target: &str, policy: Policy) -> fleet_store::RolloutRecord {
    let orchestrator = world.orchestrator();
    let request = PlanRequest {
        to: Some(target.parse().unwrap()),
        ..all(policy)
    };
    let plan = orchestrator.plan(&request).await.unwrap();
    let id = orchestrator.trigger(&plan, None).await.unwrap();
    orchestrator.drive(id, who("test")).await.unwrap()
}

/// Hosts that were asked for the target, and that nothing else was asked of.
fn only_asked(world: &World) -> usize {
    let hosts = world
        .names()
        .into_iter()
        .map(|name| world.fleet.host(&name).unwrap());
    let asked = hosts
        .filter(|host| !host.received.is_empty())
        .inspect(|host| {
            assert!(
                host.received
                    .iter()
                    .all(|c| c.name == "resolve" && !c.changed),
                "{:?}",
                host.received
            );
        });
    asked.count()
}

#[tokio::test(start_paused = true)]
async fn what_does_not_exist_is_refused_before_any_host_is_touched() {
    for target in ["relase", &"c".repeat(40)] {
        let world = World::new(30).await;
        let record = run_to(&world, target, policy()).await;
        assert_eq!(record.state, RolloutState::Halted);
        assert_eq!(record.reason.as_deref(), Some("cannot_resolve_target"));
        assert_eq!(record.target, None);
        assert_eq!(
            world.tally(record.id).await,
            [(AttemptStatus::Skipped, 30)].into()
        );
        let asked = only_asked(&world);
        assert!(
            (5..=10).contains(&asked),
            "{asked} hosts were asked for {target}"
        );
        let events = world.events(record.id).await;
        let said: Vec<&str> = events.iter().filter_map(|e| e.message.as_deref()).collect();
        assert!(
            said.iter()
                .any(|m| m.starts_with(&format!("{target} cannot be resolved: "))),
            "{said:?}"
        );
        world.check_all_left().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_commit_that_exists_is_taken_as_given() {
    let world = World::new(3).await;
    let commit = world.new.clone();
    world
        .fleet
        .change_origin(|origin| origin.push("main", SimRelease::Good));
    let record = run_to(&world, commit.as_str(), policy()).await;
    assert_eq!(
        (record.state, record.target),
        (RolloutState::Completed, Some(commit))
    );
    world.check_truth(record.id).await;
}

#[tokio::test(start_paused = true)]
async fn hosts_that_cannot_ask_do_not_decide() {
    let world = World::new(12).await;
    for number in 1..=11 {
        world
            .fleet
            .change(&name_of(number), |host| host.refuses_connections = 4);
    }
    let record = run_to(&world, "main", policy()).await;
    assert_eq!(
        record.target,
        Some(world.new.clone()),
        "{:?}",
        record.reason
    );
    assert!(world.network.most_open() <= 5);
}

#[tokio::test(start_paused = true)]
async fn nobody_can_ask() {
    let world = World::new(3).await;
    world.fleet.change_origin(|origin| origin.down = true);
    let record = run_to(&world, "main", policy()).await;
    assert_eq!(record.reason.as_deref(), Some("cannot_resolve_target"));
    assert_eq!(only_asked(&world), 3, "every host was asked");
}

#[tokio::test(start_paused = true)]
async fn a_branch_that_moves_on_changes_nothing() {
    let world = World::new(10).await;
    let (id, mut worker) = begin(&world.orchestrator(), policy()).await;
    until(async || world.record(id).await.stage == 2).await;
    let newer = world
        .fleet
        .change_origin(|origin| origin.push("main", SimRelease::Good));
    let record = worker.finished().await.unwrap().record.unwrap();
    assert_eq!(record.state, RolloutState::Completed);
    assert_ne!(world.new, newer);
    for name in world.names() {
        assert!(
            world.fleet.host(&name).unwrap().is_wholly_on(&world.new),
            "{name}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_rollout_aborted_while_it_asks_ends() {
    let world = World::new(3).await;
    world.takes("resolve", Duration::from_secs(20));
    let orchestrator = world.orchestrator();
    let (id, mut worker) = begin(&orchestrator, policy()).await;
    until(async || world.network.open() == 3).await;
    orchestrator.abort(id, &actor()).await.unwrap();
    let record = worker.finished().await.unwrap().record.unwrap();
    assert_eq!((record.state, record.target), (RolloutState::Aborted, None));
    world.check_all_left().await;
}

#[tokio::test(start_paused = true)]
async fn what_another_process_found_out_is_not_asked_for_any_longer() {
    let world = World::new(3).await;
    world.takes("resolve", Duration::from_secs(25));
    let policy = Policy {
        concurrency: 1,
        ..policy()
    };
    let (id, mut worker) = begin(&world.orchestrator(), policy).await;
    until(async || world.network.open() == 1).await;
    let found = Resolution::Commit(world.new.clone());
    world.store.rollout_resolve(id, found).await.unwrap();
    let since = Instant::now();
    until(async || world.network.names("web-01").contains(&"pull")).await;
    assert!(
        since.elapsed() < Duration::from_secs(5),
        "{:?}",
        since.elapsed()
    );
    let record = worker.finished().await.unwrap().record.unwrap();
    assert_eq!(record.state, RolloutState::Completed);
    assert_eq!(world.network.most_open(), 1);
}
