//! Services that are down are started again, not too often, and out of the way of rollouts.

use std::sync::Arc;
use std::time::Duration;

use fleet_store::*;
use fleet_types::*;
use rollout_orchestrator::*;
use update_engine::testing::{SimHost, SimRelease, SimWhat};

use crate::process::Process;
use crate::process_store::ProcessStore;
use crate::world::*;

const SECOND: Duration = Duration::from_secs(1);

/// A process that works on every rollout and sweeps.
pub(crate) async fn sweeping(
    world: &World,
    settings: SweepSettings,
) -> (Process, Orchestrator, Worker, HealthSweeper) {
    sweeping_with(world, settings, OrchestratorSettings::default()).await
}

/// The same, and otherwise as the settings say.
pub(crate) async fn sweeping_with(
    world: &World,
    settings: SweepSettings,
    of_process: OrchestratorSettings,
) -> (Process, Orchestrator, Worker, HealthSweeper) {
    let (process, orchestrator) = world.process_with(of_process);
    let worker = Worker::start(&orchestrator, who("sweeper"), WorkMode::All)
        .await
        .unwrap();
    let health = Arc::clone(&world.store) as Arc<dyn Health>;
    let health = Arc::new(ProcessStore::new(&process, health));
    let sweeper = HealthSweeper::beside(&worker, &orchestrator, health, settings);
    (process, orchestrator, worker, sweeper)
}

pub(crate) fn stop(world: &World, host: usize) {
    world
        .fleet
        .change(&name_of(host), |host| host.running = None);
}

/// The service of this host does not start on any release.
fn never_comes_up(world: &World, host: usize) {
    let old = world.old.clone();
    world.fleet.change(&name_of(host), |host| {
        host.running = None;
        host.releases.insert(old, SimRelease::StartFails);
    });
}

fn host(world: &World, number: usize) -> SimHost {
    world.fleet.host(&name_of(number)).unwrap()
}

fn restarts(world: &World, number: usize) -> usize {
    let received = host(world, number).received;
    received
        .iter()
        .filter(|command| command.name == "health_restart" && command.ran)
        .count()
}

async fn health(world: &World, number: usize) -> HealthState {
    let name = name_of(number).parse().unwrap();
    world.store.host_get(&name).await.unwrap().unwrap().health
}

async fn told(world: &World) -> Vec<String> {
    let events = world
        .store
        .events_after(Seq(0), None, 10_000)
        .await
        .unwrap();
    events
        .into_iter()
        .filter(|event| event.kind == EventKind::HostHealth)
        .map(|event| format!("{} {}", event.host.unwrap(), event.status.unwrap()))
        .collect()
}

