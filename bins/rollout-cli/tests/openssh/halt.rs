//! Releases that do not run.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use fleet_testkit::is_left_out;
use fleet_types::view::Status;
use fleet_types::{RolloutKind, RolloutState};

use crate::program::Ended;
use crate::site::{Machine, Site};

#[test]
fn a_crash_loop_is_rolled_back_in_stage_1_and_nobody_else_sees_it() {
    if is_left_out("sshd") {
        return;
    }
    let site = Site::with_git_in_logs(6);
    let (first, bad) = (site.first(), site.bad_release());
    let others = || site.machines.iter().skip(1);
    let before: Vec<_> = others().map(content).collect();
    let ran = site
        .program
        .expect(4, &["update", "--all", "-y", "--settle", "0.3s"]);
    assert!(
        ran.stdout.contains("Halted   in stage 1/3"),
        "{}",
        ran.stdout
    );
    let line = ran
        .stdout
        .lines()
        .find(|line| line.contains("web-01"))
        .unwrap();
    for word in ["back on", &first[..7], "verify", "crash_loop"] {
        assert!(line.contains(word), "{word}: {line}");
    }
    site.assert_all_on(&first);

    let canary = site.machine("web-01");
    // One restart on the release, one on the way back.
    assert_eq!(canary.restarts(), 2, "{:?}", canary.commands());
    for (machine, before) in others().zip(before) {
        // Asked which commit the branch is, at most.
        let commands = machine.commands();
        assert!(
            commands.iter().all(|command| is_question(command)),
            "{}: {commands:?}",
            machine.host.name()
        );
        assert_eq!(content(machine), before, "{}", machine.host.name());
    }

    let status: Status = site.program.ask(&["status"]);
    let rollout = status.rollout.unwrap();
    assert_eq!(rollout.state, RolloutState::Halted);
    assert_eq!(rollout.target.version.as_ref(), Some(&bad));
    assert_eq!((rollout.counts.rolled_back, rollout.counts.skipped), (1, 5));
    assert_eq!(
        (status.fleet.needs_attention, status.fleet.updating),
        (0, 0)
    );

    the_same_commit_needs_consent(&site, &bad);
    site.assert_all_on(&first);
}

fn the_same_commit_needs_consent(site: &Site, bad: &str) {
    let sessions = || -> Vec<usize> {
        let machines = site.machines.iter();
        machines.map(|machine| machine.sshd.sessions()).collect()
    };
    let before = sessions();
    let by_commit = ["update", "--all", "-y", "--to", bad, "--settle", "0.3s"];
    let refused = site.program.expect(8, &by_commit);
    assert!(refused.stderr.contains("--force"), "{}", refused.stderr);
    assert_eq!(sessions(), before);

    let again = site.program.roll_out(4, &["retry", "-y"]);
    assert_eq!(again.summary.rollout.kind, RolloutKind::Retry);
    assert_crash_loop(&again, "web-01");
    assert_eq!(site.machine("web-01").restarts(), 4);

    // The branch is still on that commit, which shows once a host was asked.
    let by_branch = ["update", "--all", "-y", "--settle", "0.3s"];
    let refused = site.program.expect(8, &by_branch);
    let words = format!("before any host was touched: {bad} halted rollout");
    assert!(refused.stdout.contains(&words), "{}", refused.stdout);
    assert_eq!(site.machine("web-01").restarts(), 4);

    let forced = [
        "update", "--on", "web-02", "-y", "--force", "--settle", "0.3s",
    ];
    assert_crash_loop(&site.program.roll_out(4, &forced), "web-02");
}

#[track_caller]
fn assert_crash_loop(ended: &Ended, name: &str) {
    let (status, reason, touched) = ended.part(name);
    assert_eq!(
        (status.as_str(), reason.as_str(), touched),
        ("rolled_back", "crash_loop", true)
    );
}

/// Whether a command that a host's log tells of changes nothing.
fn is_question(command: &str) -> bool {
    let mut words = command.split(' ');
    if words.next() != Some("git") {
        return false;
    }
    while let Some(word) = words.next() {
        match word {
            "-c" => drop(words.next()),
            "rev-parse" | "ls-remote" => return true,
            "config" => return words.next() == Some("--get"),
            _ => return false,
        }
    }
    false
}

/// Everything that is on a host but its log.
fn content(machine: &Machine) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut content = BTreeMap::new();
    let mut folders = vec![machine.host.home().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path != machine.host.home().join("log") {
                let bytes = fs::read(&path).unwrap();
                content.insert(path, bytes);
            }
        }
    }
    content
}
