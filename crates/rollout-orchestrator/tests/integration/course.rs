//! The course of a rollout in which nothing dies.

use std::time::Duration;

use fleet_types::*;
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
    let record = run(
        &world.orchestrator(),
        Policy {
            concurrency: 3,
            ..in_one_go()
        },
    )
    .await;
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
