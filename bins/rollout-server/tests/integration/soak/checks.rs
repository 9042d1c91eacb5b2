//! What must hold in a soak, as the hosts and the kernel tell it.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::time::Duration;

use fleet_types::Timestamp;
use local_fleet::{LogEntry, LogEvent};
use serde_json::Value;
use tokio::time::sleep;

use super::Shared;
use super::evil::{World, wall};
use crate::log::now;
use crate::support::Site;

/// The hosts' log has hundredths of a second, and the clocks of log and record are read one after the other.
const BLUR: i64 = 60;
/// So many connections may be open at once.
const LIMIT: usize = 5;

/// How the hosts were when a rollout began.
pub(super) struct Before {
    heads: HashMap<String, String>,
    /// How long each host's log was.
    logs: HashMap<String, usize>,
}

impl Before {
    pub(super) async fn of(site: &Site) -> Self {
        let (mut heads, mut logs) = (HashMap::new(), HashMap::new());
        for host in site.fleet.as_ref().unwrap().hosts() {
            heads.insert(host.name().to_owned(), host.head().await.unwrap());
            logs.insert(host.name().to_owned(), host.log().unwrap().len());
        }
        Self { heads, logs }
    }
}

/// What changed a host although no rollout was under way.
pub(super) fn between(site: &Site, ended: &Before, begins: &Before) -> Vec<String> {
    let mut wrong = Vec::new();
    for host in site.fleet.as_ref().unwrap().hosts() {
        let (name, log) = (host.name(), host.log().unwrap());
        for change in changes(&log[ended.logs[name]..begins.logs[name]]) {
            wrong.push(format!("{name}: {} ran between rollouts", change.command));
        }
    }
    wrong
}

/// A program that changes the host, by the wall clock in milliseconds.
struct Change {
    command: String,
    began: i64,
    /// None for one that was killed.
    ended: Option<i64>,
}

/// Everything that is wrong after a rollout.
pub(super) async fn check(
    site: &Site,
    before: &Before,
    hosts: &[Value],
    events: &[Value],
    book: &Shared,
) -> Vec<String> {
    let mut wrong = Vec::new();
    if hosts.len() != before.heads.len() {
        wrong.push(format!("{} hosts are told of", hosts.len()));
    }
    for told in hosts {
        let name = told["name"].as_str().unwrap_or_default();
        let Some(host) = site.fleet.as_ref().unwrap().host(name) else {
            wrong.push(format!("nobody knows host {name}"));
            continue;
        };
        let mut complain = |why: String| wrong.push(format!("{name}: {why}"));
        let attempt = &told["attempt"];
        let status = attempt["status"].as_str().unwrap_or_default();
        let head = host.head().await.unwrap();
        let expected = match status {
            "success" => told["target_version"].as_str().unwrap_or_default(),
            // Nobody could prove how it is, so nothing was promised.
            _ if told["needs_attention"] == true => {
                book.lock().unwrap().unproven += 1;
                head.as_str()
            }
            "updating" => {
                complain("is left in `updating`".to_owned());
                head.as_str()
            }
            _ => before.heads[name].as_str(),
        };
        if head != expected {
            complain(format!("is on {head} and not on {expected}: {told}"));
        }
        let of_host = events.iter().filter(|event| event["host"] == name);
        let finished = of_host.filter(|event| event["type"] == "host.finished");
        let finished: Vec<i64> = finished.map(at).collect();
        if finished.len() > 1 {
            complain(format!("has {} outcomes", finished.len()));
        }
        let log = host.log().unwrap();
        let changes = changes(&log[before.logs[name]..]);
        book.lock().unwrap().changes += changes.len();
        for why in order(&changes, finished.first().copied()) {
            complain(why);
        }
        takeovers(name, events, book);
    }
    wrong
}

fn at(event: &Value) -> i64 {
    serde_json::from_value::<Timestamp>(event["at"].clone())
        .unwrap()
        .0
}

fn changes(log: &[LogEntry]) -> Vec<Change> {
    let booted = wall() - i64::try_from(now().as_millis()).unwrap();
    let is_change = |command: &str| {
        [
            "bun install",
            "systemctl restart",
            "sudo -n systemctl restart",
            "git reset",
            "git merge",
            "git checkout",
        ]
        .iter()
        .any(|known| command.starts_with(known))
    };
    let mut open: HashMap<u32, usize> = HashMap::new();
    let mut changes: Vec<Change> = Vec::new();
    for entry in log {
        let at = booted + i64::try_from(entry.at.as_millis()).unwrap();
        match &entry.event {
            LogEvent::Began(command) if is_change(command) => {
                // sudo becomes the command that it runs.
                open.entry(entry.process).or_insert_with(|| {
                    changes.push(Change {
                        command: command.clone(),
                        began: at,
                        ended: None,
                    });
                    changes.len() - 1
                });
            }
            LogEvent::Ended { .. } => {
                if let Some(number) = open.remove(&entry.process) {
                    changes[number].ended = Some(at);
                }
            }
            LogEvent::Began(_) => {}
        }
    }
    changes
}