async fn leaves(mut worker: Worker) {
    worker.stop(SECOND);
    worker.finished().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_stopped_service_is_up_again_within_one_sweep() {
    let world = World::new(7).await;
    let (_, _, worker, sweeper) = sweeping(&world, SweepSettings::default()).await;
    let sweeping = tokio::spawn(async move { sweeper.run().await });
    tokio::time::sleep(90 * SECOND).await;
    for number in 1..=7 {
        assert_eq!(health(&world, number).await, HealthState::Active);
        assert_eq!(
            restarts(&world, number),
            0,
            "nothing is restarted that is up"
        );
    }
    stop(&world, 3);
    // A minute, a tenth of it, and the time of the restart itself.
    tokio::time::sleep(75 * SECOND).await;
    assert!(host(&world, 3).running.is_some());
    assert_eq!(restarts(&world, 3), 1);
    assert_eq!(health(&world, 3).await, HealthState::Active);
    assert!(!host(&world, 3).received.iter().any(|c| c.name == "pull"));
    assert!(world.network.most_open() <= 5);
    // It ends with its worker, and leaves nothing behind.
    leaves(worker).await;
    sweeping.await.unwrap();
    world.check_all_left().await;
}

#[tokio::test(start_paused = true)]
async fn a_service_that_never_comes_up_is_given_up_and_tried_again_later() {
    let world = World::new(2).await;
    never_comes_up(&world, 2);
    let (_, _, worker, sweeper) = sweeping(&world, SweepSettings::default()).await;
    let sweeping = tokio::spawn(async move { sweeper.run().await });
    tokio::time::sleep(540 * SECOND).await;
    assert_eq!(restarts(&world, 2), 3);
    assert_eq!(health(&world, 2).await, HealthState::Unhealthy);
    let of_it = |told: Vec<String>| -> Vec<String> {
        told.into_iter()
            .filter(|line| line.starts_with("web-02"))
            .collect()
    };
    let said = of_it(told(&world).await);
    assert_eq!(said, ["web-02 inactive", "web-02 unhealthy"]);
    // The window is over: three more, and no news while nothing changes.
    tokio::time::sleep(660 * SECOND).await;
    assert!(
        (4..=6).contains(&restarts(&world, 2)),
        "{}",
        restarts(&world, 2)
    );
    assert_eq!(of_it(told(&world).await), said, "its state went to and fro");
    let old = world.old.clone();
    world.fleet.change(&name_of(2), |host| {
        host.releases.remove(&old);
    });
    tokio::time::sleep(700 * SECOND).await;
    assert_eq!(health(&world, 2).await, HealthState::Active);
    leaves(worker).await;
    sweeping.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn who_only_looks_and_who_is_only_looked_at() {
    let world = World::new(4).await;
    (1..=3).for_each(|number| stop(&world, number));
    world
        .fleet
        .change(&name_of(4), |host| host.refuses_connections = u32::MAX);
    let (_, _, worker, sweeper) = sweeping(&world, SweepSettings::default()).await;
    let (tell, told) = std::sync::mpsc::channel();
    let sweeper = sweeper.telling(move |checked| tell.send(checked.clone()).unwrap());
    let all = sweeper.sweep_once(false, None).await.unwrap();
    let mut each: Vec<_> = told.try_iter().collect();
    each.sort_by(|one, other| one.host.cmp(&other.host));
    assert_eq!(each, all);
    let seen: Vec<_> = all.iter().map(|checked| checked.health).collect();
    use HealthState::{Active, Inactive, Unreachable};
    assert_eq!(seen, [Inactive, Inactive, Inactive, Unreachable]);
    assert!(all.iter().all(|checked| checked.done == CheckDone::Looked));
    let id = world
        .store
        .host_get(&name_of(2).parse().unwrap())
        .await
        .unwrap();
    let only = sweeper
        .sweep_once(true, Some(vec![id.unwrap().id]))
        .await
        .unwrap();
    assert_eq!(only.len(), 1);
    assert_eq!(
        (only[0].health, only[0].done),
        (Active, CheckDone::Restarted)
    );
    assert_eq!(
        [1, 2, 3, 4].map(|number| restarts(&world, number)),
        [0, 1, 0, 0]
    );
    leaves(worker).await;
}

#[tokio::test(start_paused = true)]
async fn just_after_its_update_a_service_is_only_looked_at() {
    let world = World::new(1).await;
    run(&world.orchestrator(), in_one_go()).await;
    stop(&world, 1);
    let (_, _, worker, sweeper) = sweeping(&world, SweepSettings::default()).await;
    let first = sweeper.sweep_once(true, None).await.unwrap();
    assert_eq!(
        (first[0].health, first[0].done),
        (HealthState::Inactive, CheckDone::Looked)
    );
    assert!(
        first[0].message.contains("its update ended just now"),
        "{}",
        first[0].message
    );
    tokio::time::sleep(61 * SECOND).await;
    let second = sweeper.sweep_once(true, None).await.unwrap();
    assert_eq!(
        (second[0].health, second[0].done),
        (HealthState::Active, CheckDone::Restarted)
    );
    leaves(worker).await;
}

/// Killed while the host restarts: the next update waits for the lease and for what was left on the host, and is in the
/// end no worse off for it; the next checker waits for the lease.
#[tokio::test(start_paused = true)]
async fn a_worker_killed_in_a_restart_blocks_nobody() {
    for (updates, takes) in [(true, 170), (true, 20), (false, 20)] {
        let world = World::new(1).await;
        stop(&world, 1);
        world.takes("health_restart", takes * SECOND);
        let (process, _, worker, sweeper) = sweeping(&world, SweepSettings::default()).await;
        let dying = tokio::spawn(async move { sweeper.sweep_once(true, None).await });
        until(|| async { restarts(&world, 1) == 1 }).await;
        process.kill();
        dying.abort();
        drop(worker);
        stop(&world, 1);
        if updates {
            let (id, mut next) = begin(&world.orchestrator(), in_one_go()).await;
            let record = tokio::time::timeout((takes + 100) * SECOND, next.finished())
                .await
                .unwrap();
            assert_eq!(
                record.unwrap().record.unwrap().state,
                RolloutState::Completed
            );
            assert_eq!(world.outcomes(id).await, ["web-01 success/updated"]);
            world.check_truth(id).await;
        } else {
            let (_, _, worker, sweeper) = sweeping(&world, SweepSettings::default()).await;
            tokio::time::sleep(40 * SECOND).await;
            let all = sweeper.sweep_once(true, None).await.unwrap();
            assert_eq!(
                (all[0].health, all[0].done),
                (HealthState::Active, CheckDone::Restarted)
            );
            leaves(worker).await;
        }
    }
}

/// The answer to a restart is lost, or it is cut in the middle of everything: what counts is how the service is.
#[tokio::test(start_paused = true)]
async fn a_restart_whose_answer_is_lost_is_judged_by_the_service() {
    for what in [SimWhat::LostAfter, SimWhat::Gone(3), SimWhat::NoAnswer] {
        let world = World::new(1).await;
        stop(&world, 1);
        world.fleet.change(&name_of(1), |host| {
            *host = host.clone().with_fault("health_restart", 1, what.clone());
        });
        let (_, _, worker, sweeper) = sweeping(&world, SweepSettings::default()).await;
        let all = sweeper.sweep_once(true, None).await.unwrap();
        assert_eq!(
            (all[0].health, all[0].done),
            (HealthState::Active, CheckDone::Restarted),
            "{what:?}: {}",
            all[0].message
        );
        assert_eq!(restarts(&world, 1), 1, "{what:?}");
        // A restart that was still on its way would be refused: the host has seen a higher epoch since.
        let ours = world.store.id().to_string();
        assert_eq!(host(&world, 1).fence, Some((ours, 2)), "{what:?}");
        leaves(worker).await;
    }
}

/// A restart that was to replace a record, and is lost on its way: the look replaces that record, and the restart, should it
/// come late, finds one that outranks it.
#[tokio::test(start_paused = true)]
async fn a_lost_restart_does_not_replace_a_record_after_the_look() {
    let world = World::new(1).await;
    stop(&world, 1);
    world.fleet.change(&name_of(1), |host| {
        host.fence = Some(("other".to_owned(), 7));
        *host = host
            .clone()
            .with_fault("health_restart", 2, SimWhat::LostBefore);
    });
    let (_, _, worker, sweeper) = sweeping(&world, SweepSettings::default()).await;
    let all = sweeper.sweep_once(true, None).await.unwrap();
    assert_eq!(
        (all[0].health, all[0].done),
        (HealthState::Inactive, CheckDone::Restarted),
        "{}",
        all[0].message
    );
    assert_eq!(restarts(&world, 1), 0);
    let ours = world.store.id().to_string();
    assert_eq!(host(&world, 1).fence, Some((ours, 9)));
    leaves(worker).await;
}

/// However often a restart could not be sent: as soon as it can be, it is.
#[tokio::test(start_paused = true)]
async fn restarts_that_never_came_to_the_host_use_nothing_up() {
    let world = World::new(1).await;
    stop(&world, 1);
    world.fleet.change(&name_of(1), |host| host.locked = true);
    let (_, _, worker, sweeper) = sweeping(&world, SweepSettings::default()).await;
    for _ in 0..5 {
        let all = sweeper.sweep_once(true, None).await.unwrap();
        assert_eq!(
            (all[0].health, all[0].done),
            (HealthState::Inactive, CheckDone::Looked)
        );
        assert!(all[0].message.contains("lock"), "{}", all[0].message);
    }
    world.fleet.change(&name_of(1), |host| host.locked = false);
    let all = sweeper.sweep_once(true, None).await.unwrap();
    assert_eq!(
        (all[0].health, all[0].done),
        (HealthState::Active, CheckDone::Restarted)
    );
    leaves(worker).await;
}

/// A record on the host that is left from a moved or restored database keeps the checker out once, not for ever.
#[tokio::test(start_paused = true)]
async fn a_record_that_outranks_the_checker_is_replaced_and_told() {
    let world = World::new(3).await;
    let ours = world.store.id().to_string();
    let records = [
        (ours.as_str(), 40, 41),
        ("other", 7, 8),
        ("other", i64::MAX, 2),
    ];
    for (number, (store, epoch, _)) in (1..).zip(records) {
        stop(&world, number);
        world.fleet.change(&name_of(number), |host| {
            host.fence = Some((store.to_owned(), epoch));
        });
    }
    let (_, _, worker, sweeper) = sweeping(&world, SweepSettings::default()).await;
    let all = sweeper.sweep_once(true, None).await.unwrap();
    for (number, (store, epoch, raised)) in (1..).zip(records) {
        let checked = &all[number - 1];
        assert_eq!(
            (checked.health, checked.done),
            (HealthState::Active, CheckDone::Restarted),
            "{store} {epoch}: {}",
            checked.message
        );
        assert_eq!(host(&world, number).fence, Some((ours.clone(), raised)));
    }
    let events = world.store.events_after(Seq(0), None, 1000).await.unwrap();
    let told = events.iter().filter(|event| {
        let message = event.message.as_deref().unwrap_or_default();
        message.contains("on record for store")
    });
    assert_eq!(told.count(), 3);
    // Updates go on from there.
    world.forget();
    let record = run(&world.orchestrator(), in_one_go()).await;
    assert_eq!(record.state, RolloutState::Completed);
    world.check_truth(record.id).await;
    leaves(worker).await;
}
