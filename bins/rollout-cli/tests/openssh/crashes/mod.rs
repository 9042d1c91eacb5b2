//! Every step of an attempt, every moment of it, every fault: the program comes to an end that is right by what the
//! hosts say themselves, and nothing is ever done twice at once.
//!
//! An eighth of the cells is tried by default, another one each day. `ROLLOUT_TEST_CRASHES` says which: `all`, `3/8`, or
//! words that the names of cells have, with commas between one choice and another; `ROLLOUT_TEST_CRASH_JOBS` how many are tried at once.

mod cell;
mod ground;
mod proof;
mod server;
mod two;

use std::collections::{BTreeMap, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use fleet_testkit::is_left_out;

use cell::{Cell, Database, Way};
use ground::Ground;

/// Into how many slices the cells are cut.
const SLICES: usize = 8;
/// Cells at once: most of the time of each is waiting.
const JOBS: usize = 6;

/// What came of a cell.
#[derive(Debug)]
struct Result {
    cell: Cell,
    took: Duration,
    wrong: Vec<String>,
}

#[test]
fn no_crash_point_loses_a_host() {
    if is_left_out("sshd") {
        return;
    }
    let mut chosen = chosen(&std::env::var("ROLLOUT_TEST_CRASHES").unwrap_or_default());
    if is_left_out("postgres") {
        chosen.retain(|cell| cell.database != Database::Postgres);
    }
    assert!(!chosen.is_empty(), "no such cells");
    let jobs = std::env::var("ROLLOUT_TEST_CRASH_JOBS").ok();
    let jobs = jobs.and_then(|text| text.parse().ok()).unwrap_or(JOBS);
    let since = Instant::now();
    let results = try_all(chosen, jobs);
    print(&results, since.elapsed());
    let wrong: Vec<_> = results
        .iter()
        .filter(|result| !result.wrong.is_empty())
        .map(|result| format!("{}: {:#?}", result.cell, result.wrong))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The cells that are asked for.
fn chosen(wish: &str) -> Vec<Cell> {
    let all = Cell::all();
    let slice = |number: usize| -> Vec<Cell> {
        let cells = all.iter().copied().enumerate();
        cells
            .filter(|(index, _)| index % SLICES == number % SLICES)
            .map(|(_, cell)| cell)
            .collect()
    };
    let of_slices = format!("/{SLICES}");
    match wish {
        "" => slice(usize::try_from(days()).unwrap()),
        "all" => all,
        _ => match wish.strip_suffix(&of_slices).map(str::parse) {
            Some(number) => slice(number.expect("the number of a slice")),
            None => {
                let has_all = |name: &str, words: &str| {
                    words
                        .split_whitespace()
                        .all(|word| name.split(' ').any(|part| part == word))
                };
                all.into_iter()
                    .filter(|cell| {
                        let name = cell.to_string();
                        wish.split(',').any(|words| has_all(&name, words))
                    })
                    .collect()
            }
        },
    }
}

/// Since 1970.
fn days() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    now.as_secs() / (24 * 60 * 60)
}

/// Tries them, so many side by side.
fn try_all(cells: Vec<Cell>, jobs: usize) -> Vec<Result> {
    let mut left = cells;
    left.reverse();
    let left = Mutex::new(left);
    let results = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                let mut grounds = HashMap::new();
                loop {
                    let next = left.lock().unwrap().pop();
                    let Some(cell) = next else { return };
                    let result = try_one(&mut grounds, cell);
                    tell(&result);
                    results.lock().unwrap().push(result);
                }
            });
        }
    });
    results.into_inner().unwrap()
}

/// Tries one. Where something went wrong, the next one does not begin.
fn try_one(grounds: &mut HashMap<Database, Ground>, cell: Cell) -> Result {
    let since = Instant::now();
    let here = grounds.remove(&cell.database);
    let tried = catch_unwind(AssertUnwindSafe(|| {
        let mut here = here.unwrap_or_else(|| Ground::new(cell.database));
        (here.try_cell(cell), here)
    }));
    let wrong = match tried {
        Ok((wrong, here)) => {
            if wrong.is_empty() {
                grounds.insert(cell.database, here);
            }
            wrong
        }
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            vec![text.unwrap_or_else(|| "the test failed".to_owned())]
        }
    };
    Result {
        cell,
        took: since.elapsed(),
        wrong,
    }
}

/// One line, for whoever waits for hundreds of them.
#[expect(clippy::print_stdout, reason = "progress is for whoever runs it")]
fn tell(result: &Result) {
    let took = result.took.as_secs_f64();
    match result.wrong.as_slice() {
        [] => println!("ok {} ({took:.1} s)", result.cell),
        wrong => println!("VIOLATED {} ({took:.1} s): {wrong:#?}", result.cell),
    }
}

/// The table: how many cells of each kind went well.
#[expect(clippy::print_stdout, reason = "the table is for whoever runs it")]
fn print(results: &[Result], took: Duration) {
    let mut rows: BTreeMap<String, (usize, usize, Duration)> = BTreeMap::new();
    for result in results {
        let Cell {
            database, fault, ..
        } = result.cell;
        let way = match result.cell.way() {
            _ if result.cell.is_of_store() => "rollout",
            Way::Forward => "forward",
            _ => "back",
        };
        let row = rows.entry(format!("| {database} | {fault} | {way} |"));
        let row = row.or_default();
        row.0 += 1;
        row.1 += usize::from(!result.wrong.is_empty());
        row.2 = row.2.max(result.took);
    }
    println!(
        "| database | fault | way | cells | violated | longest |\n|---|---|---|---:|---:|---:|"
    );
    for (row, (cells, wrong, longest)) in rows {
        println!("{row} {cells} | {wrong} | {:.1} s |", longest.as_secs_f64());
    }
    println!("{} cells in {:.0} s", results.len(), took.as_secs_f64());
}
