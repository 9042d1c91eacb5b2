//! Mistakes that are planted in the product: each has to be found.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};

use fleet_types::Planted;
use rollout_sim::{Options, run};

use crate::arguments::Arguments;

/// Behind this rule stands another one that holds without it: nothing is broken when it alone is taken out. That it is
/// found all the same is no fault.
const DOUBLY_HELD: [Planted; 1] = [Planted::LostLeaseGoesOn];

struct Caught {
    mistake: Planted,
    /// After how many seeds, and by what.
    after: Option<(u64, String)>,
}

/// Plants each mistake in turn and runs seeds until it is found. Says whether all were.
pub(crate) fn all(arguments: &Arguments) -> bool {
    println!("| mistake                  |  seeds | found by");
    let next = AtomicUsize::new(0);
    let caught = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..arguments.threads {
            scope.spawn(|| {
                while let Some(mistake) = Planted::ALL.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let one = until_caught(*mistake, arguments);
                    show(&one);
                    let mut caught = caught.lock().unwrap_or_else(PoisonError::into_inner);
                    caught.push(one);
                }
            });
        }
    });
    let caught = caught.into_inner().unwrap_or_else(PoisonError::into_inner);
    let found = caught.iter().filter(|one| one.after.is_some()).count();
    let missed = caught
        .iter()
        .filter(|one| one.after.is_none() && !DOUBLY_HELD.contains(&one.mistake))
        .count();
    println!("{found} of {} planted mistakes were found", caught.len());
    missed == 0
}

fn until_caught(mistake: Planted, arguments: &Arguments) -> Caught {
    let options = Options {
        planted: Some(mistake),
        ..Options::default()
    };
    let mut seeds = arguments.from..arguments.from.saturating_add(arguments.seeds);
    let after = seeds.find_map(|seed| {
        let violation = run(seed, options).violation?;
        // A seed that finds a fault without the mistake says nothing about it.
        if run(seed, Options::default()).violation.is_some() {
            return None;
        }
        Some((seed - arguments.from + 1, violation))
    });
    Caught { mistake, after }
}

fn show(caught: &Caught) {
    let name = format!("{:?}", caught.mistake);
    match &caught.after {
        Some((seeds, by)) => {
            let by: String = by.chars().take(100).collect();
            println!("| {name:<24} | {seeds:>6} | {by}");
        }
        None if DOUBLY_HELD.contains(&caught.mistake) => {
            println!("| {name:<24} |      - | nothing broken: another rule holds");
        }
        None => println!("| {name:<24} |  never |"),
    }
}
