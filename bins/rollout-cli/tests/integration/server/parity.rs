//! One script, typed on a database and on a server: the same is said, shown and exited with.

use std::io::Write;
use std::process::Stdio;
use std::time::{Duration, Instant};

use local_fleet::{Fault, InstallBehaviour, ReleaseSpec};
use serde_json::{Map, Value};

use super::Served;
use crate::support::{Ran, Site};

const SETTINGS: &str =
    "[rollout]\nsettle = 0.2\n[app.timeouts]\nconnect = 5\n[health]\nevery = 3600\n";
const HOSTS: usize = 6;
const PATIENCE: Duration = Duration::from_secs(60);

/// The same fleet twice: one that the program works on, one that a server does.
struct Both {
    here: Site,
    served: Served,
}

/// What is compared of a run: everything but what is never twice the same.
#[derive(Debug, PartialEq)]
struct Seen {
    code: i32,
    stdout: Vec<String>,
    stderr: Vec<String>,
}

impl Both {
    fn new() -> Self {
        Self {
            here: Site::new(HOSTS, SETTINGS),
            served: Served::new(HOSTS, SETTINGS),
        }
    }

    fn sites(&self) -> [&Site; 2] {
        [&self.here, &self.served.site]
    }

    fn release(&self, spec: &ReleaseSpec) {
        for site in self.sites() {
            site.release(spec.clone());
        }
    }

    /// Runs the words on both, and compares.
    fn check(&self, code: i32, words: &str) {
        let words: Vec<&str> = words.split_whitespace().collect();
        self.compare(
            code,
            &words,
            &self.here.place.run(&words),
            &self.served.run(&words),
        );
    }

    /// The same, with this on standard input.
    fn check_typed(&self, code: i32, words: &str, typed: &str) {
        let words: Vec<&str> = words.split_whitespace().collect();
        let [here, there] =
            [self.here.place.command(&words), self.served.command(&words)].map(|mut command| {
                command.stdin(Stdio::piped());
                let mut child = command
                    .stdout(Stdio::piped())
                    .stderr(Stdio::piped())
                    .spawn()
                    .unwrap();
                // A program that refuses before it reads closes the pipe.
                let _ = child.stdin.take().unwrap().write_all(typed.as_bytes());
                Ran::of(child.wait_with_output().unwrap())
            });
        self.compare(code, &words, &here, &there);
    }

    /// A server looks at a new host by itself, the program alone when it is told to: both have, before more is compared.
    fn have_looked_at(&self, host: &str) {
        self.here.place.run(&["health", "--on", host]);
        let begun = Instant::now();
        let health = || {
            let shown = self.served.run(&["hosts", "list", "--on", host, "--json"]);
            let shown: Value = serde_json::from_str(&shown.stdout).unwrap();
            shown["hosts"][0]["health"].as_str().unwrap().to_owned()
        };
        while health() == "unknown" {
            assert!(begun.elapsed() < PATIENCE, "the server never looks");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn compare(&self, code: i32, words: &[&str], here: &Ran, there: &Ran) {
        let seen = [here, there].map(Seen::of);
        assert_eq!(
            seen[0], seen[1],
            "{words:?}, first here, then by the server: {here:#?} {there:#?}"
        );
        assert_eq!(seen[0].code, code, "{words:?}: {here:#?}");
    }
}

impl Seen {
    fn of(ran: &Ran) -> Self {
        // The token that is shown to the server is used there alone.
        let lines = |text: &str| -> Vec<String> {
            let lines = text.lines().filter(|line| !line.starts_with("robot "));
            lines.map(line).collect()
        };
        let (mut stdout, mut stderr) = (lines(&ran.stdout), lines(&ran.stderr));
        // Hosts take their steps side by side: in which order their lines come is nobody's promise.
        if ran.stderr.contains(" started by ") || ran.stdout.contains("\"type\":\"host.step\"") {
            stdout.sort();
            stderr.sort();
        }
        Self {
            code: ran.code,
            stdout,
            stderr,
        }
    }
}

/// A line without moments, durations, ids, hashes, ports and who typed it.
fn line(text: &str) -> String {
    match serde_json::from_str::<Value>(text) {
        Ok(value @ Value::Object(_)) => plain(value).to_string(),
        _ => words(text),
    }
}

fn words(text: &str) -> String {
    let machine = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let text = text.replace(&format!("cli on {}", machine.trim()), "…");
    let mut words: Vec<String> = text.split_whitespace().map(word).collect();
    // `3 s ago`
    while let Some(at) = words.iter().position(|word| word == "ago") {
        words.splice(at.saturating_sub(2)..=at, ["…".to_owned()]);
    }
    words.join(" ")
}

fn plain(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let kept = |(name, value): (String, Value)| {
                let differs = matches!(
                    name.as_str(),
                    "id" | "seq"
                        | "port"
                        | "duration_seconds"
                        | "actor"
                        | "source"
                        | "started_by"
                        | "created_by"
                        | "token"
                        | "total_bytes"
                        | "attended"
                );
                let value = match value {
                    _ if name == "last_used_at" => Value::from("…"),
                    Value::Null => Value::Null,
                    _ if differs => Value::from("…"),
                    value => plain(value),
                };
                (name, value)
            };
            Value::Object(fields.into_iter().map(kept).collect::<Map<_, _>>())
        }
        Value::Array(values) => values.into_iter().map(plain).collect(),
        Value::String(text) => words(&text).into(),
        other => other,
    }
}

