//! A rollout that a server works on, followed, steered and left.

use fleet_types::RolloutState;
use fleet_types::view::Rollout;
use local_fleet::ReleaseSpec;
use rustix::process::Signal;

use super::Served;
use crate::support::{Running, Site, wait_until};

const SETTINGS: &str = "[rollout]\nsettle = 0\n[health]\nevery = 3600\n";

/// A site whose install waits at the gate, its server, and its next release.
fn served(hosts: usize) -> (Served, String) {
    let site = Site::gated(hosts, SETTINGS);
    let target = site.release(ReleaseSpec::good("two"));
    (Served::on(site), target)
}

fn rollout(served: &Served) -> Rollout {
    served.site.status().rollout.unwrap()
}

fn under_way(served: &Served) -> Running {
    let running = served.start(&["update", "--all", "-y"]);
    wait_until("hosts are in flight", || {
        served.site.status().rollout.is_some_and(|rollout| {
            let mut flights = rollout.in_flight.iter();
            flights.any(|flight| flight.step.as_deref() == Some("install"))
        })
    });
    running
}

#[test]
fn a_second_update_is_told_of_the_first() {
    let (served, target) = served(4);
    let first = under_way(&served);
    let id = rollout(&served).id.short();
    let second = served.expect(7, &["update", "--all", "-y"]);
    assert!(
        second.stderr.contains(&format!("rollout {id} is active")),
        "{second:#?}"
    );
    assert!(
        second.stderr.contains("a live process works on it"),
        "{second:#?}"
    );
    let also = served.expect(7, &["retry", "-y"]);
    assert!(also.stderr.contains("watch"), "{also:#?}");
    served.site.open_gate();
    let ran = first.end();
    assert_eq!(ran.code, 0, "{ran:#?}");
    assert_eq!(served.site.heads(), vec![target; 4]);
}

#[test]
fn it_can_be_left_to_the_server_and_watched_later() {
    let (served, target) = served(4);
    let left = served.expect(0, &["update", "--all", "-y", "--detach"]);
    assert!(left.stderr.contains("a server does the work"), "{left:#?}");
    let watching = served.start(&["watch"]);
    served.site.open_gate();
    let ran = watching.end();
    assert_eq!(ran.code, 0, "{ran:#?}");
    assert_eq!(served.site.heads(), vec![target; 4]);
}

/// Only that process knows that its key is gone; everybody sees it.
#[test]
fn a_key_that_the_server_lacks_is_seen_in_the_status() {
    let (served, target) = served(3);
    let running = under_way(&served);
    let key = served.site.fleet.description().client_key;
    let away = key.with_extension("away");
    std::fs::rename(&key, &away).unwrap();
    let shows = || served.expect(0, &["status"]).stdout;
    let line = "cannot load the key";
    wait_until("the status says so", || shows().contains(line));
    let text = shows();
    let left = text.lines().find(|text| text.contains(line)).unwrap();
    assert!(left.contains("3 hosts by rollout-server"), "{left}");
    assert!(left.ends_with(": web-01, web-02, web-03"), "{left}");
    let local = served.site.place.expect(0, &["status"]).stdout;
    assert!(local.contains(left), "{local}");
    std::fs::rename(&away, &key).unwrap();
    wait_until("it is over", || !shows().contains(line));
    served.site.open_gate();
    let ran = running.end();
    assert_eq!(ran.code, 0, "{ran:#?}");
    assert_eq!(served.site.heads(), vec![target; 3]);
}

#[test]
fn ctrl_c_pauses_and_waits_for_what_is_in_flight() {
    let (served, _) = served(6);
    let running = under_way(&served);
    running.signal(Signal::INT);
    wait_until("the pause is stored", || {
        rollout(&served).state == RolloutState::Paused
    });
    served.site.open_gate();
    let ran = running.end();
    assert_eq!(ran.code, 130, "{ran:#?}");
    for part in [
        "paused: no further host is started",
        "nothing runs",
        "rollout-cli resume",
    ] {
        assert!(ran.stderr.contains(part), "{part:?} is not in {ran:#?}");
    }
    let stopped = rollout(&served);
    assert_eq!(
        (stopped.state, stopped.counts.updating),
        (RolloutState::Paused, 0)
    );
    served.expect(0, &["resume"]);
    served.expect(0, &["watch"]);
}

#[test]
fn a_second_ctrl_c_leaves_at_once_and_the_server_goes_on() {
    let (served, _) = served(6);
    let running = under_way(&served);
    running.signal(Signal::INT);
    wait_until("the pause is stored", || {
        rollout(&served).state == RolloutState::Paused
    });
    running.signal(Signal::INT);
    let ran = running.end();
    assert_eq!(ran.code, 130, "{ran:#?}");
    assert!(
        ran.stderr
            .contains("the server finishes the hosts in flight"),
        "{ran:#?}"
    );
    assert!(rollout(&served).counts.updating > 0);
    served.site.open_gate();
    wait_until("the server finishes them", || {
        rollout(&served).counts.updating == 0
    });
    served.expect(0, &["abort"]);
}

#[test]
fn ctrl_c_is_heard_while_the_server_says_nothing() {
    let (served, _) = served(4);
    let mut running = under_way(&served);
    let mut watching = served.start(&["watch"]);
    let mut told = served.start(&["update", "--all", "-y"]);
    wait_until("the second update is refused", || told.has_ended());
    served.freeze();
    // It may not listen yet.
    wait_until("it stops watching", || {
        watching.signal(Signal::INT);
        watching.has_ended()
    });
    let ran = watching.end();
    assert_eq!(ran.code, 130, "{ran:#?}");
    let began = std::time::Instant::now();
    // Two signals that come at the same moment are one, so it is told until it hears.
    wait_until("it leaves", || {
        running.signal(Signal::INT);
        running.has_ended()
    });
    let ran = running.end();
    assert_eq!(ran.code, 130, "{ran:#?}");
    assert!(
        ran.stderr.contains("the server does not answer"),
        "{ran:#?}"
    );
    assert!(began.elapsed().as_secs() < 15, "{:?}", began.elapsed());
    served.thaw();
    served.site.open_gate();
    wait_until("the server goes on", || {
        rollout(&served).counts.updating == 0
    });
}

#[test]
fn a_server_that_dies_is_waited_for_and_followed_on() {
    let (mut served, target) = served(4);
    let running = under_way(&served);
    served.kill();
    served.again();
    served.site.open_gate();
    let ran = running.end();
    assert_eq!(ran.code, 0, "{ran:#?}");
    assert_eq!(served.site.heads(), vec![target; 4]);
    let finished = ran.stderr.matches("completed").count();
    assert!(finished <= 1, "no event comes twice: {ran:#?}");
}
