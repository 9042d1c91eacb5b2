//! Pause, resume, abort, and workers that are asked to leave.

use std::time::Duration;

use fleet_types::*;
use rollout_orchestrator::*;
use tokio::time::{Instant, sleep};

use crate::world::*;

/// Ten hosts at once, two connections, and time to interfere.
async fn slow() -> World {
    let world = World::new(10).await;
    world.takes("pull", Duration::from_secs(3));
    world
}

fn two_at_once() -> Policy {
    at_once(2)
}

impl World {
    async fn count(&self, id: RolloutId, status: AttemptStatus) -> usize {
        self.tally(id).await.get(&status).copied().unwrap_or(0)
    }

    /// Until the rollout has some hosts in flight, and some settled.
    async fn in_the_midst(&self, id: RolloutId) {
        until(async || {
            self.count(id, AttemptStatus::Updating).await >= 2
                && self.count(id, AttemptStatus::Success).await >= 1
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_paused_rollout_starts_nothing_until_it_is_resumed() {
    let world = slow().await;
    let (process, orchestrator) = world.process();
    let (id, mut worker) = begin(&orchestrator, two_at_once()).await;
    world.in_the_midst(id).await;
    // Another process asks.
    world.orchestrator().pause(id, &actor()).await.unwrap();
    world.orchestrator().pause(id, &actor()).await.unwrap();
    let pending = world.count(id, AttemptStatus::Pending).await;
    until(async || world.count(id, AttemptStatus::Updating).await == 0).await;
    let calls = process.store_calls();
    sleep(Duration::from_secs(600)).await;
    let calls = process.store_calls() - calls;
    assert!(
        calls < 600 * 5 * 5,
        "five calls five times a second at most, not {calls}"
    );
    assert_eq!(world.count(id, AttemptStatus::Pending).await, pending);
    assert_eq!(world.record(id).await.state, RolloutState::Paused);
    assert_eq!(world.network.open(), 0);
    orchestrator.resume(id, &actor()).await.unwrap();
    let record = worker.finished().await.unwrap().record.unwrap();
    assert_eq!(record.state, RolloutState::Completed);
    world.check_truth(id).await;
    world.check_all_left().await;
}

#[tokio::test(start_paused = true)]
async fn an_aborted_rollout_finishes_what_is_in_flight() {
    let world = slow().await;
    let (id, mut worker) = begin(&world.orchestrator(), two_at_once()).await;
    world.in_the_midst(id).await;
    let started = 10 - world.count(id, AttemptStatus::Pending).await;
    world.orchestrator().abort(id, &actor()).await.unwrap();
    let record = worker.finished().await.unwrap().record.unwrap();
    assert_eq!(record.state, RolloutState::Aborted);
    let tally = world.tally(id).await;
    assert_eq!(
        tally,
        [
            (AttemptStatus::Success, started),
            (AttemptStatus::Skipped, 10 - started)
        ]
        .into()
    );
    world.check_truth(id).await;
    // The place for an active rollout is free at once.
    let again = run(&world.orchestrator(), two_at_once()).await;
    assert_eq!(again.state, RolloutState::Completed);
    let unchanged = world
        .attempts(again.id)
        .await
        .iter()
        .filter(|a| a.reason == Some(Reason::Unchanged))
        .count();
    assert_eq!(unchanged, started);
}

#[tokio::test(start_paused = true)]
async fn a_stopped_worker_finishes_its_hosts_and_another_goes_on() {
    let world = slow().await;
    let (id, mut worker) = begin(&world.orchestrator(), two_at_once()).await;
    world.in_the_midst(id).await;
    let started = 10 - world.count(id, AttemptStatus::Pending).await;
    worker.stop(Duration::from_secs(60));
    let finished = worker.finished().await.unwrap();
    assert_eq!(finished.unfinished, []);
    assert_eq!(finished.record.unwrap().state, RolloutState::Running);
    assert_eq!(world.count(id, AttemptStatus::Success).await, started);
    world.check_all_left().await;
    let record = world.orchestrator().drive(id, who("next")).await.unwrap();
    assert_eq!(record.state, RolloutState::Completed);
    world.check_truth(id).await;
}

#[tokio::test(start_paused = true)]
async fn what_a_leaving_worker_leaves_is_taken_over_at_once() {
    for grace in [None, Some(Duration::from_secs(1))] {
        let world = slow().await;
        let (id, mut worker) = begin(&world.orchestrator(), two_at_once()).await;
        world.in_the_midst(id).await;
        match grace {
            None => worker.abandon(),
            Some(grace) => worker.stop(grace),
        }
        let finished = worker.finished().await.unwrap();
        assert!(!finished.unfinished.is_empty());
        world.check_all_left().await;
        let since = Instant::now();
        let next = Worker::start(&world.orchestrator(), who("next"), WorkMode::One(id))
            .await
            .unwrap();
        until(async || {
            let attempts = world.attempts(id).await;
            attempts.iter().filter(|a| a.takeovers > 0).count() == finished.unfinished.len()
        })
        .await;
        assert!(
            since.elapsed() < Duration::from_secs(2),
            "it waited for the lease"
        );
        let mut next = next;
        assert_eq!(
            next.finished().await.unwrap().record.unwrap().state,
            RolloutState::Completed
        );
        world.check_truth(id).await;
    }
}

#[tokio::test(start_paused = true)]
async fn hosts_in_flight_of_a_dead_worker_are_settled_even_when_paused() {
    let world = slow().await;
    let (process, orchestrator) = world.process();
    let (id, worker) = begin(&orchestrator, two_at_once()).await;
    world.in_the_midst(id).await;
    process.kill();
    drop(worker);
    let other = world.orchestrator();
    other.pause(id, &actor()).await.unwrap();
    assert!(matches!(
        other.standing().await.unwrap(),
        Standing::Paused(_)
    ));
    let pending = world.count(id, AttemptStatus::Pending).await;
    let mut next = Worker::start(&other, who("next"), WorkMode::One(id))
        .await
        .unwrap();
    until(async || world.count(id, AttemptStatus::Updating).await == 0).await;
    sleep(Duration::from_secs(60)).await;
    assert_eq!(world.count(id, AttemptStatus::Pending).await, pending);
    other.resume(id, &actor()).await.unwrap();
    assert_eq!(
        next.finished().await.unwrap().record.unwrap().state,
        RolloutState::Completed
    );
    world.check_truth(id).await;
}
