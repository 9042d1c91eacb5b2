//! Several processes that die, freeze and lose the store at random, by a seed; whatever happens, every host ends where
//! its release takes it.

use std::time::Duration;

use fleet_types::*;
use rollout_orchestrator::*;
use tokio::time::sleep;
use update_engine::testing::SimRelease;

use crate::process::Process;
use crate::world::*;

/// SplitMix64.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }

    async fn pause(&mut self, most_millis: u64) {
        sleep(Duration::from_millis(self.roll(most_millis))).await;
    }
}

struct Running {
    process: Process,
    worker: Worker,
}

impl Running {
    async fn start(world: &World, id: RolloutId, label: &str) -> Self {
        let (process, orchestrator) = world.process();
        let worker = Worker::start(&orchestrator, who(label), WorkMode::One(id))
            .await
            .unwrap();
        Self { process, worker }
    }
}

const RELEASES: [SimRelease; 4] = [
    SimRelease::Good,
    SimRelease::CrashLoops,
    SimRelease::InstallFails,
    SimRelease::StartFails,
];

fn end(release: SimRelease) -> &'static str {
    match release {
        SimRelease::Good => "success/updated",
        SimRelease::InstallFails => "rolled_back/install_failed",
        SimRelease::StartFails => "rolled_back/restart_failed",
        _ => "rolled_back/crash_loop",
    }
}

/// `freezing`: whether processes also stand still. One that does cannot close its connections, so their number says
/// nothing then.
async fn run_once(seed: u64, freezing: bool) {
    let mut dice = Dice(seed);
    let world = World::new(8).await;
    let releases: Vec<SimRelease> = (1..=8)
        .map(|number| {
            let release = RELEASES[usize::try_from(dice.roll(4)).unwrap()];
            world.breaks(&[number], release);
            release
        })
        .collect();
    for command in ["inspect", "pull", "install", "restart", "rollback_checkout"] {
        world.takes(command, Duration::from_millis(dice.roll(8000)));
    }
    let (process, orchestrator) = world.process();
    let policy = Policy {
        concurrency: 3,
        max_in_flight: 6,
        ..in_one_go()
    };
    let (id, worker) = begin(&orchestrator, policy).await;
    let mut running = vec![Running { process, worker }];
    for round in 0..30 {
        dice.pause(6000).await;
        let label = format!("{seed}-{round}");
        match dice.roll(7) {
            0 | 1 if running.len() < 3 => running.push(Running::start(&world, id, &label).await),
            2 if !running.is_empty() => {
                let victim = usize::try_from(dice.roll(running.len() as u64)).unwrap();
                running.swap_remove(victim).process.kill();
            }
            3 if !running.is_empty() => {
                let victim = usize::try_from(dice.roll(running.len() as u64)).unwrap();
                running.swap_remove(victim).worker.abandon();
            }
            kind if !running.is_empty() => {
                let victim = usize::try_from(dice.roll(running.len() as u64)).unwrap();
                let process = &running[victim].process;
                match kind % 2 {
                    0 if freezing => process.freeze(!process.is_frozen()),
                    _ => process.cut_off(!process.is_cut_off()),
                }
            }
            _ => {}
        }
    }
    for one in &running {
        one.process.cut_off(false);
        one.process.freeze(false);
    }
    world.orchestrator().drive(id, who("last")).await.unwrap();
    for mut one in running {
        one.worker.finished().await.unwrap();
    }
    let expected: Vec<String> = releases
        .iter()
        .enumerate()
        .map(|(at, release)| format!("{} {}", name_of(at + 1), end(*release)))
        .collect();
    assert_eq!(world.outcomes(id).await, expected, "seed {seed}");
    world.check_truth(id).await;
    let takeovers: u32 = world.attempts(id).await.iter().map(|a| a.takeovers).sum();
    assert!(takeovers >= 3, "seed {seed}: not much happened");
    for attempt in world.attempts(id).await {
        let previous = attempt.progress.previous.unwrap().version;
        assert_eq!(
            previous, world.old,
            "seed {seed}: the way back of {}",
            attempt.name
        );
    }
    if !freezing {
        assert!(
            world.network.most_open() <= 3,
            "seed {seed}: {} connections",
            world.network.most_open()
        );
    }
}

#[tokio::test(start_paused = true)]
async fn whatever_dies_or_loses_the_store() {
    for seed in 1..=10 {
        run_once(seed, false).await;
    }
}

#[tokio::test(start_paused = true)]
async fn whatever_freezes_as_well() {
    for seed in 101..=110 {
        run_once(seed, true).await;
    }
}
