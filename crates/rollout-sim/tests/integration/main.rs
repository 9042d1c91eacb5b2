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
