//! A short slice of the seeds, as an ordinary test.

use rollout_sim::{Options, count_panics, run};

const SEEDS: u64 = 12;

#[test]
fn nothing_is_violated() {
    count_panics();
    let threads: u64 = 2;
    std::thread::scope(|scope| {
        for first in 0..threads {
            scope.spawn(move || {
                for seed in (first..SEEDS).step_by(2) {
                    let report = run(seed, Options::default());
                    assert_eq!(
                        report.violation,
                        None,
                        "again: cargo xtask sim --seed {seed}\n{}",
                        report.trace.join("\n")
                    );
                }
            });
        }
    });
}

#[test]
fn another_seed_is_another_run() {
    let one = run(1, Options::default());
    let other = run(2, Options::default());
    assert_ne!(one.sum, other.sum);
}

#[test]
fn a_seed_is_the_same_run_to_the_last_line() {
    for seed in 100..106 {
        let (one, again) = (run(seed, Options::default()), run(seed, Options::default()));
        for (first, second) in one.trace.iter().zip(&again.trace) {
            assert_eq!(first, second, "seed {seed}");
        }
        assert_eq!(
            (one.sum, one.lines),
            (again.sum, again.lines),
            "seed {seed}"
        );
    }
}

/// The checker still sees what it saw: mistakes that few seeds are needed for are found. `cargo xtask sim --planted` tries all.
#[cfg(feature = "planted")]
#[test]
fn mistakes_that_are_planted_are_found() {
    use fleet_types::Planted;
    let mistakes = [
        Planted::NoHostLock,
        Planted::IntentAfterSend,
        Planted::PreviousReread,
        Planted::FailedNotCounted,
        Planted::GateAtThreshold,
        Planted::StageClosedEarly,
        Planted::NoMarker,
        Planted::OneSlotMore,
        Planted::NoProof,
        Planted::NobodyTakesOver,
        Planted::TakenFromTheLiving,
        Planted::RolledBackNotCounted,
        Planted::GateRoundsUp,
        Planted::StageSizeRounded,
        Planted::EndNotTold,
        Planted::SlotKept,
        Planted::RollbackWithoutCheckout,
        Planted::RollbackWithoutInstall,
        Planted::OpenHostsLeft,
        Planted::TakeoverKeepsEpoch,
        Planted::SlowHostsAwaited,
    ];
    for mistake in mistakes {
        let options = Options {
            planted: Some(mistake),
            ..Options::default()
        };
        let found = (0..60).find(|seed| run(*seed, options).violation.is_some());
        let seed = found.unwrap_or_else(|| panic!("nothing sees {mistake:?}"));
        if mistake == Planted::SlowHostsAwaited {
            let by = run(seed, options).violation.unwrap_or_default();
            assert!(by.starts_with("L6"), "{by}");
        }
        let without = run(seed, Options::default()).violation;
        assert_eq!(without, None, "seed {seed} fails without {mistake:?}");
    }
}
