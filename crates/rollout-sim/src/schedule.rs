//! What a seed stands for, before anything runs.

use std::time::Duration;

use fleet_types::Policy;
use update_engine::testing::SimRelease;

use crate::coverage::PLACES;
use crate::dice::Dice;

/// How often things go wrong, in ten thousand.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rates {
    /// A process dies, at each of its calls and commands.
    pub(crate) death: u64,
    /// It stands still for a while there.
    pub(crate) freeze: u64,
    /// A call of the store never arrives.
    pub(crate) store_before: u64,
    /// It takes effect, but the answer is lost.
    pub(crate) store_after: u64,
    /// A connection is not made.
    pub(crate) connect: u64,
    /// The connection is lost around a command.
    pub(crate) network: u64,
    /// The host does a command badly.
    pub(crate) host: u64,
}

impl Rates {
    pub(crate) fn often(self) -> Self {
        Self {
            death: self.death + 500,
            freeze: self.freeze + 500,
            store_before: self.store_before + 500,
            store_after: self.store_after + 500,
            connect: self.connect,
            network: self.network + 2000,
            host: self.host + 2500,
        }
    }
}

/// The course of one seed.
#[derive(Clone, Debug)]
pub(crate) struct Schedule {
    pub(crate) hosts: usize,
    /// Hosts that share a machine with the one before them, in a hundred.
    pub(crate) twins: u64,
    pub(crate) concurrency: u32,
    pub(crate) policy: Policy,
    pub(crate) processes: u64,
    /// How often a worker looks around.
    pub(crate) poll: Duration,
    pub(crate) sweeps: bool,
    pub(crate) rates: Rates,
    /// Where it goes wrong more often than elsewhere, so that all places have their seeds.
    pub(crate) focus: Option<&'static str>,
    /// Longest network delay of one message, in milliseconds.
    pub(crate) latency: u64,
    /// Longest time that a command takes, in milliseconds.
    pub(crate) slow: u64,
    /// How many things happen from outside, and how far apart at most, in milliseconds.
    pub(crate) happenings: u64,
    pub(crate) apart: u64,
    /// Commits that are no good, in a hundred.
    pub(crate) bad: u64,
    /// Hosts on which a good commit is no good all the same, in a hundred.
    pub(crate) odd: u64,
    /// Whether people interfere with hosts and rollouts, beside starting rollouts.
    pub(crate) people: bool,
    pub(crate) jumps: bool,
}

pub(crate) const RELEASES: [SimRelease; 5] = [
    SimRelease::InstallFails,
    SimRelease::StartFails,
    SimRelease::CrashLoops,
    SimRelease::Dies,
    SimRelease::VerifyFails,
];

impl Schedule {
    pub(crate) fn of(dice: &mut Dice) -> Self {
        let hosts = match dice.below(1000) {
            0..10 => 0,
            10..610 => dice.between(1, 4),
            610..910 => dice.between(5, 8),
            910..980 => dice.between(9, 12),
            980..998 => dice.between(13, 40),
            _ => dice.between(41, 200),
        };
        // Some seeds have one kind of trouble alone, and so reach far into it; some have all.
        let level = |dice: &mut Dice, most: u64| match dice.below(3) {
            0 => 0,
            1 => dice.below(most / 4 + 1),
            _ => dice.below(most + 1),
        };
        let rates = Rates {
            death: level(dice, 60),
            freeze: level(dice, 60),
            store_before: level(dice, 200),
            store_after: level(dice, 200),
            connect: level(dice, 800),
            network: level(dice, 600),
            host: level(dice, 600),
        };
        let focus = focus(dice);
        let concurrency = u32::try_from(dice.between(1, 5)).unwrap_or(1);
        Self {
            hosts: usize::try_from(hosts).unwrap_or(0),
            twins: if dice.below(4) == 0 { 40 } else { 0 },
            concurrency,
            policy: policy(dice, concurrency),
            processes: dice.between(1, 3),
            poll: Duration::from_millis(poll(dice)),
            sweeps: dice.below(3) == 0,
            rates,
            focus,
            latency: dice.pick(&[5, 200, 1500]).unwrap_or(5),
            slow: dice.pick(&[10, 10, 3000, 3000, 20_000]).unwrap_or(10),
            happenings: dice.below(40),
            apart: dice.pick(&[2000, 10_000, 40_000]).unwrap_or(2000),
            bad: match focus {
                // It takes a bad release to get there.
                Some(place) if place.starts_with("rollback") => 60,
                _ => dice.pick(&[0, 20, 60]).unwrap_or(0),
            },
            odd: dice.pick(&[0, 0, 10, 30, 50]).unwrap_or(0),
            people: dice.below(2) == 0,
            jumps: dice.below(3) == 0,
        }
    }
}

/// Mostly slower than it is shipped: what polling finds is found all the same, and most of the time goes into looking.
fn poll(dice: &mut Dice) -> u64 {
    match dice.below(25) {
        0 => 200,
        _ => dice.pick(&[2000, 5000, 10_000, 20_000]).unwrap_or(5000),
    }
}

/// Where a seed dwells, if anywhere: mostly on a step of an update.
fn focus(dice: &mut Dice) -> Option<&'static str> {
    match dice.below(8) {
        0 | 1 => None,
        2..6 => dice.pick(&PLACES[..9]),
        _ => dice.pick(&PLACES),
    }
}

fn policy(dice: &mut Dice, concurrency: u32) -> Policy {
    let stages = ["10,50,100", "10,50,100", "100", "50,100", "1,2,3,100"];
    let valid = "these are valid";
    Policy {
        stages: dice
            .pick(&stages)
            .and_then(|text| text.parse().ok())
            .expect(valid),
        max_failure_percent: dice
            .pick(&["30", "30", "0", "50", "100"])
            .and_then(|text| text.parse().ok())
            .expect(valid),
        concurrency,
        max_in_flight: u32::try_from(dice.between(1, u64::from(concurrency) * 4)).unwrap_or(1),
        settle: Duration::from_secs(dice.pick(&[0, 5, 5, 20]).unwrap_or(5)),
        ..Policy::default()
    }
}
