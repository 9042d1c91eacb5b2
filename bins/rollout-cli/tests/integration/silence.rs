//! Ctrl-C and SIGTERM while the database takes what it is told and never answers, or is gone.

use std::time::{Duration, Instant};

use fleet_testkit::{Door, Postgres, is_left_out};
use fleet_types::RolloutState;
use local_fleet::ReleaseSpec;
use rustix::process::Signal;

use crate::line::{Line, by_port};
use crate::support::{Ran, Running, Site, wait_until};

const QUICK: &str = "[rollout]\nsettle = 0\n[lease]\nslot_grace = 0.2\n";

/// A site on PostgreSQL, an update by this port that has a host in flight, and where it goes.
fn under_way(port: u16) -> (Site, Running, String) {
    let site = Site::gated(3, QUICK);
    let server = Postgres::shared();
    let url = server.url(&server.new_database());
    site.move_to(&url);
    let target = site.release(ReleaseSpec::good("two"));
    let by_line = by_port(&url, server.port(), port);
    let update = ["--database-url", &by_line, "update", "--all", "-y"];
    let running = site.place.start(&update);
    wait_until("a host is in flight", || {
        site.status().rollout.is_some_and(|rollout| {
            let mut steps = rollout
                .in_flight
                .iter()
                .map(|flight| flight.step.as_deref());
            steps.any(|step| step == Some("install"))
        })
    });
    (site, running, target)
}

/// It says what is not known, why, and what to do.
fn left_unheard(ran: &Ran) {
    assert_eq!(ran.code, 130, "{ran:#?}");
    for part in [
        "how rollout",
        "a step may still run on web-01",
        "rollout-cli resume",
    ] {
        assert!(ran.stderr.contains(part), "{part:?} is not in {ran:#?}");
    }
}

/// Nothing is lost: the next process settles what was in flight, and finishes.
fn is_finished_by_the_next(site: &Site, target: String) {
    site.open_gate();
    let resumed = site.place.expect(0, &["resume"]);
    assert!(resumed.stderr.contains("taken-over"), "{resumed:#?}");
    assert_eq!(site.heads(), vec![target; 3]);
}

/// Once the database is cut off, one signal ends the update by this port within 30 s, a few more on a machine that does much
/// else. It says this as the cause.
fn one_signal_is_enough(port: u16, cut_off: impl FnOnce(), signal: Signal, cause: &str) {
    let (site, running, target) = under_way(port);
    cut_off();
    let begun = Instant::now();
    running.signal(signal);
    let ran = running.end();
    let took = begun.elapsed();
    left_unheard(&ran);
    assert!(ran.stderr.contains(cause), "{ran:#?}");
    assert!(took < Duration::from_secs(34), "{took:?}");
    is_finished_by_the_next(&site, target);
}

fn one_signal_is_enough_in_silence(signal: Signal) {
    if is_left_out("postgres") {
        return;
    }
    let line = Line::to(Postgres::shared().port());
    let cause = "the database has not answered for";
    one_signal_is_enough(line.port(), || line.fall_silent(), signal, cause);
}

#[test]
fn ctrl_c_ends_it() {
    one_signal_is_enough_in_silence(Signal::INT);
}

#[test]
fn a_polite_kill_ends_it() {
    one_signal_is_enough_in_silence(Signal::TERM);
}

#[test]
fn ctrl_c_ends_it_although_the_database_is_gone() {
    if is_left_out("postgres") {
        return;
    }
    let door = Door::to(Postgres::shared().port());
    let cause = "is not known: ";
    one_signal_is_enough(door.port(), || door.close(), Signal::INT, cause);
}

#[test]
fn the_second_ctrl_c_ends_it_soon() {
    if is_left_out("postgres") {
        return;
    }
    // Silent as soon as the pause is to be put on record.
    let line = Line::to_until(Postgres::shared().port(), "rollout.paused");
    let (site, running, target) = under_way(line.port());
    running.signal(Signal::INT);
    wait_until("the pause is asked for", || line.is_silent());
    let begun = Instant::now();
    running.signal(Signal::INT);
    let ran = running.end();
    let took = begun.elapsed();
    left_unheard(&ran);
    assert!(took < Duration::from_secs(9), "{took:?}");
    assert_eq!(
        site.status().rollout.unwrap().state,
        RolloutState::Running,
        "the pause did not come through"
    );
    is_finished_by_the_next(&site, target);
}
