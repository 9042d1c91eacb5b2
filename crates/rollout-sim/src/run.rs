//! One seed, from its first roll of the dice to the report.

use std::cell::Cell;
use std::sync::Arc;

use crate::course::Course;
use crate::coverage::Coverage;
use crate::dice::Dice;
use crate::schedule::Schedule;
use crate::world::World;

/// How a seed is run.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Whether the wall clock is set where the schedule says so. Whatever else happens must be the same without.
    pub jumps: bool,
    /// A mistake that the product makes in this run.
    #[cfg(feature = "planted")]
    pub planted: Option<fleet_types::Planted>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            jumps: true,
            #[cfg(feature = "planted")]
            planted: None,
        }
    }
}

/// What came of one seed.
#[derive(Clone, Debug)]
pub struct Report {
    /// Which.
    pub seed: u64,
    /// What did not hold, if anything.
    pub violation: Option<String>,
    /// The last part of the trace.
    pub trace: Vec<String>,
    /// Stands for the whole trace.
    pub sum: u64,
    /// Lines in the whole trace.
    pub lines: u64,
    /// How every attempt of every rollout ended, in order.
    pub ends: Vec<String>,
    /// Whether health checks were made, which go by the wall clock.
    pub sweeps: bool,
    /// What it reached.
    pub coverage: Coverage,
}

thread_local! {
    static PANICS: Cell<u64> = const { Cell::new(0) };
}

/// From now on a panic anywhere in the product is counted against the seed that it happens in. Call it once.
pub fn count_panics() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        PANICS.with(|count| count.set(count.get() + 1));
        before(info);
    }));
}

/// Runs one seed.
///
/// # Panics
///
/// When there is no memory for a runtime.
#[must_use]
pub fn run(seed: u64, options: Options) -> Report {
    PANICS.with(|count| count.set(0));
    #[cfg(feature = "planted")]
    fleet_types::plant(options.planted);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime without threads and files is always to be had");
    let report = runtime.block_on(simulate(seed, options));
    // What is left over must not tell of itself any more.
    drop(runtime);
    report
}

async fn simulate(seed: u64, options: Options) -> Report {
    let mut dice = Dice::new(seed);
    let schedule = Schedule::of(&mut dice);
    let world = World::new(dice, schedule);
    world.note(format_args!("seed {seed}: {:?}", world.schedule));
    let whole = async {
        let mut course = Course::new(&world, options.jumps).await;
        course.happen().await;
        course.come_to_its_end().await;
    };
    tokio::select! {
        biased;
        () = world.violated.notified() => {}
        () = whole => {}
    }
    let panics = PANICS.with(Cell::get);
    if panics > 0 {
        world.check(|checker| checker.violate("D3", format!("{panics} panics")));
    }
    let report = report(seed, &world);
    world.forget();
    report
}

fn report(seed: u64, world: &Arc<World>) -> Report {
    let trace = world.trace();
    let mut coverage = world.coverage().clone();
    *coverage.totals.entry("seeds").or_default() += 1;
    *coverage.totals.entry("hosts").or_default() += world.schedule.hosts as u64;
    Report {
        seed,
        violation: world.violation(),
        trace: trace.lines(),
        sum: trace.sum(),
        lines: trace.count(),
        sweeps: world.schedule.sweeps,
        ends: world.check(|checker| checker.ends_of_all()),
        coverage,
    }
}
