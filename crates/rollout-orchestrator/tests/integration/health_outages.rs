//! The sweep on a store that fails some calls.

use std::time::Duration;

use fleet_store::Inventory;
use fleet_types::*;
use rollout_orchestrator::*;
use tokio::time::sleep;
use update_engine::testing::{SimCommand, SimWhat};

use crate::health::{stop, sweeping};
use crate::process::Cut;
use crate::world::*;

const SECOND: Duration = Duration::from_secs(1);
/// More calls than the store gets in the time that is watched, at the pace of a process with nothing else to do.
const CALLS: usize = 40;

async fn health(world: &World, number: usize) -> HealthState {
    let name = name_of(number).parse().unwrap();
    world.store.host_get(&name).await.unwrap().unwrap().health
}

/// Nobody holds a host that nobody works on: an update of all of them goes through.
async fn updates_go_through(world: &World, what: &str) {
    world.forget();
    let (id, mut worker) = begin(&world.orchestrator(), in_one_go()).await;
    let finished = tokio::time::timeout(120 * SECOND, worker.finished()).await;
    assert!(finished.is_ok(), "{what}: {:?}", world.outcomes(id).await);
    let all = ["web-01 success/updated", "web-02 success/updated"];
    assert_eq!(world.outcomes(id).await, all, "{what}");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_fails_delays_the_sweep_and_no_more() {
    whichever_call_fails(None).await;
}

/// One that fails after the answer to a restart was lost, too: the host is looked at all the same, and given back.
#[tokio::test(start_paused = true)]
async fn a_call_that_fails_after_a_restart_was_lost_delays_the_sweep_and_no_more() {
    whichever_call_fails(Some(SimWhat::LostAfter)).await;
}

async fn whichever_call_fails(restart: Option<SimWhat>) {
    for number in 1..=CALLS {
        for cut in [Cut::Before(number), Cut::After(number)] {
            let what = format!("{cut:?}");
            let world = World::new(2).await;
            stop(&world, 2);
            if let Some(restart) = &restart {
                world.fleet.change(&name_of(2), |host| {
                    *host = host
                        .clone()
                        .with_fault("health_restart", 1, restart.clone());
                });
            }
            let (process, _, mut worker, sweeper) =
                sweeping(&world, SweepSettings::default()).await;
            let before = process.store_calls();
            assert!(before < 5, "{before} calls before the sweep began");
            process.is_cut(match cut {
                Cut::Before(number) => Cut::Before(before + number),
                Cut::After(number) => Cut::After(before + number),
            });
            let sweep = tokio::spawn(async move { sweeper.run().await });
            // Two turns at most: the first may be lost with the answer to the question whose it is.
            sleep(150 * SECOND).await;
            assert!(
                process.store_calls() > before + CALLS,
                "{what}: it came to that"
            );
            assert!(
                world.fleet.host(&name_of(2)).unwrap().running.is_some(),
                "{what}"
            );
            for host in [1, 2] {
                assert_eq!(health(&world, host).await, HealthState::Active, "{what}");
            }
            // Only where the lease was raised and nobody knows of it, the look is somebody else's.
            if restart.is_some() && matches!(cut, Cut::Before(_)) {
                let received = world.fleet.host(&name_of(2)).unwrap().received;
                let outranks = |c: &SimCommand| c.name == "health_probe" && c.epoch >= Some(2);
                assert!(received.iter().any(outranks), "{what}: {received:?}");
            }
            updates_go_through(&world, &what).await;
            worker.stop(SECOND);
            worker.finished().await.unwrap();
            sweep.await.unwrap();
            world.check_all_left().await;
        }
    }
}

/// Whoever asks for a sweep is told of every host, whichever call failed; and of a restart that was made.
#[tokio::test(start_paused = true)]
async fn a_sweep_that_is_asked_for_outlives_a_call_that_fails() {
    for number in 1..=CALLS {
        for after in [false, true] {
            let world = World::new(3).await;
            stop(&world, 2);
            let mut ids = Vec::new();
            for number in 1..=3 {
                let name = name_of(number).parse().unwrap();
                ids.push(world.store.host_get(&name).await.unwrap().unwrap().id);
            }
            let (process, _, worker, sweeper) = sweeping(&world, SweepSettings::default()).await;
            let at = process.store_calls() + number;
            process.is_cut(if after {
                Cut::After(at)
            } else {
                Cut::Before(at)
            });
            let all = sweeper.sweep_once(true, Some(ids)).await;
            let what = format!("call {number}, after it took effect: {after}: {all:?}");
            let all = all.unwrap_or_else(|_| panic!("{what}"));
            assert_eq!(all.len(), 3, "{what}");
            let restarted = world.fleet.host(&name_of(2)).unwrap().lives > 1;
            let told = all[1].done == CheckDone::Restarted;
            assert_eq!(told, restarted, "{what}");
            drop(worker);
        }
    }
}

/// Away for a moment, for longer than a lease, and for long: with the store, the sweep is back.
#[tokio::test(start_paused = true)]
async fn a_store_that_is_away_for_a_while_only_delays_the_sweep() {
    for seconds in [3, 40, 600] {
        let world = World::new(2).await;
        let (process, _, mut worker, sweeper) = sweeping(&world, SweepSettings::default()).await;
        let sweep = tokio::spawn(async move { sweeper.run().await });
        sleep(90 * SECOND).await;
        process.cut_off(true);
        stop(&world, 1);
        sleep(seconds * SECOND).await;
        process.cut_off(false);
        sleep(120 * SECOND).await;
        for host in [1, 2] {
            assert_eq!(
                health(&world, host).await,
                HealthState::Active,
                "{seconds} s"
            );
        }
        assert!(world.fleet.host(&name_of(1)).unwrap().running.is_some());
        updates_go_through(&world, &format!("away for {seconds} s")).await;
        worker.stop(SECOND);
        worker.finished().await.unwrap();
        sweep.await.unwrap();
        world.check_all_left().await;
    }
}
