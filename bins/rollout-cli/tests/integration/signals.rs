//! Ctrl-C, SIGTERM, and verbs from another process while an update runs.

use fleet_types::RolloutState;
use fleet_types::view::Rollout;
use local_fleet::ReleaseSpec;

use std::io::{PipeReader, Read, pipe};
use std::process::Stdio;

use rustix::pipe::fcntl_setpipe_size;
use rustix::process::Signal;
use serde_json::Value;

use crate::support::{Running, Site, wait_until};

const SLOW: &str = "[rollout]\nsettle = 0\n[lease]\nslot_grace = 0.2\n";

/// A site whose install waits at the gate, and its next release.
fn site(hosts: usize) -> (Site, String) {
    let site = Site::gated(hosts, SLOW);
    let target = site.release(ReleaseSpec::good("two"));
    (site, target)
}

fn rollout(site: &Site) -> Rollout {
    site.status().rollout.unwrap()
}

/// An update that has hosts in flight.
fn under_way(site: &Site) -> Running {
    let running = site.place.start(&["update", "--all", "-y"]);
    wait_until("hosts are in flight", || {
        site.status().rollout.is_some_and(|rollout| {
            rollout
                .in_flight
                .iter()
                .any(|flight| flight.step.as_deref() == Some("install"))
        })
    });
    running
}

#[test]
fn the_first_ctrl_c_finishes_what_is_in_flight() {
    let (site, target) = site(6);
    let running = pausing(&site);
    site.open_gate();
    let ran = running.end();
    assert_eq!(ran.code, 130, "{ran:#?}");
    for part in ["paused: no further host is started", "nothing runs"] {
        assert!(ran.stderr.contains(part), "{part:?} is not in {ran:#?}");
    }
    assert!(ran.stdout.contains("rollout-cli resume"), "{ran:#?}");
    let stopped = rollout(&site);
    assert_eq!(
        (stopped.state, stopped.counts.updating),
        (RolloutState::Paused, 0)
    );
    assert!(
        stopped.counts.success >= 1 && stopped.counts.pending >= 1,
        "{:?}",
        stopped.counts
    );

    let refused = site.place.expect(7, &["update", "--all", "-y"]);
    let lines: Vec<&str> = refused.stderr.lines().collect();
    assert!(
        lines.len() <= 3 && lines[0].contains(&stopped.id.short()),
        "{refused:#?}"
    );
    assert!(
        lines[0].contains("tester@") && lines[0].contains("ago"),
        "{refused:#?}"
    );
    assert!(
        lines[2].contains("resume") && lines[2].contains("abort"),
        "{refused:#?}"
    );
    let status = site.place.expect(0, &["status"]).stdout;
    assert!(
        status.contains("asked to pause") && status.contains("rollout-cli resume"),
        "{status}"
    );

    site.place.expect(0, &["resume"]);
    assert_eq!(site.heads(), vec![target; 6]);
    assert_eq!(rollout(&site).id, stopped.id);
}

/// An update that was asked to pause by Ctrl-C, its first host held in the install.
fn pausing(site: &Site) -> Running {
    let running = under_way(site);
    running.signal(Signal::INT);
    wait_until("the pause is stored", || {
        rollout(site).state == RolloutState::Paused
    });
    running
}

#[test]
fn the_second_ctrl_c_leaves_at_once_and_the_next_process_settles() {
    let (site, target) = site(3);
    let running = pausing(&site);
    running.signal(Signal::INT);
    let ran = running.end();
    assert_eq!(ran.code, 130, "{ran:#?}");
    // The gate is still closed: the install was not waited for.
    assert!(ran.stderr.contains("may still run on web-01"), "{ran:#?}");
    assert_eq!(rollout(&site).counts.updating, 1);
    site.open_gate();
    let resumed = site.place.expect(0, &["resume"]);
    assert!(resumed.stderr.contains("taken-over"), "{resumed:#?}");
    assert_eq!(site.heads(), vec![target; 3]);
}

#[test]
fn a_third_signal_while_it_leaves_does_not_cost_the_summary() {
    let (site, target) = site(3);
    let running = pausing(&site);
    // Both come before the worker has left, for it tells the database of it; two of a kind might be taken for one.
    running.signal(Signal::INT);
    running.signal(Signal::TERM);
    let ran = running.end();
    assert_eq!(ran.code, 130, "{ran:#?}");
    assert!(ran.stdout.contains("rollout-cli resume"), "{ran:#?}");
    assert!(ran.stderr.contains("may still run on web-01"), "{ran:#?}");
    for wrong in ["is not known", "does not answer", "has not answered"] {
        assert!(!ran.stderr.contains(wrong), "{wrong:?} is in {ran:#?}");
    }
    site.open_gate();
    site.place.expect(0, &["resume"]);
    assert_eq!(site.heads(), vec![target; 3]);
}

