//! Real servers, a real PostgreSQL and real OpenSSH servers, and somebody who means them ill for as long as one likes:
//! rollouts are started again and again while processes, hosts and the database are killed, stopped and cut off.
//!
//! `cargo xtask soak --minutes N` runs the long form. What came of it is read from the hosts.

mod checks;
mod evil;
mod rollouts;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use fleet_testkit::{Postgres, PostgresOptions, is_left_out};

use self::checks::Watcher;
use self::evil::World;
use self::rollouts::Caller;
use crate::support::{Base, Site};

/// Short leases, so that many faults have their whole effect in little time.
const SETTINGS: &str =
    "[lease]\nlease = 6\nrenew = 1\nfence = 3\nslot_grace = 1\n[app.timeouts]\nconnect = 5\n";

/// Numbers that look random and are the same for the same seed.
#[derive(Clone, Debug)]
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// One of `0..sides`.
    fn roll(&mut self, sides: u64) -> u64 {
        self.next() % sides
    }

    /// So many milliseconds, from and below.
    fn millis(&mut self, from: u64, below: u64) -> Duration {
        Duration::from_millis(from + self.roll(below - from))
    }
}

/// What was done and what came of it, as all parts of the run write it.
#[derive(Debug, Default)]
struct Book {
    /// Milliseconds of the wall clock, and what was done to whom.
    faults: Vec<(i64, &'static str)>,
    /// Hosts that were cut off.
    cuts: Vec<Cut>,
    violations: Vec<String>,
    takeovers: Vec<Duration>,
    ended: Vec<String>,
    /// Rollouts of good releases that brought all hosts there.
    completed: usize,
    /// Hosts whose state nobody could prove, as the program told; each was a rollout's failure.
    unproven: usize,
    /// How many commands that change a host were looked at.
    changes: usize,
}

/// A time in which a host could not be reached, in milliseconds of the wall clock.
#[derive(Clone, Debug)]
struct Cut {
    host: String,
    from: i64,
    /// None while it lasts.
    until: Option<i64>,
}

impl Book {
    /// How often a host was cut off in this time.
    fn cuts(&self, host: &str, from: i64, until: i64) -> usize {
        let meets = |cut: &&Cut| {
            let ends = cut.until.unwrap_or(i64::MAX);
            cut.host == host && cut.from <= until && from <= ends
        };
        self.cuts.iter().filter(meets).count()
    }

    /// What this run was to show and has not shown.
    fn missing(&self) -> Vec<&'static str> {
        let mut missing = Vec::new();
        for (shown, why) in [
            (!self.ended.is_empty(), "no rollout came to its end"),
            // The faults come and go; not every rollout of a good release may end with failures.
            (
                self.completed > 0,
                "no rollout of a good release was completed",
            ),
            (self.changes > 0, "no host says that anything changed it"),
        ] {
            if !shown {
                missing.push(why);
            }
        }
        missing
    }
}

type Shared = Arc<Mutex<Book>>;

fn variable(name: &str) -> Option<f64> {
    std::env::var(name).ok()?.parse().ok()
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::print_stdout, reason = "what it is run for")]
async fn soak() {
    if is_left_out("postgres") || is_left_out("sshd") {
        return;
    }
    let minutes = variable("ROLLOUT_SOAK_MINUTES");
    let hosts = if minutes.is_some() { 20 } else { 5 };
    let length = Duration::from_secs_f64(minutes.unwrap_or(0.4) * 60.0);
    let seed = variable("ROLLOUT_SOAK_SEED").unwrap_or(1.0) as u64;
    println!("soak: seed {seed}, {hosts} hosts, {length:?}");
    let postgres: &Postgres = Box::leak(Box::new(Postgres::start(&PostgresOptions::default())));
    let (site, ssh) = Site::with_sshd(Base::On(postgres), hosts).await;
    site.configure(SETTINGS);
    let tokens = site.more_tokens(40).await;
    let book = Shared::default();
    let world = World::start(&site, postgres, ssh, Arc::clone(&book)).await;
    let watcher = Watcher::new(&world, Arc::clone(&book));
    let mut caller = Caller::new(&site, &world, tokens, Arc::clone(&book));
    let began = Instant::now();
    tokio::select! {
        () = caller.rollouts(Dice(seed), began + length) => {}
        () = world.trouble_servers(Dice(seed ^ 0xa5)) => {}
        () = world.trouble_the_rest(Dice(seed ^ 0x5a)) => {}
        () = watcher.watch() => {}
    }
    judge(&book.lock().unwrap(), &world, began.elapsed());
    drop(world);
    site.end().await;
}

/// Says what came of it; fails when something was wrong.
#[expect(clippy::print_stdout, reason = "what it is run for")]
fn judge(book: &Book, world: &World<'_>, length: Duration) {
    println!("{}", summary(book, length));
    let missing = book.missing();
    if !book.violations.is_empty() || !missing.is_empty() {
        let folder = world.keep_evidence(book);
        panic!(
            "{:#?}\n{missing:#?}\nthe evidence is in {}",
            book.violations,
            folder.display()
        );
    }
}

fn summary(book: &Book, length: Duration) -> String {
    let mut kinds: Vec<&str> = book.faults.iter().map(|(_, kind)| *kind).collect();
    kinds.sort_unstable();
    let faults: Vec<String> = kinds
        .chunk_by(|one, other| one == other)
        .map(|same| format!("{} {}", same.len(), same[0]))
        .collect();
    let mut waits = book.takeovers.clone();
    waits.sort();
    let share = |percent: usize| match waits.len() {
        0 => Duration::ZERO,
        count => waits[(count - 1) * percent / 100],
    };
    format!(
        "soak: {} rollouts ({} completed) in {:.1} min with {} changing commands, {} faults ({}), {} takeovers (p50 {:.1?}, p99 {:.1?}), {} hosts unproven, {} violations",
        book.ended.len(),
        book.completed,
        length.as_secs_f64() / 60.0,
        book.changes,
        book.faults.len(),
        faults.join(", "),
        waits.len(),
        share(50),
        share(99),
        book.unproven,
        book.violations.len()
    )
}

#[test]
fn what_a_run_did_not_show_is_missed() {
    let all = || Book {
        ended: vec!["rollout 1".to_owned()],
        completed: 1,
        changes: 1,
        ..Book::default()
    };
    assert!(all().missing().is_empty());
    let none_completed = Book {
        completed: 0,
        ..all()
    };
    assert_eq!(none_completed.missing().len(), 1);
    assert_eq!(Book::default().missing().len(), 3);
}

#[test]
fn only_what_was_done_to_a_host_meanwhile_is_an_excuse() {
    let cut = |host: &str, from, until| Cut {
        host: host.to_owned(),
        from,
        until,
    };
    let book = Book {
        cuts: vec![
            cut("a", 10, Some(20)),
            cut("b", 15, Some(18)),
            cut("a", 30, None),
        ],
        ..Book::default()
    };
    for (from, until, expected) in [
        (0, 9, 0),
        (0, 10, 1),
        (20, 29, 1),
        (21, 29, 0),
        (12, 99, 2),
        (50, 60, 1),
    ] {
        assert_eq!(book.cuts("a", from, until), expected, "{from} to {until}");
    }
}
