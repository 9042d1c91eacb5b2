//! The course of a rollout in which nothing dies.

use std::time::Duration;

use fleet_types::*;
use tokio::time::{Instant, sleep};
use update_engine::testing::SimRelease;

use crate::world::*;

#[tokio::test(start_paused = true)]
async fn twenty_hosts_in_three_stages() {
    let world = World::new(20).await;
    let record = run(&world.orchestrator(), policy()).await;
    assert_eq!(record.state, RolloutState::Completed);
    assert_eq!(record.target, Some(world.new.clone()));
    assert_eq!(
        world.tally(record.id).await,
        [(AttemptStatus::Success, 20)].into()
    );
    world.check_truth(record.id).await;
    world.check_all_left().await;
    let stages: Vec<u32> = world
        .attempts(record.id)
        .await
        .iter()
        .map(|a| a.stage)
        .collect();
    assert_eq!(
        [1, 2, 3].map(|stage| stages.iter().filter(|s| **s == stage).count()),
        [2, 8, 10]
    );
}

#[tokio::test(start_paused = true)]
async fn the_limit_on_connections_holds_and_settling_hosts_use_none() {
    let world = World::new(20).await;
    world.takes("pull", Duration::from_secs(3));
    let record = run(&world.orchestrator(), at_once(3)).await;
    assert_eq!(record.state, RolloutState::Completed);
    assert_eq!(
        world.network.most_open(),
        3,
        "as many as allowed, and no more"
    );
    assert_eq!(world.network.open(), 0);
    // Two connections a host, and one that asked for the target on each of the first three.
    assert!(
        world.network.connections() <= 43,
        "{}",
        world.network.connections()
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_kept_for_checks_no_rollout_uses() {
    for (concurrency, kept, most) in [(5, 1, 4), (2, 1, 1), (1, 1, 1), (3, 9, 1)] {
        let world = World::new(12).await;
        world.takes("pull", Duration::from_secs(3));
        let settings = rollout_orchestrator::OrchestratorSettings {
            kept_for_checks: kept,
            ..rollout_orchestrator::OrchestratorSettings::default()
        };
        let policy = Policy {
            concurrency,
            ..in_one_go()
        };
        let record = run(&world.process_with(settings).1, policy).await;
        assert_eq!(record.state, RolloutState::Completed);
        assert_eq!(world.network.most_open(), most, "{concurrency} - {kept}");
    }
}

#[tokio::test(start_paused = true)]
async fn one_bad_host_in_the_second_stage() {
    let world = World::new(20).await;
    world.breaks(&[5], SimRelease::CrashLoops);
    let record = run(&world.orchestrator(), policy()).await;
    assert_eq!(record.state, RolloutState::CompletedWithFailures);
    let outcomes = world.outcomes(record.id).await;
    assert!(
        outcomes.contains(&"web-05 rolled_back/crash_loop".to_owned()),
        "{outcomes:?}"
    );
    world.check_truth(record.id).await;
    world.check_all_left().await;
}

#[tokio::test(start_paused = true)]
async fn hosts_settle_side_by_side_on_one_connection() {
    let world = World::new(6).await;
    let since = Instant::now();
    let one = Policy {
        concurrency: 1,
        settle: Duration::from_secs(60),
        ..in_one_go()
    };
    let record = run(&world.orchestrator(), one).await;
    assert_eq!(record.state, RolloutState::Completed);
    assert_eq!(world.network.most_open(), 1);
    assert!(
        since.elapsed() < Duration::from_secs(90),
        "{:?}",
        since.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn no_more_hosts_in_flight_than_allowed() {
    let world = World::new(12).await;
    let orchestrator = world.orchestrator();
    let policy = Policy {
        max_in_flight: 3,
        settle: Duration::from_secs(30),
        ..in_one_go()
    };
    let (id, mut worker) = begin(&orchestrator, policy).await;
    let mut most = 0;
    let watching = async {
        loop {
            let tally = world.tally(id).await;
            most = most.max(tally.get(&AttemptStatus::Updating).copied().unwrap_or(0));
            sleep(Duration::from_millis(100)).await;
        }
    };
    let record = tokio::select! {
        finished = worker.finished() => finished.unwrap().record.unwrap(),
        () = watching => unreachable!("it never ends"),
    };
    assert_eq!(record.state, RolloutState::Completed);
    assert_eq!(most, 3);
}