/// Changes never overlap, and none begins once the outcome is on record.
fn order(changes: &[Change], finished: Option<i64>) -> Vec<String> {
    let mut wrong = Vec::new();
    for pair in changes.windows(2) {
        let [one, next] = pair else { continue };
        if one.ended.is_some_and(|ended| ended > next.began) {
            wrong.push(format!("{} began while {} ran", next.command, one.command));
        }
    }
    if let (Some(last), Some(finished)) = (changes.last(), finished)
        && last.began > finished + BLUR
    {
        let late = last.began - finished;
        wrong.push(format!(
            "{} began {late} ms after the outcome",
            last.command
        ));
    }
    if let (Some(first), None) = (changes.first(), finished) {
        wrong.push(format!("{} ran although it has no outcome", first.command));
    }
    wrong
}

/// How long after the fault somebody else went on with the host.
fn takeovers(name: &str, events: &[Value], book: &Shared) {
    let mut book = book.lock().unwrap();
    let mut heard = 0;
    for event in events.iter().filter(|event| event["host"] == name) {
        if event["type"] == "host.taken_over" {
            let faults = book.faults.iter().map(|(at, _)| *at);
            let fault = faults
                .filter(|fault| (heard..at(event)).contains(fault))
                .min();
            let wait = at(event) - fault.unwrap_or(heard);
            book.takeovers.push(Duration::from_millis(
                u64::try_from(wait).unwrap_or_default(),
            ));
        }
        heard = at(event);
    }
}

/// Looks again and again at what is open.
pub(super) struct Watcher<'a> {
    world: &'a World<'a>,
    book: Shared,
}

impl<'a> Watcher<'a> {
    pub(super) fn new(world: &'a World<'a>, book: Shared) -> Self {
        Self { world, book }
    }

    pub(super) async fn watch(&self) {
        let ports: HashSet<u16> = self.world.host_ports().into_iter().collect();
        loop {
            let awake = self.world.awake();
            let open = open(&awake, &ports);
            // One that was stopped or killed meanwhile is not to be counted.
            if open > LIMIT && self.world.awake() == awake {
                let why = format!("{open} connections of {} processes at once", awake.len());
                self.book.lock().unwrap().violations.push(why);
            }
            sleep(Duration::from_millis(250)).await;
        }
    }
}

/// How many established connections to these ports these processes have, as the kernel tells it.
fn open(processes: &[u32], ports: &HashSet<u16>) -> usize {
    let mut sockets: HashSet<String> = HashSet::new();
    for process in processes {
        let Ok(files) = fs::read_dir(format!("/proc/{process}/fd")) else {
            continue;
        };
        let links = files
            .flatten()
            .filter_map(|file| fs::read_link(file.path()).ok());
        sockets.extend(links.filter_map(|link| {
            let link = link.to_str()?;
            Some(link.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned())
        }));
    }
    let table = fs::read_to_string("/proc/net/tcp").unwrap_or_default();
    table
        .lines()
        .skip(1)
        .filter(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let remote = fields.get(2).and_then(|remote| remote.split(':').nth(1));
            let port = remote.and_then(|port| u16::from_str_radix(port, 16).ok());
            fields.get(3) == Some(&"01")
                && port.is_some_and(|port| ports.contains(&port))
                && fields.get(9).is_some_and(|inode| sockets.contains(*inode))
        })
        .count()
}

#[test]
fn what_is_wrong_with_a_host_is_found() {
    let change = |began, ended| Change {
        command: "bun install".to_owned(),
        began,
        ended,
    };
    let check = |changes: &[Change], finished, expected: &str| {
        let wrong = order(changes, finished).concat();
        assert!(wrong.contains(expected), "{wrong}");
        assert_eq!(wrong.is_empty(), expected.is_empty(), "{wrong}");
    };
    let apart = [change(0, Some(100)), change(100, Some(200))];
    check(&apart, Some(200), "");
    check(&apart, None, "has no outcome");
    check(&apart, Some(30), "ms after the outcome");
    check(
        &[change(0, Some(101)), change(100, None)],
        Some(200),
        "began while",
    );
    check(&[change(0, None), change(100, None)], Some(200), "");
    check(&[], None, "");
}
