//! A process dies at every single point of a rollout, and another one finishes.

use std::collections::BTreeMap;
use std::time::Duration;

use fleet_store::StoreError;
use fleet_types::*;
use rollout_orchestrator::*;
use update_engine::testing::SimRelease;

use crate::process::{Cut, Death, Process};
use crate::world::*;

/// One host of each kind: good, restarts for ever, cannot install, is on the target already.
async fn mixed() -> World {
    let world = World::new(4).await;
    world.breaks(&[2], SimRelease::CrashLoops);
    world.breaks(&[3], SimRelease::InstallFails);
    let new = world.new.clone();
    world.fleet.change(&name_of(4), |host| {
        for part in [&mut host.tree, &mut host.installed, &mut host.running] {
            *part = Some(new.clone());
        }
        host.head = new;
    });
    world.takes("install", Duration::from_secs(2));
    world
}

fn two_at_once() -> Policy {
    Policy {
        concurrency: 2,
        max_in_flight: 3,
        settle: Duration::from_secs(1),
        ..in_one_go()
    }
}

/// How each host ends, whatever dies on the way: our own deaths never make a host bad.
const ENDS: [&str; 4] = [
    "web-01 success/updated",
    "web-02 rolled_back/crash_loop",
    "web-03 rolled_back/install_failed",
    "web-04 success/unchanged",
];

/// Works until its process dies or the rollout is over. True when it died.
async fn works_until_death(world: &World, process: &Process, mut worker: Worker) -> bool {
    tokio::select! {
        finished = worker.finished() => {
            assert!(finished.is_ok(), "{finished:?}");
            return false;
        }
        () = process.died() => {}
    }
    // As if the next one came after the lease: most of the time of these tests would be spent waiting for it.
    drop(worker);
    world.freeze(Duration::from_secs(36));
    true
}

async fn check_end(world: &World, id: RolloutId, what: &str) {
    let record = world.record(id).await;
    assert_eq!(record.state, RolloutState::CompletedWithFailures, "{what}");
    assert_eq!(world.outcomes(id).await, ENDS, "{what}");
    world.check_truth(id).await;
    for attempt in world.attempts(id).await {
        let previous = attempt.progress.previous.map(|previous| previous.version);
        let expected = (attempt.name.as_str() != "web-04").then(|| world.old.clone());
        assert_eq!(
            previous, expected,
            "{what}: the way back of {}",
            attempt.name
        );
        assert!(!attempt.needs_attention, "{what}: {}", attempt.name);
    }
    assert!(
        world.network.most_open() <= 2,
        "{what}: {} connections",
        world.network.most_open()
    );
}

/// The first process dies at `first`, the second at `second`, the third finishes.
async fn die_and_finish(first: Death, second: Option<Death>) -> bool {
    let what = format!("{first:?}, {second:?}");
    let world = mixed().await;
    let (process, orchestrator) = world.process();
    process.dies(first);
    let (id, worker) = begin(&orchestrator, two_at_once()).await;
    let mut died = works_until_death(&world, &process, worker).await;
    if let Some(second) = second.filter(|_| died) {
        let (process, orchestrator) = world.process();
        process.dies(second);
        let worker = Worker::start(&orchestrator, who("second"), WorkMode::One(id))
            .await
            .unwrap();
        died = works_until_death(&world, &process, worker).await;
    }
    world.orchestrator().drive(id, who("last")).await.unwrap();
    check_end(&world, id, &what).await;
    died
}

#[tokio::test(start_paused = true)]
async fn at_every_point_of_the_journal_and_of_every_command() {
    type Point = fn(usize) -> Death;
    let kinds: [(&str, Point); 4] = [
        ("before record", Death::BeforeRecord),
        ("after record", Death::AfterRecord),
        ("before command", Death::BeforeCommand),
        ("after command", Death::AfterCommand),
    ];
    let mut points = BTreeMap::new();
    for (kind, death) in kinds {
        let mut point = 1;
        while die_and_finish(death(point), None).await {
            point += 1;
        }
        points.insert(kind, point - 1);
    }
    // Fewer would mean that the loop ended early: 4 hosts, two of them through a rollback.
    assert!(points["before record"] >= 60, "{points:?}");
    assert!(points["before command"] >= 20, "{points:?}");
}

#[tokio::test(start_paused = true)]
async fn and_whoever_takes_over_dies_as_well() {
    for first in (1..60).step_by(9) {
        for second in (1..40).step_by(7) {
            die_and_finish(Death::AfterRecord(first), Some(Death::BeforeRecord(second))).await;
            die_and_finish(
                Death::AfterCommand(first / 2),
                Some(Death::AfterCommand(second / 2)),
            )
            .await;
        }
    }
}

/// One host that is updated and one that is taken back, with the connection to the database cut at one call.
async fn cut_and_finish(cut: Cut) -> usize {
    let what = format!("{cut:?}");
    let world = World::new(2).await;
    world.breaks(&[2], SimRelease::CrashLoops);
    let (process, orchestrator) = world.process();
    let plan = orchestrator.plan(&all(two_at_once())).await.unwrap();
    let me = who("test");
    let id = orchestrator.trigger(&plan, Some(me.clone())).await.unwrap();
    let before = process.store_calls();
    process.is_cut(match cut {
        Cut::Before(number) => Cut::Before(before + number),
        Cut::After(number) => Cut::After(before + number),
    });
    let mut worker = Worker::start_registered(&orchestrator, me, WorkMode::One(id)).await;
    while let Err(error) = worker {
        assert!(
            matches!(error, StoreError::Unavailable { .. }),
            "{what}: {error}"
        );
        worker = Worker::start(&orchestrator, who("again"), WorkMode::One(id)).await;
    }
    let record = worker.unwrap().finished().await.unwrap().record.unwrap();
    assert_eq!(record.state, RolloutState::CompletedWithFailures, "{what}");
    assert_eq!(world.outcomes(id).await, ENDS[..2], "{what}");
    world.check_truth(id).await;
    assert!(world.network.most_open() <= 2, "{what}");
    process.store_calls() - before
}

#[tokio::test(start_paused = true)]
async fn with_the_database_cut_off_at_every_call() {
    for cut in [Cut::Before, Cut::After] {
        let mut number = 1;
        while cut_and_finish(cut(number)).await >= number {
            number += 1;
        }
        assert!(number > 100, "the loop ended early: {number}");
    }
}
