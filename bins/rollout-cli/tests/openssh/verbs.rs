//! What another process may ask of a rollout under way.

use std::time::Duration;

use fleet_testkit::{is_left_out, until};
use fleet_types::view::{Rollout, Status};
use fleet_types::{Event, EventKind, RolloutState};
use local_fleet::{InstallBehaviour, ReleaseSpec};

use crate::program::Running;
use crate::site::Site;

const HOSTS: usize = 8;

/// Two hosts at a time, each of which takes long enough for a person to step in.
fn begin(site: &Site) -> (String, Running) {
    let slow = InstallBehaviour::Slow(Duration::from_millis(400));
    let target = site.release(ReleaseSpec::good("Better").install(slow));
    let running = site.program.start(&[
        "update",
        "--all",
        "-y",
        "--to",
        &target,
        "--stages",
        "100",
        "--concurrency",
        "2",
        "--max-in-flight",
        "2",
        "--settle",
        "0",
    ]);
    (target, running)
}

fn rollout(site: &Site) -> Rollout {
    let status: Status = site.program.ask(&["status"]);
    status.rollout.unwrap()
}

/// The names in events of one kind that come after one of another kind, in order.
fn hosts(events: &[Event], kind: EventKind) -> Vec<&str> {
    let of_kind = events.iter().filter(|event| event.kind == kind);
    let mut names: Vec<&str> = of_kind
        .map(|event| event.host.as_deref().unwrap())
        .collect();
    names.sort_unstable();
    names
}

#[track_caller]
fn place(events: &[Event], kind: EventKind) -> usize {
    let place = events.iter().position(|event| event.kind == kind);
    place.unwrap_or_else(|| panic!("no {kind:?} in {events:#?}"))
}

#[test]
fn a_paused_rollout_starts_no_host_until_it_is_resumed() {
    if is_left_out("sshd") {
        return;
    }
    let site = Site::new(HOSTS);
    let (target, mut running) = begin(&site);
    running.until(EventKind::HostStarted);
    site.program.expect(0, &["pause"]);
    running.until(EventKind::RolloutPaused);
    until("the hosts in flight finish", || {
        rollout(&site).counts.updating == 0
    });
    let paused = rollout(&site);
    assert_eq!(paused.state, RolloutState::Paused);
    assert!(paused.attended, "its process waits");
    assert!(
        paused.counts.pending > 0 && paused.counts.success > 0,
        "{:?}",
        paused.counts
    );
    // What a second one gets meanwhile.
    let second = site.program.expect(7, &["update", "--all", "-y"]);
    assert!(
        second.stderr.contains(&paused.id.short().to_string()),
        "{}",
        second.stderr
    );
    assert_eq!(rollout(&site).counts, paused.counts);
    let on_target = |site: &Site| {
        let truths = site.machines.iter().map(|machine| site.truth(machine));
        truths
            .filter(|truth| *truth == local_fleet::Truth::well_on(&target))
            .count()
    };
    assert_eq!(on_target(&site), paused.counts.success as usize);

    site.program.expect(0, &["resume"]);
    let ended = running.end();
    assert_eq!(ended.code, 0);
    site.assert_all_on(&target);
    let events = &ended.events;
    let (pause, resume) = (
        place(events, EventKind::RolloutPaused),
        place(events, EventKind::RolloutResumed),
    );
    let meanwhile = &events[pause..resume];
    assert_eq!(hosts(meanwhile, EventKind::HostStarted), Vec::<&str>::new());
    // Whoever had begun before was finished meanwhile.
    assert_eq!(
        hosts(&events[..resume], EventKind::HostStarted),
        hosts(&events[..resume], EventKind::HostFinished)
    );
}

#[test]
fn an_aborted_rollout_finishes_what_is_in_flight_and_keeps_what_is_done() {
    if is_left_out("sshd") {
        return;
    }
    let site = Site::new(HOSTS);
    let first = site.first();
    let (target, mut running) = begin(&site);
    running.until(EventKind::HostFinished);
    site.program.expect(0, &["abort"]);
    let ended = running.end();
    assert_eq!(ended.code, 4);
    assert_eq!(ended.summary.rollout.state, RolloutState::Aborted);
    let events = &ended.events;
    let abort = place(events, EventKind::RolloutAborting);
    assert_eq!(
        hosts(&events[abort..], EventKind::HostStarted),
        Vec::<&str>::new()
    );
    let started = hosts(events, EventKind::HostStarted);
    assert!((1..HOSTS).contains(&started.len()), "{started:?}");
    for machine in &site.machines {
        let name = machine.host.name();
        let (status, reason, touched) = ended.part(name);
        if started.contains(&name) {
            assert_eq!(
                (status.as_str(), reason.as_str()),
                ("success", "updated"),
                "{name}"
            );
            site.assert_on(name, &target);
        } else {
            assert_eq!(
                (status.as_str(), reason.as_str(), touched),
                ("skipped", "not_started", false)
            );
            site.assert_on(name, &first);
            assert_eq!(machine.sshd.sessions(), 0, "{name}");
        }
    }
    // Nothing is left in the way of the next one.
    site.program.roll_out(0, &["retry", "-y"]);
    site.assert_all_on(&target);
}