fn word(word: &str) -> String {
    // Tokens, keys and hashes may end in anything.
    if ["rlt_", "SHA256:", "AAAA"]
        .iter()
        .any(|start| word.starts_with(start))
    {
        return "…".to_owned();
    }
    let inner = word.trim_matches(|c: char| !c.is_alphanumeric());
    let digits = inner.chars().any(|c| c.is_ascii_digit());
    let hex = inner.len() >= 7 && inner.chars().all(|c| c.is_ascii_hexdigit() || c == '-');
    let unit = inner.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let is_time = digits
        && (inner.contains(':') || inner.ends_with('Z') || unit != inner)
        && unit
            .chars()
            .all(|c| c.is_ascii_digit() || ".:-T".contains(c));
    let is_port = inner.len() == 5 && inner.chars().all(|c| c.is_ascii_digit());
    let is_turn = word.starts_with('[') && inner.contains('/');
    let other = inner.contains("127.0.0.1")
        || inner.contains("/rollout-cli-test-")
        || inner.starts_with("tester@")
        || inner == "robot"
        || inner.starts_with("token:");
    if hex || is_time || is_port || is_turn || other || inner == "now" {
        return word.replace(inner, "…");
    }
    word.to_owned()
}

#[test]
fn a_day_with_a_fleet() {
    let both = Both::new();
    // Nothing happened yet.
    both.check(0, "health");
    for words in [
        "status",
        "status --json",
        "rollouts list",
        "hosts list",
        "hosts list --json",
        "hosts show web-01",
    ] {
        both.check(0, words);
    }
    for words in [
        "rollouts show",
        "watch",
        "logs --host web-01",
        "hosts show nobody",
        "rollouts show 0192",
        "rollouts show nonsense",
        "retry -y",
        "update --on nobody -y",
        "plan --to no-such-branch --all",
        "plan --on web-01,!web-01",
    ] {
        both.check(8, words);
    }
    // A good release.
    both.release(&ReleaseSpec::good("two"));
    for words in [
        "plan --all",
        "plan --all --json",
        "update --on web-01,web-02 --dry-run --stages 50,100 --settle 1s",
        "hosts check",
        "hosts check --json --on web-03",
    ] {
        both.check(0, words);
    }
    both.check(0, "update --all -y -m first");
    both.check(0, "update --all -y --json");
    for words in [
        "status",
        "status --json",
        "rollouts list",
        "rollouts list --json -n 1",
        "rollouts show",
        "rollouts show --json",
        "logs --host web-02",
        "logs --host web-02 --step restart --json",
        "watch",
        "hosts list",
        "health --json",
    ] {
        both.check(0, words);
    }
    both.check(8, "logs --host nobody");
    both.check(8, "pause");
    both.check(8, "resume");
    // A bad one halts; then it is known to be bad; retried it fails again; it is taken back where it came.
    both.release(&ReleaseSpec::good("three").install(InstallBehaviour::Fail));
    both.check(4, "update --all -y");
    both.check(8, "update --all -y");
    both.check(0, "retry --dry-run");
    both.check(4, "retry -y --max-failures 0");
    both.check(8, "abort");
    // One host is down.
    both.release(&ReleaseSpec::good("four"));
    for site in both.sites() {
        site.wait(site.fleet.hosts()[HOSTS - 1].set_fault(Fault::Down))
            .unwrap();
    }
    both.check(3, "update --all -y --max-failures 50");
    both.check(3, "hosts check");
    both.check(3, "health");
    both.check(0, "rollouts show");
    both.check(0, "rollback --dry-run --json");
    both.check(0, "rollback -y --max-failures 50%");
    both.check(8, "rollback -y");
}

