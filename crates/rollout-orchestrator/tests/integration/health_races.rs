//! Updates and sweeps in a thousand orders, with services that stop at any moment.

use std::time::Duration;

use fleet_store::{AttemptRecord, Feed, RestartLimit};
use fleet_types::*;
use rollout_orchestrator::*;
use tokio::time::{Instant, sleep};
use update_engine::testing::SimCommand;

use crate::health::{stop, sweeping};
use crate::world::*;

const HOSTS: usize = 3;
/// More than any of these updates takes.
const PATIENCE: Duration = Duration::from_secs(600);

/// Numbers from a seed (splitmix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }

    fn millis(&mut self, limit: u64) -> Duration {
        Duration::from_millis(self.below(limit))
    }
}

/// Restarts by the checker before and after the update. Fails for one between its first and its last command.
fn outside_of_the_update(received: &[SimCommand], what: &str) -> usize {
    let of_update =
        |command: &SimCommand| !command.name.starts_with("health_") && command.name != "resolve";
    let first = received.iter().position(of_update).unwrap();
    let last = received.iter().rposition(of_update).unwrap();
    let ran = |command: &&SimCommand| command.name == "health_restart" && command.ran;
    let within = received[first..=last].iter().filter(ran).count();
    assert_eq!(
        within, 0,
        "{what}: restarted by the checker while updating: {received:?}"
    );
    received.iter().filter(ran).count()
}

/// Commands under the lock ran in the order of their epochs.
fn in_order(received: &[SimCommand], what: &str) {
    let ran = received.iter().filter(|command| command.ran);
    let epochs: Vec<i64> = ran.filter_map(|command| command.epoch).collect();
    assert!(
        epochs.is_sorted(),
        "{what}: an older epoch was let in: {epochs:?}"
    );
}

/// Nobody was given the host to look at while the update had it, and nothing that was seen was written about it.
fn left_alone(turns: &[(HostId, Timestamp)], told: &[Event], attempt: &AttemptRecord, what: &str) {
    let (Some(from), Some(to)) = (attempt.started_at, attempt.finished_at) else {
        panic!("{what}: without a beginning or an end");
    };
    let within = |at: Timestamp| from.0 < at.0 && at.0 < to.0;
    let turn = turns
        .iter()
        .find(|(host, at)| *host == attempt.host && within(*at));
    assert_eq!(turn, None, "{what}: handed out, updating {from:?}-{to:?}");
    let word = told.iter().find(|event| {
        let about = event.host.as_deref() == Some(attempt.name.as_str());
        event.kind == EventKind::HostHealth && about && within(event.at)
    });
    assert_eq!(
        word, None,
        "{what}: written about, updating {from:?}-{to:?}"
    );
}

async fn one(seed: u64) -> usize {
    let mut dice = Dice(seed);
    let world = World::new(HOSTS).await;
    for command in [
        "health_probe",
        "health_restart",
        "inspect",
        "pull",
        "install",
        "restart",
        "verify",
    ] {
        world.takes(command, dice.millis(1500));
    }
    let settings = SweepSettings {
        every: Duration::from_millis(200 + dice.below(1500)),
        limit: RestartLimit {
            restarts: 100,
            ..RestartLimit::default()
        },
        settle: dice.millis(1000),
        quiet: Duration::ZERO,
        ..SweepSettings::default()
    };
    let (process, orchestrator, mut worker, sweeper) = sweeping(&world, settings).await;
    let sweep = tokio::spawn(async move { sweeper.run().await });
    stop(&world, 1 + usize::try_from(dice.below(3)).unwrap());
    sleep(dice.millis(4000)).await;
    let policy = Policy {
        settle: dice.millis(3000),
        ..in_one_go()
    };
    let plan = orchestrator.plan(&all(policy)).await.unwrap();
    let id = orchestrator.trigger(&plan, None).await.unwrap();
    let mut over = false;
    let begun = Instant::now();
    while !over {
        assert!(begun.elapsed() < PATIENCE, "seed {seed}: it does not end");
        sleep(dice.millis(1500)).await;
        stop(&world, 1 + usize::try_from(dice.below(3)).unwrap());
        over = !world.record(id).await.state.is_active();
    }
    sleep(Duration::from_secs(8)).await;
    worker.stop(Duration::from_secs(5));
    worker.finished().await.unwrap();
    sweep.await.unwrap();
    world.check_all_left().await;
    let mut restarts = 0;
    for name in world.names() {
        let what = format!("seed {seed}, {name}");
        let received = world.fleet.host(&name).unwrap().received;
        in_order(&received, &what);
        restarts += outside_of_the_update(&received, &what);
    }
    let told = world
        .store
        .events_after(Seq(0), None, 10_000)
        .await
        .unwrap();
    for attempt in world.attempts(id).await {
        let what = format!("seed {seed}, {}", attempt.name);
        assert!(attempt.status.is_settled(), "{what}");
        left_alone(&process.turns(), &told, &attempt, &what);
    }
    let wrong = world.store.consistency_check().await.unwrap();
    assert!(wrong.is_empty(), "seed {seed}: {wrong:?}");
    restarts
}

/// A quarter of the thousand orders; four tests, so that they run beside each other.
async fn quarter(number: u64) {
    let mut restarts = 0;
    for seed in number * 250..(number + 1) * 250 {
        restarts += one(seed).await;
    }
    // Otherwise nothing was put to the test.
    assert!(restarts > 250, "only {restarts} restarts");
}

#[tokio::test(start_paused = true)]
async fn a_thousand_orders_of_update_and_sweep_1() {
    quarter(0).await;
}

#[tokio::test(start_paused = true)]
async fn a_thousand_orders_of_update_and_sweep_2() {
    quarter(1).await;
}

#[tokio::test(start_paused = true)]
async fn a_thousand_orders_of_update_and_sweep_3() {
    quarter(2).await;
}

#[tokio::test(start_paused = true)]
async fn a_thousand_orders_of_update_and_sweep_4() {
    quarter(3).await;
}
