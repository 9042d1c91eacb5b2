//! Many seeds on all cores: progress, what was reached, and the seeds that failed.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rollout_sim::{Coverage, Options, Report, run};

use crate::arguments::Arguments;

/// From so many seeds on, so many of the cells may be unmet: not one where seeds are many, a few in the seeds of a day.
const MAY_BE_UNMET: [(u64, usize); 2] = [(10_000, 0), (2_000, 12)];

/// So many failing seeds are shown with their traces; after them it is not gone on.
const ENOUGH: usize = 5;

#[derive(Default)]
struct Found {
    coverage: Coverage,
    failed: Vec<Report>,
    done: u64,
    lines: u64,
    compared: u64,
}

pub(crate) fn all(arguments: &Arguments) -> bool {
    let (next, enough) = (AtomicU64::new(0), AtomicBool::new(false));
    let found = Mutex::new(Found::default());
    let began = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..arguments.threads {
            scope.spawn(|| work(arguments, &next, &enough, &found));
        }
        scope.spawn(|| tell(arguments, began, &enough, &found));
    });
    let found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    for report in &found.failed {
        show_trace(report, arguments.lines);
        println!(
            "seed {}: VIOLATED {}\n  again: cargo xtask sim --seed {}",
            report.seed,
            report.violation.as_deref().unwrap_or_default(),
            report.seed
        );
    }
    summary(&found, began.elapsed());
    let reached = all_reached(&found);
    found.failed.is_empty() && reached
}

fn work(arguments: &Arguments, next: &AtomicU64, enough: &AtomicBool, found: &Mutex<Found>) {
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= arguments.seeds || enough.load(Ordering::Relaxed) {
            return;
        }
        let seed = arguments.from + number;
        let mut report = run(seed, arguments.options());
        let twice = arguments.twice > 0 && number.is_multiple_of(arguments.twice);
        if twice && report.violation.is_none() {
            let options = arguments.options();
            report.violation =
                differs(&report, options).or_else(|| differs_without_jumps(&report, options));
        }
        let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
        found.done += 1;
        found.lines += report.lines;
        found.compared += u64::from(twice);
        found.coverage.merge(&report.coverage);
        if let Some(violation) = &report.violation {
            eprintln!("seed {seed}: VIOLATED {violation}");
            found.failed.push(report);
            enough.fetch_or(found.failed.len() >= ENOUGH, Ordering::Relaxed);
        }
    }
}

/// Runs the seed once more: everything must be the same.
fn differs(first: &Report, options: Options) -> Option<String> {
    let second = run(first.seed, options);
    if (first.sum, first.lines) == (second.sum, second.lines) {
        return None;
    }
    let at = first
        .trace
        .iter()
        .zip(&second.trace)
        .find(|(one, other)| one != other);
    Some(format!(
        "S1: two runs differ, {} and {} lines, first at {at:?}",
        first.lines, second.lines
    ))
}

/// Runs the seed without the jumps of the wall clock: everything must end the same.
fn differs_without_jumps(first: &Report, options: Options) -> Option<String> {
    let jumped = "the wall clock is set";
    // When a health check is due is a matter of the wall clock, and whatever follows from it too.
    if first.sweeps || !first.coverage.happenings.contains_key(jumped) {
        return None;
    }
    let options = Options {
        jumps: false,
        ..options
    };
    let second = run(first.seed, options);
    let at = first.ends.iter().zip(&second.ends).find(|(a, b)| a != b);
    let same = at.is_none() && first.ends.len() == second.ends.len();
    (!same).then(|| format!("I23: without jumps of the wall clock it ends otherwise: {at:?}"))
}

fn tell(arguments: &Arguments, began: Instant, enough: &AtomicBool, found: &Mutex<Found>) {
    let mut last = Instant::now();
    loop {
        std::thread::sleep(Duration::from_millis(100));
        let (done, failed) = {
            let found = found.lock().unwrap_or_else(PoisonError::into_inner);
            (found.done, found.failed.len())
        };
        if done >= arguments.seeds || enough.load(Ordering::Relaxed) {
            return;
        }
        if last.elapsed() >= Duration::from_secs(5) {
            last = Instant::now();
            let per_second = done as f64 / began.elapsed().as_secs_f64();
            eprintln!(
                "{done} of {} seeds, {per_second:.1} a second, {failed} failed",
                arguments.seeds
            );
        }
    }
}

pub(crate) fn show_trace(report: &Report, lines: usize) {
    let from = report.trace.len().saturating_sub(lines);
    for line in &report.trace[from..] {
        println!("{line}");
    }
}

fn summary(found: &Found, took: Duration) {
    let coverage = &found.coverage;
    println!("how attempts ended:");
    for (what, count) in &coverage.reasons {
        println!("  {count:>9}  {what}");
    }
    println!("how rollouts ended:");
    for (what, count) in &coverage.states {
        println!("  {count:>9}  {what}");
    }
    println!("what happened:");
    for (what, count) in coverage.happenings.iter().chain(&coverage.totals) {
        println!("  {count:>9}  {what}");
    }
    println!(
        "{} seeds, {} lines of trace, {} run twice and the same, {:.1} s, {} violated",
        found.done,
        found.lines,
        found.compared,
        took.as_secs_f64(),
        found.failed.len()
    );
}

/// Every fault has met every step in every state in which it can, as far as can be asked of so many seeds.
fn all_reached(found: &Found) -> bool {
    let cells = Coverage::cells();
    let count = |cell| found.coverage.faults.get(cell).copied().unwrap_or_default();
    let mut counts: Vec<u64> = cells.iter().map(count).collect();
    counts.sort_unstable();
    let unmet: Vec<_> = cells.iter().filter(|cell| count(cell) == 0).collect();
    let allowed = MAY_BE_UNMET
        .into_iter()
        .find(|(seeds, _)| found.done >= *seeds)
        .map(|(_, allowed)| allowed);
    let enough = allowed.is_none_or(|allowed| unmet.len() <= allowed);
    if allowed.is_some() {
        for (fault, step, state) in &unmet {
            println!("never: {fault}, {step}, {state}");
        }
    }
    println!(
        "{} of {} cells (fault x step x state) reached{}; least {}, median {}",
        cells.len() - unmet.len(),
        cells.len(),
        if enough { "" } else { ", too few" },
        counts.first().copied().unwrap_or_default(),
        counts.get(counts.len() / 2).copied().unwrap_or_default(),
    );
    enough
}