#[test]
fn the_inventory_is_kept_alike() {
    let both = Both::new();
    for site in both.sites() {
        site.place.write(
            "more.csv",
            "name,address,port,user,key,labels,owner,repo\nnew-1,192.0.2.1,22,root,,plan=s;eu,acme,/srv/one\nnew-2,192.0.2.2,,,,,,/srv/two\nweb-01,127.0.0.2,22,,,,,/srv/three\n",
        );
        site.place.write(
            "bad.csv",
            "name,address\nnew-3,192.0.2.3\nnew 4,192.0.2.4\n",
        );
        site.place.write(
            "config",
            "Host new-1\nHostName 192.0.2.5\nHost new-2\nUser root\nHost new-*\nProxyJump ops@192.0.2.6\n",
        );
        site.place.write(
            "fleet.ini",
            "[far]\nnew-[1:2] ansible_user=deploy ansible_port=2200\n[world:children]\nfar\n",
        );
        site.place.write("bad_config", "Host new-1\nMatch host x\n");
    }
    both.check(0, "health");
    let mut looked_at = false;
    for (code, words) in [
        (
            0,
            "hosts add web-9 --address 192.0.2.9 --label plan=s --verify true --repo /srv/nine",
        ),
        (8, "hosts add web-9 --address 192.0.2.8 --repo /srv/eight"),
        (8, "hosts add web-8 --address 192.0.2.9 --repo /srv/nine"),
        (
            8,
            "hosts add web-8 --address 192.0.2.9 --repo /srv/eight --jump ops@:2200",
        ),
        (
            0,
            "hosts edit web-9 --label eu --owner acme --verify= --branch next",
        ),
        (0, "hosts edit web-9 --owner acme"),
        (0, "hosts edit web-9 --clear-attention"),
        (0, "hosts show web-9"),
        (0, "hosts show web-9 --json"),
        (8, "hosts edit nobody --owner acme"),
        (0, "hosts list --on @plan=s"),
        (8, "hosts list --on @plan=xl"),
        (0, "hosts import more.csv --dry-run"),
        (0, "hosts import more.csv -y"),
        (0, "hosts import more.csv -y --json"),
        (8, "hosts import bad.csv -y"),
        (8, "hosts import absent.csv -y"),
        (0, "hosts import config --dry-run"),
        (0, "hosts import config -y --json"),
        (0, "hosts export --on new-*"),
        (8, "hosts import bad_config --format ssh-config -y"),
        (0, "hosts import fleet.ini --dry-run"),
        (0, "hosts import fleet.ini -y --json"),
        (0, "hosts export --on @world"),
        (0, "hosts export --format csv --on new-*"),
        (0, "hosts export --on new-1"),
        (0, "hosts remove new-1 new-2 -y --json"),
        (8, "hosts remove new-1 -y"),
        (0, "hosts trust web-02 -y"),
        (0, "hosts trust web-02 web-03 -y --json"),
        (8, "hosts trust nobody -y"),
        (0, "hosts list"),
    ] {
        both.check(code, words);
        if !std::mem::replace(&mut looked_at, true) {
            both.have_looked_at("web-9");
        }
    }
}

#[test]
fn people_tokens_and_the_trail_are_kept_alike() {
    let both = Both::new();
    both.here
        .place
        .json(&["tokens", "create", "robot", "--role", "admin"]);
    both.check_typed(
        0,
        "users add ann --role admin --password-stdin",
        "correct horse\n",
    );
    both.check_typed(
        8,
        "users add ann --role admin --password-stdin",
        "correct horse\n",
    );
    both.check_typed(2, "users add bob --role viewer --password-stdin", "short\n");
    both.check_typed(
        0,
        "users add bob --role viewer --password-stdin --json",
        "battery staple\n",
    );
    both.check_typed(0, "users passwd bob --password-stdin", "another one\n");
    for (code, words) in [
        (0, "users list"),
        (0, "users list --json"),
        (0, "users disable bob"),
        (8, "users disable ann"),
        (8, "users disable nobody"),
        (0, "users enable bob --json"),
        (0, "tokens create ci --role operator --expires 90d"),
        (8, "tokens create ci --role operator"),
        (0, "tokens list"),
        (0, "tokens list --json"),
        (0, "tokens revoke ci"),
        (8, "tokens revoke ci"),
        (8, "tokens revoke 0192f0c4-0000-7000-8000-000000000000"),
        (0, "audit --action user.disable"),
        (0, "audit --action user.disable --json"),
        (0, "audit --since 1h -n 2 --action token.create"),
        (0, "audit --actor nobody"),
    ] {
        both.check(code, words);
    }
}
