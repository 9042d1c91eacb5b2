//! Updates from end to end, over SSH, in a pipe.

use fleet_types::view::{Host, Rollout};
use fleet_types::{AttemptStatus, Event, EventKind, RolloutState};
use local_fleet::{Fault, ReleaseSpec};

use crate::support::{Ran, Site};

const FAST: &str = "[rollout]\nsettle = 0.3\n[app.timeouts]\nconnect = 5\n";

struct Summary {
    events: Vec<Event>,
    rollout: Rollout,
    hosts: Vec<Host>,
}

impl Summary {
    fn of(ran: &Ran) -> Self {
        let mut lines = ran.lines();
        let last = lines.pop().unwrap();
        assert_eq!(last["type"], "summary");
        Self {
            events: lines
                .into_iter()
                .map(|line| serde_json::from_value(line).unwrap())
                .collect(),
            rollout: serde_json::from_value(last["rollout"].clone()).unwrap(),
            hosts: serde_json::from_value(last["hosts"].clone()).unwrap(),
        }
    }

    fn with(&self, status: AttemptStatus) -> Vec<&str> {
        let has = |host: &&Host| {
            host.attempt
                .as_ref()
                .is_some_and(|attempt| attempt.status == status)
        };
        self.hosts
            .iter()
            .filter(has)
            .map(|host| host.name.as_str())
            .collect()
    }
}

#[test]
fn a_good_release_reaches_every_host() {
    let site = Site::new(10, FAST);
    let before = site.heads()[0].clone();
    let target = site.release(ReleaseSpec::good("two"));
    let plan = site.place.json(&["plan", "--all"]);
    assert_eq!(plan["hosts"], 10);
    assert_eq!(plan["stages"][1]["may_fail"], 1);
    let dry = site.place.json(&["update", "--all", "--dry-run"]);
    assert_eq!(dry, plan, "the same code path");
    assert_eq!(site.heads(), vec![before.clone(); 10]);

    let summary = Summary::of(
        &site
            .place
            .expect(0, &["update", "--all", "-y", "--json", "-m", "try it"]),
    );
    assert_eq!(site.heads(), vec![target.clone(); 10]);
    assert_eq!(summary.rollout.state, RolloutState::Completed);
    assert_eq!(
        summary.rollout.target.version.as_deref(),
        Some(target.as_str())
    );
    assert_eq!(summary.rollout.target.reference, "main");
    assert_eq!(summary.rollout.message.as_deref(), Some("try it"));
    let sizes: Vec<u32> = summary
        .rollout
        .stages
        .iter()
        .map(|stage| stage.hosts)
        .collect();
    assert_eq!(sizes, [1, 4, 5]);
    assert!(
        summary
            .hosts
            .iter()
            .all(|host| host.previous_version.as_deref() == Some(&before))
    );
    let seqs: Vec<i64> = summary.events.iter().map(|event| event.seq.0).collect();
    assert!(
        seqs.windows(2).all(|pair| pair[0] < pair[1]),
        "in the order of the feed"
    );
    assert_eq!(
        summary.events.first().unwrap().kind,
        EventKind::RolloutStarted
    );
    assert_eq!(
        summary.events.last().unwrap().kind,
        EventKind::RolloutFinished
    );
    assert!(site.fleet.max_connections_seen() <= 5);

    let again = Summary::of(
        &site
            .place
            .expect(0, &["update", "--to", &target, "--all", "-y", "--json"]),
    );
    assert!(
        again
            .hosts
            .iter()
            .all(|host| host.attempt.as_ref().unwrap().reason.as_deref() == Some("unchanged"))
    );
    let watched = Summary::of(
        &site
            .place
            .expect(0, &["watch", &summary.rollout.id.to_string(), "--json"]),
    );
    assert_eq!(
        watched.events, summary.events,
        "a later reader sees the same"
    );
    assert_eq!(watched.rollout, summary.rollout);
}

