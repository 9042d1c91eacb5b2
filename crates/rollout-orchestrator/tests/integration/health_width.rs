//! How many checks are made at once, and how many hosts are taken for them.

use std::time::Duration;

use fleet_store::*;
use fleet_types::*;
use rollout_orchestrator::*;
use tokio::time::{Instant, sleep};

use crate::health::{sweeping, sweeping_with};
use crate::world::*;

const SECOND: Duration = Duration::from_secs(1);
/// How long each look takes.
const LOOK: Duration = Duration::from_millis(700);

/// The most looks that were under way at once, of those that were begun in this time.
fn most_at_once(world: &World, from: Instant, to: Instant) -> usize {
    let calls = world.network.calls();
    let looks: Vec<Instant> = calls
        .iter()
        .filter(|call| call.command.name() == "health_probe")
        .map(|call| call.at)
        .filter(|at| (from..to).contains(at))
        .collect();
    assert!(looks.len() > 3, "only {} looks", looks.len());
    let beside = |at: &Instant| {
        let since = *at;
        looks
            .iter()
            .filter(|other| **other <= since && since < **other + LOOK)
            .count()
    };
    looks.iter().map(beside).max().unwrap_or(0)
}

#[tokio::test(start_paused = true)]
async fn beside_a_rollout_all_processes_make_one_check_at_a_time() {
    let world = World::new(12).await;
    world.takes("health_probe", LOOK);
    world.takes("install", 10 * SECOND);
    let settings = SweepSettings {
        every: 2 * SECOND,
        ..SweepSettings::default()
    };
    let of_process = OrchestratorSettings {
        kept_for_checks: 1,
        ..OrchestratorSettings::default()
    };
    let mut servers = Vec::new();
    for _ in 0..3 {
        let (_, orchestrator, worker, sweeper) =
            sweeping_with(&world, settings, of_process.clone()).await;
        let sweep = tokio::spawn(async move { sweeper.run().await });
        servers.push((orchestrator, worker, sweep));
    }
    let begun = Instant::now();
    sleep(10 * SECOND).await;
    assert!(
        most_at_once(&world, begun, Instant::now()) > 1,
        "alone they hurry"
    );
    let plan = servers[0].0.plan(&all(in_one_go())).await.unwrap();
    let id = servers[0].0.trigger(&plan, None).await.unwrap();
    // What was begun before comes to its end.
    sleep(2 * SECOND).await;
    let since = Instant::now();
    until(|| async { world.record(id).await.state == RolloutState::Completed }).await;
    assert!(since.elapsed() > 10 * SECOND, "it was over too soon");
    assert_eq!(most_at_once(&world, since, Instant::now()), 1);
    assert!(world.network.most_open() <= 5);
    for (_, mut worker, sweep) in servers {
        worker.stop(SECOND);
        worker.finished().await.unwrap();
        sweep.await.unwrap();
    }
    world.check_all_left().await;
}

/// Who asks for a sweep of all takes each host when its turn comes: until then others may have it.
#[tokio::test(start_paused = true)]
async fn a_sweep_of_all_takes_hosts_one_by_one_and_gives_way_to_a_rollout() {
    let world = World::new(30).await;
    world.takes("health_probe", LOOK);
    world.takes("install", 60 * SECOND);
    let (_, orchestrator, mut worker, sweeper) = sweeping(&world, SweepSettings::default()).await;
    let begun = Instant::now();
    let sweep = tokio::spawn(async move { sweeper.sweep_once(true, None).await });
    sleep(LOOK / 2).await;
    let other = world.store.worker_register(who("other")).await.unwrap();
    let free = world
        .store
        .health_due(other, 60 * SECOND, 5, Turns::Due)
        .await
        .unwrap();
    assert_eq!(free.len(), 5, "it took all hosts at once");
    world.store.worker_leave(other).await.unwrap();
    sleep(LOOK).await;
    assert!(most_at_once(&world, begun, Instant::now()) > 1);
    // Of the hosts whose turn is last.
    let of_these = (26..=30).map(|number| name_of(number).parse().unwrap());
    let request = PlanRequest {
        selection: Selection::On(of_these.collect()),
        ..all(in_one_go())
    };
    let plan = orchestrator.plan(&request).await.unwrap();
    let id = orchestrator.trigger(&plan, None).await.unwrap();
    sleep(2 * SECOND).await;
    let since = Instant::now();
    let checked = sweep.await.unwrap().unwrap();
    assert!(
        world.record(id).await.state.is_active(),
        "the rollout outlasts the sweep"
    );
    assert_eq!(most_at_once(&world, since, Instant::now()), 1);
    let looked_at = checked.iter().map(|checked| checked.host.to_string());
    let expected: Vec<String> = (1..=25).map(name_of).collect();
    assert_eq!(looked_at.collect::<Vec<_>>(), expected);
    until(|| async { world.record(id).await.state == RolloutState::Completed }).await;
    worker.stop(SECOND);
    worker.finished().await.unwrap();
}
