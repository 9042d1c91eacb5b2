//! `health`: looks at services, and starts them again when asked to.

use local_fleet::{Fault, ReleaseSpec, ServiceBehaviour};
use serde_json::Value;

use crate::support::Site;

const FAST: &str = "[rollout]\nsettle = 0.2\n[app.timeouts]\nconnect = 5\n";

fn healths(said: &Value) -> Vec<(&str, &str)> {
    let word = |host: &'_ Value, key: &str| host[key].as_str().unwrap().to_owned().leak() as &str;
    let hosts = said["hosts"].as_array().unwrap();
    hosts
        .iter()
        .map(|host| (word(host, "health"), word(host, "done")))
        .collect()
}

fn health(site: &Site, code: i32, arguments: &[&str]) -> Value {
    let mut all = vec!["health", "--json"];
    all.extend(arguments);
    let ran = site.place.expect(code, &all);
    serde_json::from_str(&ran.stdout).unwrap()
}

#[test]
fn a_stopped_service_is_seen_and_started_again() {
    let site = Site::new(3, FAST);
    assert_eq!(healths(&health(&site, 0, &[])), [("active", "looked"); 3]);
    site.wait(site.fleet.hosts()[1].set_fault(Fault::UnitDown))
        .unwrap();
    let seen = health(&site, 3, &["--all"]);
    assert_eq!(healths(&seen)[1], ("inactive", "looked"));
    assert_eq!(site.status().fleet.health.inactive, 1);
    let ran = site.place.expect(3, &["health", "--on", "web-02"]);
    assert!(
        ran.stdout.contains("web-02") && !ran.stdout.contains("web-01"),
        "{ran:?}"
    );
    assert!(ran.stderr.contains("rollout-cli health --fix"), "{ran:?}");
    // Looking never starts anything.
    let state = site.wait(site.fleet.hosts()[1].service_state()).unwrap();
    assert_ne!(state.active_state, "active");

    let seen = health(&site, 0, &["--fix"]);
    assert_eq!(healths(&seen)[1], ("active", "restarted"));
    let ran = site.place.expect(0, &["audit", "--json"]);
    assert!(
        ran.stdout.contains("host.fix") && ran.stdout.contains("restarted; active"),
        "{}",
        ran.stdout
    );
    let state = site.wait(site.fleet.hosts()[1].service_state()).unwrap();
    assert_eq!(state.active_state, "active");
    assert_eq!(site.status().fleet.health.active, 3);

    site.wait(site.fleet.hosts()[2].set_fault(Fault::Down))
        .unwrap();
    assert_eq!(
        healths(&health(&site, 3, &["--fix"]))[2],
        ("unreachable", "looked")
    );
    site.place.expect(8, &["health", "--on", "nobody"]);
}

#[test]
fn a_service_that_never_stays_up_is_given_up_after_three_restarts() {
    let site = Site::new(1, FAST);
    let broken = ReleaseSpec::good("two").service(ServiceBehaviour::FailsToStart);
    site.release(broken);
    // Somebody moved the host by hand.
    let host = &site.fleet.hosts()[0];
    site.wait(host.git(&["pull", "-q", "origin", "main"]))
        .unwrap();
    site.wait(host.set_fault(Fault::UnitDown)).unwrap();
    for _ in 0..2 {
        assert_eq!(
            healths(&health(&site, 3, &["--fix"])),
            [("inactive", "restarted")]
        );
    }
    assert_eq!(
        healths(&health(&site, 5, &["--fix"])),
        [("unhealthy", "restarted")]
    );
    assert_eq!(
        healths(&health(&site, 5, &["--fix"])),
        [("unhealthy", "used_up")]
    );
    assert_eq!(site.status().fleet.health.unhealthy, 1);
}
