//! Killed at any moment and run again: nothing is lost.

use std::time::{Duration, Instant};

use fleet_types::view::Host;
use fleet_types::{AttemptStatus, RolloutState};
use local_fleet::{InstallBehaviour, ReleaseSpec};

use rustix::process::Signal;

use crate::support::{Site, wait_until};

const FAST: &str = "[rollout]\nsettle = 0.2\n[lease]\nslot_grace = 0.2\n";

/// How often, unless the environment says so.
fn rounds(variable: &str, default: u32) -> u32 {
    std::env::var(variable)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(default)
}

/// Numbers that look random and are the same in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

#[test]
fn killed_at_random_moments_and_run_again() {
    let wanted = rounds("ROLLOUT_TEST_KILLS", 50);
    let site = Site::new(20, FAST);
    let mut dice = Dice(7);
    let mut kills = 0;
    let mut before = site.heads()[0].clone();
    let mut releases = 0;
    while kills < wanted {
        releases += 1;
        let target = site.release(ReleaseSpec::good(format!("release {releases}")));
        loop {
            let mut running = site
                .place
                .start(&["update", "--to", &target, "--all", "-y"]);
            // Many early moments, in which hosts are taken over, and some late ones, in which stages close.
            let latest = if kills % 3 == 0 { 6000 } else { 1800 };
            let moment = Instant::now() + Duration::from_millis(dice.below(latest));
            while Instant::now() < moment && !running.has_ended() {
                std::thread::sleep(Duration::from_millis(2));
            }
            if running.has_ended() || kills == wanted {
                let ran = running.end();
                assert_eq!(ran.code, 0, "after {kills} kills: {ran:#?}");
                break;
            }
            running.signal(Signal::KILL);
            running.end();
            kills += 1;
            at_most_one_is_active(&site);
        }
        settled(&site, &target, &before);
        before = target;
    }
    assert!(
        site.fleet.max_connections_seen() <= 5,
        "{}",
        site.fleet.max_connections_seen()
    );
}

fn at_most_one_is_active(site: &Site) {
    let list = site.place.json(&["rollouts", "list"]);
    let rollouts: Vec<fleet_types::view::Rollout> =
        serde_json::from_value(list["rollouts"].clone()).unwrap();
    assert!(
        rollouts
            .iter()
            .filter(|rollout| rollout.state.is_active())
            .count()
            <= 1
    );
}

/// Every host is on the target, as it says itself and as is on record, and the one before is known.
fn settled(site: &Site, target: &str, before: &str) {
    let status = site.status();
    assert_eq!(status.fleet.updating, 0);
    assert_eq!(status.rollout.unwrap().state, RolloutState::Completed);
    assert!(site.heads().iter().all(|head| head == target));
    let list = site.place.json(&["hosts", "list"]);
    let hosts: Vec<Host> = serde_json::from_value(list["hosts"].clone()).unwrap();
    for host in hosts {
        assert_eq!(host.update_status, Some(AttemptStatus::Success), "{host:?}");
        assert_eq!(host.current_version.as_deref(), Some(target), "{host:?}");
        assert_eq!(host.previous_version.as_deref(), Some(before), "{host:?}");
        assert!(!host.needs_attention);
    }
    for host in site.fleet.hosts() {
        assert_eq!(
            site.wait(host.service_state()).unwrap().active_state,
            "active"
        );
    }
}

/// A process that was killed with hosts in flight; the release takes long to install.
fn interrupted(site: &Site) -> String {
    let release =
        ReleaseSpec::good("slow").install(InstallBehaviour::Slow(Duration::from_millis(1500)));
    let target = site.release(release);
    let running = site
        .place
        .start(&["update", "--to", &target, "--all", "-y"]);
    wait_until("a host is in flight", || {
        site.status().rollout.is_some_and(|rollout| {
            rollout
                .in_flight
                .iter()
                .any(|flight| flight.step.as_deref() == Some("install"))
        })
    });
    running.signal(Signal::KILL);
    running.end();
    target
}

#[test]
fn the_same_target_takes_over_and_finishes() {
    let site = Site::new(4, FAST);
    let target = interrupted(&site);
    let stopped = site.status().rollout.unwrap();
    assert!(stopped.state == RolloutState::Running && !stopped.attended);
    let status = site.place.expect(0, &["status"]).stdout;
    assert!(
        status.contains("no live process works on it: run rollout-cli resume"),
        "{status}"
    );
    let ran = site
        .place
        .expect(0, &["update", "--to", &target, "--all", "-y"]);
    assert!(
        ran.stderr.contains("was interrupted") && ran.stderr.contains("taken-over"),
        "{ran:#?}"
    );
    assert_eq!(
        site.status().rollout.unwrap().id,
        stopped.id,
        "then it is done"
    );
    assert_eq!(site.heads(), vec![target; 4]);
}

#[test]
fn another_target_settles_ends_and_does_its_own() {
    let site = Site::new(4, FAST);
    interrupted(&site);
    let stopped = site.status().rollout.unwrap();
    let other = site.release(ReleaseSpec::good("other"));
    let ran = site
        .place
        .expect(0, &["update", "--to", &other, "--all", "-y"]);
    assert!(ran.stderr.contains("it is ended first"), "{ran:#?}");
    let ended = site
        .place
        .json(&["rollouts", "show", &stopped.id.to_string()]);
    assert_eq!(ended["rollout"]["state"], "aborted");
    assert_eq!(ended["rollout"]["counts"]["updating"], 0);
    assert_eq!(site.heads(), vec![other; 4]);
}

#[test]
fn an_interrupted_rollout_is_resumed_or_aborted() {
    let site = Site::new(4, FAST);
    let target = interrupted(&site);
    site.place.expect(0, &["resume"]);
    assert_eq!(site.heads(), vec![target; 4]);
    interrupted(&site);
    site.place.expect(0, &["abort"]);
    let ended = site.status().rollout.unwrap();
    assert_eq!(
        (ended.state, ended.counts.updating, ended.counts.pending),
        (RolloutState::Aborted, 0, 0)
    );
}
