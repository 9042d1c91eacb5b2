//! Looks that somebody asks for: what is told of a host that nothing can be said of, and who waits for whom.

use std::time::Duration;

use fleet_store::*;
use fleet_types::*;
use rollout_orchestrator::*;
use tokio::time::{Instant, sleep};

use crate::health::{sweeping, sweeping_with};
use crate::world::*;

const SECOND: Duration = Duration::from_secs(1);

async fn record(world: &World, number: usize) -> HostRecord {
    let name = name_of(number).parse().unwrap();
    world.store.host_get(&name).await.unwrap().unwrap()
}

/// Nobody looked: that it was active before says nothing of now.
#[tokio::test(start_paused = true)]
async fn a_host_that_a_rollout_took_on_meanwhile_is_unknown() {
    let world = World::new(1).await;
    let (_, orchestrator, mut worker, sweeper) = sweeping(&world, SweepSettings::default()).await;
    sweeper.sweep_once(false, None).await.unwrap();
    assert_eq!(record(&world, 1).await.health, HealthState::Active);
    world.takes("health_probe", 20 * SECOND);
    let asked = tokio::spawn(async move { sweeper.sweep_once(false, None).await });
    sleep(SECOND).await;
    let plan = orchestrator.plan(&all(in_one_go())).await.unwrap();
    orchestrator.trigger(&plan, None).await.unwrap();
    let told = asked.await.unwrap().unwrap();
    assert_eq!(told.len(), 1, "{told:?}");
    let seen = (told[0].health, told[0].done);
    assert_eq!(seen, (HealthState::Unknown, CheckDone::LeftAlone));
    assert_eq!(record(&world, 1).await.health, HealthState::Active);
    worker.stop(SECOND);
    worker.finished().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_lost_lease_is_told_as_such() {
    for fix in [false, true] {
        let world = World::new(1).await;
        world.takes("health_probe", 100 * SECOND);
        let (process, _, _worker, sweeper) = sweeping(&world, SweepSettings::default()).await;
        let asked = tokio::spawn(async move { sweeper.sweep_once(fix, None).await });
        sleep(SECOND).await;
        process.cut_off(true);
        let told = asked.await.unwrap().unwrap();
        assert_eq!(told.len(), 1, "{told:?}");
        let seen = (told[0].health, told[0].done);
        assert_eq!(seen, (HealthState::Unknown, CheckDone::LeftAlone));
        let message = &told[0].message;
        assert!(message.contains("lease"), "{message}");
        assert_eq!(message.contains("may have been restarted"), fix);
    }
}

/// With one connection in all, the sweep of the process makes no check beside a rollout; who asks for one gets it all the
/// same, as soon as the rollout leaves the connection.
#[tokio::test(start_paused = true)]
async fn who_asks_beside_a_rollout_is_answered() {
    let world = World::new(2).await;
    world.takes("install", 20 * SECOND);
    let of_process = OrchestratorSettings {
        concurrency: 1,
        ..OrchestratorSettings::default()
    };
    let settings = SweepSettings::default();
    let (_, orchestrator, mut worker, sweeper) = sweeping_with(&world, settings, of_process).await;
    let request = PlanRequest {
        selection: Selection::On(vec![name_of(1).parse().unwrap()]),
        ..all(Policy {
            settle: 400 * SECOND,
            ..at_once(1)
        })
    };
    let plan = orchestrator.plan(&request).await.unwrap();
    let id = orchestrator.trigger(&plan, None).await.unwrap();
    let own = sweeper.clone();
    let sweep = tokio::spawn(async move { own.run().await });
    sleep(5 * SECOND).await;
    let (since, other) = (Instant::now(), record(&world, 2).await.id);
    let told = sweeper.sweep_once(false, Some(vec![other])).await.unwrap();
    assert!(world.record(id).await.state.is_active(), "it was too late");
    let seen = (told[0].health, told[0].done);
    assert_eq!(seen, (HealthState::Active, CheckDone::Looked), "{told:?}");
    assert!(since.elapsed() < 60 * SECOND, "{:?}", since.elapsed());
    worker.stop(SECOND);
    worker.finished().await.unwrap();
    sweep.await.unwrap();
}
