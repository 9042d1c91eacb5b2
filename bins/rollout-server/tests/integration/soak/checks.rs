//! What must hold in a soak, as the hosts and the kernel tell it.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::time::Duration;

use fleet_types::Timestamp;
use local_fleet::{Change, ChangeKind, Truth, changes, overlaps};
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

/// A step whose connection is lost is sent four times, and a host is tried for five minutes, while no fault is longer
/// than 4 s: with fewer faults than this nothing that was begun on a host may stay undone or be given up.
const CUTS: usize = 4;

/// What a rollout was to do, as whoever asked for it knows.
pub(super) struct Wanted {
    /// Where each of its hosts was to go.
    pub(super) targets: HashMap<String, String>,
    /// Commits on which no service stays up.
    pub(super) bad: HashSet<String>,
    /// Somebody asked for its end.
    pub(super) aborted: bool,
}

/// Whether nothing was done between the two. A service that does not stay up is now this and now that.
fn is_as(now: &Truth, before: &Truth) -> bool {
    let service = now.service.clone();
    *now == Truth {
        service,
        ..before.clone()
    }
}

/// How the hosts were when a rollout began.
pub(super) struct Before {
    truths: HashMap<String, Truth>,
    /// How long each host's log was.
    logs: HashMap<String, usize>,
}

impl Before {
    pub(super) async fn of(site: &Site) -> Self {
        let (mut truths, mut logs) = (HashMap::new(), HashMap::new());
        for host in site.fleet.as_ref().unwrap().hosts() {
            truths.insert(host.name().to_owned(), host.truth().await.unwrap());
            logs.insert(host.name().to_owned(), host.log().unwrap().len());
        }
        Self { truths, logs }
    }

    /// A way to one commit for all hosts.
    pub(super) fn all_to(&self, commit: &str) -> HashMap<String, String> {
        let to_commit = |name: &String| (name.clone(), commit.to_owned());
        self.truths.keys().map(to_commit).collect()
    }

    /// The way back for all hosts that a rollout has updated since.
    pub(super) fn back(&self, hosts: &[Value]) -> HashMap<String, String> {
        let back = |told: &Value| {
            let name = told["name"].as_str()?;
            let head = &self.truths.get(name)?.head;
            let updated =
                told["attempt"]["reason"] == "updated" && told["target_version"] != **head;
            updated.then(|| (name.to_owned(), head.clone()))
        };
        hosts.iter().filter_map(back).collect()
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
        let (then, now) = (&ended.truths[name], &begins.truths[name]);
        if !is_as(now, then) {
            wrong.push(format!("{name}: between rollouts {then:?} became {now:?}"));
        }
    }
    wrong
}

/// Everything that is wrong after a rollout.
pub(super) async fn check(
    site: &Site,
    before: &Before,
    wanted: &Wanted,
    state: &str,
    hosts: &[Value],
    events: &[Value],
    book: &Shared,
) -> Vec<String> {
    let mut wrong = end(wanted, state, hosts);
    let booted = wall() - i64::try_from(now().as_millis()).unwrap();
    for told in hosts {
        let name = told["name"].as_str().unwrap_or_default();
        let Some(host) = site.fleet.as_ref().unwrap().host(name) else {
            wrong.push(format!("nobody knows host {name}"));
            continue;
        };
        let of_host = events.iter().filter(|event| event["host"] == name);
        let of_host: Vec<&Value> = of_host.collect();
        let finished = of_host
            .iter()
            .filter(|event| event["type"] == "host.finished");
        let finished: Vec<i64> = finished.map(|event| at(event)).collect();
        let log = host.log().unwrap();
        let part = Part {
            told,
            target: wanted.targets.get(name).map_or("", String::as_str),
            before: &before.truths[name],
            after: host.truth().await.unwrap(),
            changes: changes(&log[before.logs[name]..]),
            cuts: match (of_host.first(), finished.first()) {
                (Some(first), Some(last)) => book.lock().unwrap().cuts(name, at(first), *last),
                _ => 0,
            },
        };
        let found = part.wrong(&wanted.bad).into_iter();
        let found = found.chain(part.order(finished.first().map(|at| at - booted)));
        wrong.extend(found.map(|why| format!("{name}: {why}: {told}")));
        if finished.len() > 1 {
            wrong.push(format!("{name} has {} outcomes", finished.len()));
        }
        takeovers(name, events, book);
        let mut book = book.lock().unwrap();
        book.changes += part.changes.len();
        book.unproven += usize::from(part.is_unproven());
    }
    wrong
}

