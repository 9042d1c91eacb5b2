//! When a rollout stops, and what it leaves alone then.

use std::time::Duration;

use fleet_types::*;
use update_engine::testing::SimRelease;

use crate::world::*;

#[tokio::test(start_paused = true)]
async fn a_bad_release_stops_at_the_first_stage() {
    let world = World::new(20).await;
    world.breaks(&(1..=20).collect::<Vec<_>>(), SimRelease::CrashLoops);
    let record = run(&world.orchestrator(), policy()).await;
    assert_eq!((record.state, record.stage), (RolloutState::Halted, 1));
    let tally = world.tally(record.id).await;
    assert_eq!(
        tally,
        [(AttemptStatus::RolledBack, 2), (AttemptStatus::Skipped, 18)].into()
    );
    let attempts = world.attempts(record.id).await;
    assert!(
        attempts[2..]
            .iter()
            .all(|a| a.reason == Some(Reason::NotStarted) && !a.touched)
    );
    for name in &world.names()[2..] {
        let received = world.fleet.host(name).unwrap().received;
        assert!(
            received.iter().all(|command| command.name == "resolve"),
            "{name}: {received:?}"
        );
    }
    world.check_truth(record.id).await;
}

#[tokio::test(start_paused = true)]
async fn no_further_host_is_started_once_halting_is_certain() {
    let world = World::new(10).await;
    world.breaks(&(1..=10).collect::<Vec<_>>(), SimRelease::InstallFails);
    let one_by_one = Policy {
        stages: "100".parse().unwrap(),
        concurrency: 1,
        settle: Duration::ZERO,
        ..policy()
    };
    let record = run(&world.orchestrator(), one_by_one).await;
    assert_eq!(record.state, RolloutState::Halted);
    let tally = world.tally(record.id).await;
    assert_eq!(
        tally,
        [(AttemptStatus::RolledBack, 4), (AttemptStatus::Skipped, 6)].into()
    );
    world.check_truth(record.id).await;
}

#[tokio::test(start_paused = true)]
async fn exactly_thirty_percent_goes_on() {
    for (bad, state) in [
        (vec![2, 5, 9], RolloutState::CompletedWithFailures),
        (vec![2, 5, 7, 9], RolloutState::Halted),
    ] {
        let world = World::new(10).await;
        world.breaks(&bad, SimRelease::InstallFails);
        let record = run(
            &world.orchestrator(),
            Policy {
                stages: "100".parse().unwrap(),
                ..policy()
            },
        )
        .await;
        assert_eq!(record.state, state, "{bad:?}");
        world.check_truth(record.id).await;
    }
}

#[tokio::test(start_paused = true)]
async fn hosts_that_are_down_count_and_are_not_touched() {
    let world = World::new(10).await;
    for number in [3, 4] {
        world
            .fleet
            .change(&name_of(number), |host| host.refuses_connections = u32::MAX);
    }
    let record = run(
        &world.orchestrator(),
        Policy {
            stages: "100".parse().unwrap(),
            ..policy()
        },
    )
    .await;
    assert_eq!(record.state, RolloutState::CompletedWithFailures);
    let outcomes = world.outcomes(record.id).await;
    assert_eq!(outcomes[2], "web-03 failed/unreachable");
    world.check_truth(record.id).await;
}
