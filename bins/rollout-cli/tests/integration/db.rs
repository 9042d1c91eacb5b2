//! A fleet that moves between databases, and copies of it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;

use fleet_testkit::{Postgres, is_left_out};
use local_fleet::{Fault, InstallBehaviour, ReleaseSpec};
use serde_json::Value;

use crate::support::{Place, Ran, Site, wait_until};

const FAST: &str = "[rollout]\nsettle = 0.3\n[app.timeouts]\nconnect = 5\n";

/// Everything that can be asked of a database, as people and as programs see it.
fn told(place: &Place, url: &str) -> Vec<(String, String)> {
    let rollouts = place.json(&["--database-url", url, "rollouts", "list"]);
    let ids: Vec<String> = rollouts["rollouts"]
        .as_array()
        .unwrap_or_else(|| panic!("{rollouts}"))
        .iter()
        .map(|rollout| rollout["id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(ids.len(), 2, "{rollouts}");
    let mut asked: Vec<Vec<&str>> = vec![
        vec!["rollouts", "list"],
        vec!["hosts", "list"],
        vec!["hosts", "show", "web-02"],
        vec!["hosts", "export"],
        vec!["users", "list"],
        vec!["tokens", "list"],
        vec!["audit", "--limit", "1000"],
    ];
    for id in &ids {
        asked.push(vec!["rollouts", "show", id]);
        asked.push(vec!["logs", id, "--host", "web-01"]);
        asked.push(vec!["logs", id, "--host", "web-02"]);
    }
    let mut answers = Vec::new();
    for arguments in asked {
        for json in [&[][..], &["--json"]] {
            let words = [&["--database-url", url], &arguments[..], json].concat();
            let ran = place.expect(0, &words);
            assert!(!ran.stdout.is_empty(), "{arguments:?}: {ran:#?}");
            answers.push((arguments.join(" "), ran.stdout));
        }
    }
    answers
}

/// What was told at two places must be the same, but for how long ago it was.
fn assert_same(before: &[(String, String)], after: &[(String, String)]) {
    assert_eq!(before.len(), after.len());
    for ((asked, before), (_, after)) in before.iter().zip(after) {
        assert_eq!(without_ages(before), without_ages(after), "{asked}");
    }
}

/// The words, without `3 s ago`.
fn without_ages(text: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    for word in text.split_whitespace() {
        if word == "ago" {
            kept.truncate(kept.len().saturating_sub(2));
        } else {
            kept.push(word);
        }
    }
    kept.join(" ")
}

fn lines(file: &Path) -> Vec<Value> {
    let text = fs::read_to_string(file).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// The lines without the epochs of hosts, and without the checksum that they are part of.
fn at_one_epoch(lines: Vec<Value>) -> Vec<Value> {
    let alike = |mut line: Value| {
        if let Some(epoch) = line["row"].get_mut("lease_epoch") {
            *epoch = 0.into();
        }
        if let Some(sum) = line["end"].get_mut("sha256") {
            *sum = "".into();
        }
        line
    };
    lines.into_iter().map(alike).collect()
}

fn refused(ran: &Ran, code: i32, word: &str) {
    assert_eq!(ran.code, code, "{ran:#?}");
    assert!(ran.stderr.contains(word), "{word:?}: {ran:#?}");
    assert!(ran.stderr.lines().count() <= 3, "{}", ran.stderr);
}

/// No file there has this in its name.
fn assert_no_file(place: &Place, part: &str) {
    for entry in fs::read_dir(place.path("")).unwrap() {
        let name = entry.unwrap().file_name();
        assert!(!name.to_string_lossy().contains(part), "{name:?}");
    }
}

fn add_anna(place: &Place) {
    let add = [
        "users",
        "add",
        "anna",
        "--role",
        "admin",
        "--password-stdin",
    ];
    place.write("word", "correct horse battery\n");
    let word = fs::File::open(place.path("word")).unwrap();
    let ran = Ran::of(place.command(&add).stdin(word).output().unwrap());
    assert_eq!(ran.code, 0, "{ran:#?}");
}

/// Two rollouts, the second with a failure and its events, people, a token.
fn lived_in() -> Site {
    let site = Site::new(3, FAST);
    site.release(ReleaseSpec::good("two"));
    site.place.expect(0, &["update", "--all", "-y", "-q"]);
    site.wait(site.fleet.hosts()[1].set_fault(Fault::NoSudo))
        .unwrap();
    site.release(ReleaseSpec::good("three"));
    let update = ["update", "--all", "-y", "-q", "--max-failures", "100%"];
    let ran = site.place.run(&update);
    assert_ne!(ran.code, 0, "{ran:#?}");
    add_anna(&site.place);
    let token = ["tokens", "create", "robot", "--role", "viewer"];
    site.place.expect(0, &token);
    site
}

#[test]
fn a_fleet_moves_to_postgres_and_back() {
    if is_left_out("postgres") {
        return;
    }
    let site = lived_in();
    let place = &site.place;
    let server = Postgres::shared();
    let first = format!("sqlite://{}", place.path("rollout.db").display());
    let second = server.url(&server.new_database());
    let third = format!("sqlite://{}", place.path("again.db").display());
    let before = told(place, &first);

    place.expect(0, &["db", "export", "one.jsonl"]);
    let mode = fs::metadata(place.path("one.jsonl"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let ran = place.expect(
        0,
        &[
            "--database-url",
            &second,
            "db",
            "import",
            "one.jsonl",
            "--json",
        ],
    );
    assert!(ran.stdout.contains("\"hosts\":3"), "{ran:#?}");
    assert_same(&before, &told(place, &second));

    place.expect(0, &["--database-url", &second, "db", "export", "two.jsonl"]);
    place.expect(0, &["--database-url", &third, "db", "import", "two.jsonl"]);
    assert_same(&before, &told(place, &third));
    // Nothing was lost or changed on the way, but for how far the second is ahead of the first.
    let (one, two) = (
        lines(&place.path("one.jsonl")),
        lines(&place.path("two.jsonl")),
    );
    assert_ne!(one, two);
    assert_eq!(at_one_epoch(one), at_one_epoch(two));

    // It is alive where it came to: new rows get new numbers.
    site.wait(site.fleet.hosts()[1].clear_faults()).unwrap();
    for url in [&second, &third] {
        site.release(ReleaseSpec::good("four"));
        place.expect(0, &["--database-url", url, "update", "--all", "-y", "-q"]);
    }
    let ran = place.run(&["--database-url", &second, "db", "import", "one.jsonl"]);
    refused(&ran, 8, "is not empty");
    refused(&place.run(&["db", "export", "one.jsonl"]), 8, "exists");
    assert_no_file(place, "partial");
}

#[test]
fn a_file_that_is_not_whole_is_refused_and_nothing_is_imported() {
    let place = Place::new();
    place.write("rollout.toml", "database_url = \"sqlite://rollout.db\"\n");
    add_anna(&place);
    place.expect(0, &["db", "export", "good.jsonl"]);
    let good = fs::read_to_string(place.path("good.jsonl")).unwrap();
    let new = format!("sqlite://{}", place.path("new.db").display());
    for (content, why) in [
        (good[..good.len() - 1].to_owned(), "ends too early"),
        (good.replacen("anna", "anne", 1), "checksum"),
    ] {
        place.write("bad.jsonl", &content);
        let ran = place.run(&["--database-url", &new, "db", "import", "bad.jsonl"]);
        refused(&ran, 8, why);
        let users = place.json(&["--database-url", &new, "users", "list"]);
        assert_eq!(users["users"].as_array().map(Vec::len), Some(0), "{users}");
    }
    let ran = place.run(&["--database-url", &new, "db", "import", "no.jsonl"]);
    refused(&ran, 8, "no.jsonl");
    place.expect(0, &["--database-url", &new, "db", "import", "good.jsonl"]);
    let users = place.json(&["--database-url", &new, "users", "list"]);
    assert_eq!(users["users"][0]["name"], "anna", "{users}");
}

#[test]
fn a_rollout_that_is_active_stays_where_it_is() {
    let slow = InstallBehaviour::Slow(std::time::Duration::from_secs(3));
    let site = Site::new(2, FAST);
    site.release(ReleaseSpec::good("two").install(slow));
    let mut command = site.place.command(&["update", "--all", "-y", "-q"]);
    let child = command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let running = crate::support::Running::of(child);
    wait_until("a rollout is active", || {
        site.place.json(&["status"])["rollout"]["state"] == "running"
    });
    let ran = site.place.run(&["db", "export", "out.jsonl"]);
    refused(&ran, 7, "is active");
    assert!(!site.place.path("out.jsonl").exists());
    // A copy can be made at any time.
    site.place.expect(0, &["db", "backup", "copy.db"]);
    running.signal(rustix::process::Signal::KILL);
    running.end();
    let copy = format!("sqlite://{}", site.place.path("copy.db").display());
    let status = site.place.json(&["--database-url", &copy, "status"]);
    assert_eq!(
        status["rollout"]["counts"]["total"],
        site.place.json(&["status"])["rollout"]["counts"]["total"]
    );
}

#[test]
fn copies_and_schemas() {
    let place = Place::new();
    place.write("rollout.toml", "database_url = \"sqlite://rollout.db\"\n");
    let ran = place.run(&["db", "backup", "copy.db"]);
    refused(&ran, 8, "no such file");
    let ran = place.json(&["db", "migrate"]);
    assert_eq!(ran["from"], serde_json::Value::Null, "{ran}");
    let to = ran["to"].as_str().unwrap().to_owned();
    assert_eq!(place.json(&["db", "migrate"])["from"], to);
    add_anna(&place);
    place.expect(0, &["db", "backup", "copy.db"]);
    assert_eq!(
        fs::metadata(place.path("copy.db"))
            .unwrap()
            .permissions()
            .mode()
            & 0o777,
        0o600
    );
    refused(&place.run(&["db", "backup", "copy.db"]), 8, "exists");
    // SQLite would read more than a name in the second one.
    place.expect(0, &["db", "backup", "file:odd.db?mode=memory"]);
    for copy in ["sqlite://copy.db", "sqlite://file:odd.db?mode=memory"] {
        let copy = place.expect(0, &["--database-url", copy, "users", "list"]);
        assert!(copy.stdout.contains("anna"), "{copy:#?}");
    }
    assert_no_file(&place, "partial");
    assert!(!place.path("odd.db").exists());
    place.write("other.db", "no database");
    let ran = place.run(&[
        "--database-url",
        "sqlite://other.db",
        "db",
        "backup",
        "x.db",
    ]);
    refused(&ran, 8, "not");
    assert!(!Path::new(&place.path("x.db")).exists());

    let ran = place.run(&[
        "--database-url",
        "postgres://u:s3cret@h/db",
        "db",
        "backup",
        "x",
    ]);
    refused(&ran, 8, "pg_dump");
    assert!(!ran.stderr.contains("s3cret"));
    for verb in [
        &["migrate"][..],
        &["export", "x"],
        &["import", "x"],
        &["backup", "x"],
    ] {
        let words = [&["--server", "http://127.0.0.1:1", "db"], verb].concat();
        refused(&place.run(&words), 2, "not by a server");
    }
    let mut command = place.command(&["db", "migrate"]);
    let ran = Ran::of(
        command
            .env("ROLLOUT_SERVER", "http://127.0.0.1:1")
            .output()
            .unwrap(),
    );
    refused(&ran, 2, "not by a server");
}

/// As a file system without hard links answers.
const NO_LINKS: &str = "\
#include <errno.h>
int link(const char *from, const char *to) { errno = EPERM; return -1; }
int linkat(int a, const char *from, int b, const char *to, int flags) { errno = EPERM; return -1; }
";

#[test]
#[cfg(target_os = "linux")]
fn copies_come_where_there_are_no_links() {
    let place = Place::new();
    place.write("rollout.toml", "database_url = \"sqlite://rollout.db\"\n");
    place.write("no_links.c", NO_LINKS);
    let (source, library) = (place.path("no_links.c"), place.path("no_links.so"));
    let mut compiler = std::process::Command::new("cc");
    let built = compiler
        .args(["-shared", "-fPIC", "-o"])
        .arg(&library)
        .arg(source);
    assert!(built.status().unwrap().success());
    add_anna(&place);
    let run = |words: &[&str]| {
        let mut command = place.command(words);
        Ran::of(command.env("LD_PRELOAD", &library).output().unwrap())
    };
    for (verb, name) in [("backup", "copy.db"), ("export", "copy.jsonl")] {
        let ran = run(&["db", verb, name]);
        assert_eq!(ran.code, 0, "{ran:#?}");
        let bytes = fs::read(place.path(name)).unwrap();
        assert!(bytes.windows(4).any(|some| some == b"anna"), "{name}");
        refused(&run(&["db", verb, name]), 8, "exists");
    }
    assert_no_file(&place, "partial");
}