/// Whether a rollout may end so.
fn end(wanted: &Wanted, state: &str, hosts: &[Value]) -> Vec<String> {
    let mut wrong = Vec::new();
    let names: HashSet<&str> = hosts
        .iter()
        .filter_map(|told| told["name"].as_str())
        .collect();
    let expected: HashSet<&str> = wanted.targets.keys().map(String::as_str).collect();
    if names != expected || hosts.len() != expected.len() {
        wrong.push(format!("{names:?} are told of, and not {expected:?}"));
    }
    let count = |statuses: &[&str]| {
        let is_one = |told: &&Value| {
            let status = told["attempt"]["status"].as_str();
            status.is_some_and(|status| statuses.contains(&status))
        };
        hosts.iter().filter(is_one).count()
    };
    let (success, failed) = (count(&["success"]), count(&["failed", "rolled_back"]));
    let may_be = match state {
        "completed" => success == hosts.len() && success > 0,
        "completed_with_failures" | "halted" => failed > 0,
        "aborted" => wanted.aborted,
        _ => false,
    };
    if !may_be {
        wrong.push(format!(
            "it is {state} with {success} of {} hosts on the target and {failed} failed",
            hosts.len()
        ));
    }
    wrong
}

/// A host's part in a rollout: what is told of it, and what it says itself.
struct Part<'a> {
    told: &'a Value,
    target: &'a str,
    before: &'a Truth,
    after: Truth,
    changes: Vec<Change>,
    /// How often it was cut off meanwhile.
    cuts: usize,
}

impl Part<'_> {
    fn status(&self) -> &str {
        self.told["attempt"]["status"].as_str().unwrap_or_default()
    }

    fn is_touched(&self) -> bool {
        self.told["attempt"]["touched"] == true
    }

    /// Nobody could prove how it is, so nothing was promised.
    fn is_unproven(&self) -> bool {
        self.status() == "failed" && self.is_touched() && self.told["needs_attention"] == true
    }

    /// What is told of it and is not so, and what should not have come to it.
    fn wrong(&self, bad: &HashSet<String>) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut expect = |holds: bool, why: &str| {
            if !holds {
                wrong.push(format!(
                    "{why}; before {:?}, now {:?}",
                    self.before, self.after
                ));
            }
        };
        let (status, cuts) = (self.status(), self.cuts);
        let is_bad = bad.contains(self.target);
        let home = self.before.head.as_str();
        match status {
            "success" | "rolled_back" => {
                let on = if status == "success" {
                    self.target
                } else {
                    home
                };
                expect(
                    self.after == Truth::well_on(on),
                    "is not well on its commit",
                );
                expect(self.told["current_version"] == on, "is told elsewhere");
                expect(self.told["needs_attention"] == false, "is proven and not");
                expect(!bad.contains(on), "cannot stay up there");
                if home != self.target {
                    expect(self.has_moved(), "came there by nothing in its log");
                }
                let given_up = status == "rolled_back" && !is_bad;
                expect(
                    !given_up || cuts >= CUTS,
                    "was taken back from what is good",
                );
            }
            "failed" if self.is_touched() => {
                let was_well = *self.before == Truth::well_on(home);
                expect(!was_well || cuts >= CUTS, "was given up");
                let proven = self.told["needs_attention"] == false;
                expect(!proven || self.after.head == home, "is not where it was");
            }
            "failed" => {
                expect(is_as(&self.after, self.before), "is touched");
                expect(cuts > 0, "failed by nothing that was done to it");
            }
            "skipped" => {
                expect(is_as(&self.after, self.before), "is touched");
                expect(self.changes.is_empty(), "was changed and skipped");
            }
            _ => expect(false, "is left like this"),
        }
        let told = self.told["target_version"].as_str();
        let astray = told.is_some_and(|told| told != self.target) && status != "skipped";
        expect(!astray, "was to go elsewhere");
        wrong
    }

    /// Whether its log has all that a way to another commit takes. If not, this is blind.
    fn has_moved(&self) -> bool {
        [ChangeKind::Tree, ChangeKind::Install, ChangeKind::Service]
            .iter()
            .all(|kind| self.changes.iter().any(|change| change.kind == *kind))
    }

    /// Changes never overlap, and none begins once the outcome is on record, in milliseconds since the machine was booted;
    /// where something is proven, none goes on either.
    fn order(&self, finished: Option<i64>) -> Vec<String> {
        let mut wrong = Vec::new();
        for (one, next) in overlaps(&self.changes) {
            wrong.push(format!("{} began while {} ran", next.command, one.command));
        }
        for change in &self.changes {
            let Some(finished) = finished else {
                wrong.push(format!("{} ran although it has no outcome", change.command));
                continue;
            };
            let last = match change.ended {
                Some(ended) if !self.is_unproven() => ended,
                _ => change.began,
            };
            let late = i64::try_from(last.as_millis()).unwrap() - finished;
            if late > BLUR {
                wrong.push(format!(
                    "{} ran {late} ms after the outcome",
                    change.command
                ));
            }
        }
        wrong
    }
}