#[test]
fn a_release_that_crash_loops_is_taken_back_in_stage_one() {
    let site = Site::new(10, FAST);
    let before = site.heads()[0].clone();
    let bad = site.release(ReleaseSpec::crash_loops("two"));
    let ran = site
        .place
        .expect(4, &["update", "--to", &bad, "--all", "-y"]);
    for part in [
        "Halted",
        "in stage 1/3",
        "↩ web-01",
        "crash_loop",
        "9 not started",
        "Next:",
        "retry",
        "exit code 4",
    ] {
        assert!(ran.stdout.contains(part), "{part:?} is not in {ran:#?}");
    }
    assert!(
        ran.stderr.contains("[ 1/10] rolled-back web-01"),
        "{}",
        ran.stderr
    );
    assert_eq!(site.heads(), vec![before; 10]);
    let state = site.wait(site.fleet.hosts()[0].service_state()).unwrap();
    assert_eq!(state.active_state, "active");

    let refused = site
        .place
        .expect(8, &["update", "--to", &bad, "--all", "-y"]);
    assert!(
        refused.stderr.contains("--force") && refused.stderr.lines().count() <= 3,
        "{refused:#?}"
    );
    site.place
        .expect(4, &["update", "--to", &bad, "--all", "-y", "--force"]);
    let retried = Summary::of(&site.place.expect(4, &["retry", "--json"]));
    assert_eq!(retried.rollout.kind, fleet_types::RolloutKind::Retry);

    let rollouts = site.place.json(&["rollouts", "list"]);
    assert_eq!(rollouts["rollouts"].as_array().unwrap().len(), 3);
    let logs = site.place.json(&["logs", "--host", "web-01"]);
    let steps: Vec<&str> = logs["steps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|step| step["step"].as_str().unwrap())
        .collect();
    assert!(
        steps.contains(&"verify") && steps.contains(&"rollback_verify"),
        "{steps:?}"
    );
    let one = site
        .place
        .json(&["logs", "--host", "web-01", "--step", "install"]);
    assert_eq!(one["steps"].as_array().unwrap().len(), 1);
    site.place.expect(8, &["logs", "--host", "web-99"]);
}

#[test]
fn a_host_that_is_down_fails_untouched_and_the_others_are_done() {
    let site = Site::new(12, FAST);
    let target = site.release(ReleaseSpec::good("two"));
    // In the last stage of 6, one may fail.
    site.wait(site.fleet.hosts()[11].set_fault(Fault::Down))
        .unwrap();
    let summary = Summary::of(&site.place.expect(3, &["update", "--all", "-y", "--json"]));
    assert_eq!(summary.rollout.state, RolloutState::CompletedWithFailures);
    assert_eq!(summary.with(AttemptStatus::Failed), ["web-12"]);
    assert_eq!(summary.with(AttemptStatus::Success).len(), 11);
    let attempt = summary
        .hosts
        .iter()
        .find(|host| host.name == "web-12")
        .unwrap()
        .attempt
        .clone()
        .unwrap();
    assert_eq!(
        (attempt.touched, attempt.reason.as_deref()),
        (false, Some("unreachable"))
    );
    let shown = site.place.json(&["rollouts", "show"]);
    let hosts: Vec<Host> = serde_json::from_value(shown["hosts"].clone()).unwrap();
    assert_eq!(hosts, summary.hosts);
    assert_eq!(
        site.place
            .expect(0, &["rollouts", "show"])
            .stdout
            .matches("✓ updated")
            .count(),
        11
    );

    site.wait(site.fleet.hosts()[11].clear_faults()).unwrap();
    site.place.expect(0, &["retry", "-y"]);
    assert_eq!(site.heads(), vec![target; 12]);
}

#[test]
fn a_rollback_brings_every_host_to_its_own_previous_version() {
    let site = Site::new(4, FAST);
    let first = site.heads()[0].clone();
    let second = site.release(ReleaseSpec::good("two"));
    site.place
        .expect(0, &["update", "--to", &second, "--on", "web-01", "-y"]);
    let third = site.release(ReleaseSpec::good("three"));
    site.place
        .expect(0, &["update", "--to", &third, "--all", "-y"]);
    let plan = site.place.json(&["rollback", "--dry-run"]);
    assert_eq!(
        (&plan["kind"], &plan["hosts"]),
        (&"rollback".into(), &4.into())
    );
    let summary = Summary::of(&site.place.expect(0, &["rollback", "--json"]));
    assert_eq!(summary.rollout.target.version, None);
    assert_eq!(site.heads(), [second, first.clone(), first.clone(), first]);
}

#[test]
fn a_host_that_cannot_be_taken_back_needs_attention() {
    let site = Site::new(4, FAST);
    let bad = site.release(ReleaseSpec::crash_loops("two").only_on(["web-01"]));
    let host = &site.fleet.hosts()[0];
    // It goes forward by other means than back.
    let point = local_fleet::CommandPoint::Git("reset");
    site.wait(host.set_fault(Fault::fails(point, 1))).unwrap();
    let point = local_fleet::CommandPoint::Git("checkout");
    site.wait(host.set_fault(Fault::fails(point, 1))).unwrap();
    let ran = site
        .place
        .expect(5, &["update", "--to", &bad, "--all", "-y"]);
    let row = ran.stdout.lines().find(|line| line.contains("✗ web-01"));
    assert!(
        row.is_some_and(|row| row.contains("NEEDS ATTENTION")),
        "{ran:#?}"
    );
    assert!(
        ran.stdout.contains("1 NEED ATTENTION") && ran.stdout.contains("exit code 5"),
        "{ran:#?}"
    );
    assert_eq!(site.status().fleet.needs_attention, 1);
    site.place
        .expect(0, &["hosts", "edit", "web-01", "--clear-attention"]);
    assert_eq!(site.status().fleet.needs_attention, 0);
}

#[test]
fn detaching_needs_a_server() {
    let site = Site::new(1, FAST);
    let ran = site.place.expect(8, &["update", "--all", "-y", "--detach"]);
    assert!(
        ran.stderr.contains("server") && ran.stderr.lines().count() <= 3,
        "{ran:#?}"
    );
    assert_eq!(site.status().rollout, None);
}