/// A finished update in the middle of its summary, of which so much was read. It says no more until somebody reads on.
fn in_its_summary(site: &Site) -> (Running, PipeReader, String) {
    const PAGE: usize = 4096;
    let (mut reader, writer) = pipe().unwrap();
    assert_eq!(fcntl_setpipe_size(&writer, PAGE).unwrap(), PAGE);
    let mut command = site.place.command(&["update", "--all", "-y", "--json"]);
    command.stdout(writer).stderr(Stdio::piped());
    let running = Running::of(command.spawn().unwrap());
    // It holds the end that is written to.
    drop(command);
    let (mut line, mut byte) = (Vec::new(), [0]);
    while !line.ends_with(b"{\"type\":\"summary\"") {
        if line.last() == Some(&b'\n') {
            line.clear();
        }
        reader.read_exact(&mut byte).unwrap();
        line.extend(byte);
    }
    (running, reader, String::from_utf8(line).unwrap())
}

const ENOUGH_FOR_A_LONG_SUMMARY: usize = 12;

#[test]
fn ctrl_c_while_the_summary_is_written_changes_nothing() {
    let site = Site::new(ENOUGH_FOR_A_LONG_SUMMARY, SLOW);
    site.release(ReleaseSpec::good("two"));
    let (running, mut reader, mut summary) = in_its_summary(&site);
    running.signal(Signal::INT);
    reader.read_to_string(&mut summary).unwrap();
    let ran = running.end();
    assert_eq!(ran.code, 0, "{ran:#?}");
    // Far more than fits into the pipe.
    assert!(summary.len() > 2 * 4096, "{}", summary.len());
    let summary: Value = serde_json::from_str(&summary).unwrap();
    assert_eq!(summary["rollout"]["state"], "completed");
}

#[test]
fn ctrl_c_while_nobody_reads_the_summary_ends_as_the_rollout_did() {
    let site = Site::new(ENOUGH_FOR_A_LONG_SUMMARY, SLOW);
    site.release(ReleaseSpec::good("two"));
    let (running, _reader, _) = in_its_summary(&site);
    running.signal(Signal::INT);
    let ran = running.end();
    assert_eq!(ran.code, 0, "{ran:#?}");
    assert!(ran.stderr.contains("the rollout is over"), "{ran:#?}");
}

#[test]
fn a_polite_kill_finishes_what_is_in_flight() {
    let (site, _) = site(3);
    let running = under_way(&site);
    running.signal(Signal::TERM);
    wait_until("the pause is stored", || {
        rollout(&site).state == RolloutState::Paused
    });
    site.open_gate();
    let ran = running.end();
    assert_eq!(ran.code, 130, "{ran:#?}");
    let stopped = rollout(&site);
    assert_eq!(
        (stopped.state, stopped.counts.updating),
        (RolloutState::Paused, 0)
    );
    let aborted = site.place.expect(0, &["abort"]);
    assert!(
        aborted.stderr.contains("is aborted") && aborted.stderr.contains("Next:"),
        "{aborted:#?}"
    );
    assert_eq!(rollout(&site).state, RolloutState::Aborted);
    site.place.expect(0, &["abort"]);
}

#[test]
fn verbs_of_another_process_are_heeded() {
    let (site, target) = site(6);
    let mut running = under_way(&site);
    let refused = site.place.expect(7, &["update", "--all", "-y"]);
    assert!(
        refused.stderr.contains("a live process works on it"),
        "{refused:#?}"
    );
    let status = site.place.expect(0, &["status"]).stdout;
    assert!(
        status.contains("in flight") && status.contains("install") && status.contains("limit in"),
        "{status}"
    );

    let paused = site.place.expect(0, &["pause"]);
    assert!(
        paused.stderr.contains("is paused") && paused.stderr.contains("Next:"),
        "{paused:#?}"
    );
    site.open_gate();
    wait_until("nothing is in flight", || {
        rollout(&site).counts.updating == 0
    });
    let before = rollout(&site).counts;
    assert!(before.pending > 0 && !running.has_ended());
    // Whoever resumes it shares the work: the process that was paused might just be leaving.
    let resumed = site.place.expect(0, &["resume"]);
    assert!(
        resumed.stdout.contains("Completed   6 hosts on"),
        "{resumed:#?}"
    );
    let watched = site.place.expect(0, &["watch"]);
    assert!(
        watched.stdout.contains("Completed   6 hosts on"),
        "{watched:#?}"
    );
    let ran = running.end();
    assert_eq!(ran.code, 0, "{ran:#?}");
    assert!(
        ran.stderr.contains(" paused by ") && ran.stderr.contains(" resumed by "),
        "{ran:#?}"
    );
    assert_eq!(site.heads(), vec![target; 6]);
}

#[test]
fn an_abort_ends_it_and_done_stays_done() {
    let (site, target) = site(6);
    let running = under_way(&site);
    let aborted = site.place.expect(0, &["abort"]);
    assert!(aborted.stderr.contains("is aborting"), "{aborted:#?}");
    site.open_gate();
    let ran = running.end();
    assert_eq!(ran.code, 4, "{ran:#?}");
    assert!(
        ran.stdout.contains("Aborted") && ran.stdout.contains("not started"),
        "{ran:#?}"
    );
    let ended = rollout(&site);
    assert_eq!(
        (ended.state, ended.counts.updating, ended.counts.pending),
        (RolloutState::Aborted, 0, 0)
    );
    let done = site.heads().iter().filter(|head| **head == target).count();
    assert_eq!(done, ended.counts.success as usize);
    site.place.expect(8, &["pause"]);
    site.place.expect(8, &["resume"]);
}