fn at(event: &Value) -> i64 {
    serde_json::from_value::<Timestamp>(event["at"].clone())
        .unwrap()
        .0
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const OPTIONS: &str = "-c gc.auto=0 -c core.hooksPath=/dev/null";

    fn change(command: &str, kind: ChangeKind, began: u64, ended: Option<u64>) -> Change {
        Change {
            command: format!("{command} {OPTIONS}"),
            kind,
            process: 1,
            began: Duration::from_millis(began),
            ended: ended.map(Duration::from_millis),
        }
    }

    /// All that a way to another commit takes.
    fn moved() -> Vec<Change> {
        vec![
            change("git", ChangeKind::Tree, 0, Some(100)),
            change("bun", ChangeKind::Install, 100, Some(200)),
            change("systemctl", ChangeKind::Service, 200, Some(300)),
        ]
    }

    /// A host that went from one to two.
    fn told(status: &str, version: &str) -> Value {
        json!({
            "name": "web-01", "current_version": version, "target_version": "two", "needs_attention": false,
            "attempt": { "status": status, "touched": true },
        })
    }

    #[track_caller]
    fn check(wrong: &[String], expected: &str) {
        let wrong = wrong.join("\n");
        assert!(wrong.contains(expected), "{wrong}");
        assert_eq!(wrong.is_empty(), expected.is_empty(), "{wrong}");
    }

    #[test]
    fn changes_at_a_wrong_time_are_found() {
        let before = Truth::well_on("one");
        let told = told("success", "two");
        let check = |changes: &[Change], finished, expected: &str| {
            let part = Part {
                told: &told,
                target: "two",
                before: &before,
                after: Truth::well_on("two"),
                changes: changes.to_vec(),
                cuts: 0,
            };
            super::tests::check(&part.order(finished), expected);
        };
        check(&moved(), Some(300), "");
        check(&moved(), None, "has no outcome");
        check(&moved(), Some(230), "ran 70 ms after the outcome");
        let pull = |began, ended| change("git merge", ChangeKind::Tree, began, ended);
        check(
            &[pull(0, Some(101)), pull(100, None)],
            Some(200),
            "began while",
        );
        // Not only the next one.
        let three = [pull(0, Some(300)), pull(10, Some(20)), pull(30, Some(40))];
        check(&three, Some(300), "began while");
        check(&[pull(0, None), pull(100, None)], Some(200), "");
        check(&[], None, "");
    }

    #[test]
    fn a_host_that_is_not_what_is_told_of_it_is_found() {
        let before = Truth::well_on("one");
        let check = |told: &Value, after: &Truth, changes: &[Change], cuts, expected: &str| {
            let part = Part {
                told,
                target: "two",
                before: &before,
                after: after.clone(),
                changes: changes.to_vec(),
                cuts,
            };
            super::tests::check(&part.wrong(&HashSet::new()), expected);
        };
        let (one, two) = (Truth::well_on("one"), Truth::well_on("two"));
        let success = told("success", "two");
        check(&success, &two, &moved(), 0, "");
        let text = |text: &str| text.to_owned();
        for wrong in [
            Truth {
                head: text("three"),
                ..two.clone()
            },
            Truth {
                changes: text(" M src/server.ts"),
                ..two.clone()
            },
            Truth {
                service: text("activating"),
                ..two.clone()
            },
            Truth {
                runs: text("one"),
                ..two.clone()
            },
            Truth {
                runs_with: text("one"),
                ..two.clone()
            },
            Truth {
                installed: text("one"),
                ..two.clone()
            },
            one.clone(),
        ] {
            check(&success, &wrong, &moved(), 9, "is not well on its commit");
        }
        check(&success, &two, &moved()[1..], 0, "by nothing in its log");
        check(&success, &two, &moved()[..2], 0, "by nothing in its log");
        check(
            &told("success", "three"),
            &two,
            &moved(),
            0,
            "told elsewhere",
        );
        let mut astray = told("success", "two");
        astray["target_version"] = json!("three");
        check(&astray, &two, &moved(), 0, "to go elsewhere");

        // From a good release a host goes back only when it was lost again and again.
        let back = told("rolled_back", "one");
        check(&back, &one, &moved(), CUTS, "");
        check(
            &back,
            &one,
            &moved(),
            CUTS - 1,
            "taken back from what is good",
        );
        check(&back, &two, &moved(), CUTS, "is not well on its commit");

        let mut failed = told("failed", "one");
        failed["needs_attention"] = json!(true);
        check(&failed, &Truth::default(), &moved(), CUTS, "");
        check(
            &failed,
            &Truth::default(),
            &moved(),
            CUTS - 1,
            "was given up",
        );
        failed["needs_attention"] = json!(false);
        check(&failed, &two, &moved(), CUTS, "is not where it was");
        failed["attempt"]["touched"] = json!(false);
        check(&failed, &one, &[], 1, "");
        check(&failed, &one, &[], 0, "by nothing that was done to it");
        check(&failed, &two, &[], 1, "is touched");

        check(&told("skipped", "one"), &one, &[], 0, "");
        check(
            &told("skipped", "one"),
            &one,
            &moved()[..1],
            0,
            "changed and skipped",
        );
        check(&told("skipped", "one"), &two, &[], 0, "is touched");
        check(&told("updating", "one"), &one, &[], 9, "left like this");
        check(&told("pending", "one"), &one, &[], 9, "left like this");
    }

    #[test]
    fn what_does_not_stay_up_is_no_success() {
        let bad = HashSet::from(["two".to_owned()]);
        let before = Truth::well_on("one");
        let part = |told, on| Part {
            told,
            target: "two",
            before: &before,
            after: Truth::well_on(on),
            changes: moved(),
            cuts: 0,
        };
        let (success, back) = (told("success", "two"), told("rolled_back", "one"));
        check(&part(&success, "two").wrong(&bad), "cannot stay up there");
        check(&part(&back, "one").wrong(&bad), "");
        check(&part(&back, "two").wrong(&bad), "is not well on its commit");
    }

    #[test]
    fn a_rollout_that_may_not_end_so_is_found() {
        let check = |state: &str, statuses: &[&str], aborted, expected: &str| {
            let name = |number: usize| format!("web-{number}");
            let host = |(number, status): (usize, &&str)| json!({ "name": name(number), "attempt": { "status": status } });
            let hosts: Vec<Value> = statuses.iter().enumerate().map(host).collect();
            let wanted = Wanted {
                targets: (0..2)
                    .map(|number| (name(number), "two".to_owned()))
                    .collect(),
                bad: HashSet::new(),
                aborted,
            };
            super::tests::check(&end(&wanted, state, &hosts), expected);
        };
        check("completed", &["success", "success"], false, "");
        check(
            "completed",
            &["success", "rolled_back"],
            false,
            "it is completed",
        );
        check(
            "completed",
            &["success", "skipped"],
            false,
            "it is completed",
        );
        check("completed", &["success"], false, "are told of");
        check("completed", &["success"; 3], false, "are told of");
        check("halted", &["rolled_back", "skipped"], false, "");
        check("halted", &["success", "skipped"], false, "it is halted");
        check("completed_with_failures", &["success", "failed"], false, "");
        let all = ["success", "success"];
        check(
            "completed_with_failures",
            &all,
            false,
            "it is completed_with",
        );
        check("aborted", &["success", "skipped"], true, "");
        check("aborted", &["success", "skipped"], false, "it is aborted");
        check("running", &["success", "skipped"], true, "it is running");
    }
}
