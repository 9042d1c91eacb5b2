//! Releases that run well.

use fleet_testkit::is_left_out;
use fleet_types::RolloutState;
use fleet_types::view::Status;

use crate::site::Site;

#[test]
fn a_good_release_comes_to_every_host_and_a_second_run_changes_nothing() {
    if is_left_out("sshd") {
        return;
    }
    let site = Site::new(6);
    let (first, target) = (site.first(), site.good_release());
    site.assert_all_on(&first);

    let ended = site
        .program
        .roll_out(0, &["update", "--all", "-y", "--settle", "0.2s"]);
    site.assert_all_on(&target);
    for machine in &site.machines {
        assert_eq!(machine.restarts(), 1, "{:?}", machine.commands());
        let seen = ended.summary.host(machine.host.name());
        assert_eq!(seen.current_version.as_ref(), Some(&target));
        assert_eq!(seen.previous_version.as_ref(), Some(&first));
        assert_eq!(
            ended.part(&seen.name),
            ("success".to_owned(), "updated".to_owned(), true)
        );
    }
    let sizes: Vec<u32> = ended
        .summary
        .rollout
        .stages
        .iter()
        .map(|stage| stage.hosts)
        .collect();
    assert_eq!(sizes, [1, 2, 3]);

    let status: Status = site.program.ask(&["status"]);
    let rollout = status.rollout.unwrap();
    assert_eq!(rollout.id, ended.summary.rollout.id);
    assert_eq!(rollout.state, RolloutState::Completed);
    assert_eq!(rollout.target.version.as_ref(), Some(&target));
    assert_eq!((rollout.counts.success, rollout.counts.total()), (6, 6));
    let versions: Vec<_> = status
        .fleet
        .versions
        .iter()
        .map(|count| (count.version.as_ref(), count.hosts))
        .collect();
    assert_eq!(versions, [(Some(&target), 6)]);
    assert_eq!(
        (
            status.fleet.hosts,
            status.fleet.needs_attention,
            status.fleet.updating
        ),
        (6, 0, 0)
    );

    let before: Vec<_> = site.machines.iter().map(invocation_file).collect();
    let ended = site
        .program
        .roll_out(0, &["update", "--all", "-y", "--settle", "0.2s"]);
    for machine in &site.machines {
        assert_eq!(
            ended.part(machine.host.name()),
            ("success".to_owned(), "unchanged".to_owned(), false)
        );
        assert_eq!(machine.restarts(), 1, "{:?}", machine.commands());
    }
    site.assert_all_on(&target);
    let after: Vec<_> = site.machines.iter().map(invocation_file).collect();
    assert_eq!(before, after);
}

/// What systemd's stand-in has on record of the service's last start.
fn invocation_file(machine: &crate::site::Machine) -> String {
    std::fs::read_to_string(machine.host.home().join("state/service")).unwrap()
}

#[test]
fn rollback_brings_every_host_back_stage_by_stage() {
    if is_left_out("sshd") {
        return;
    }
    let site = Site::new(5);
    let (first, target) = (site.first(), site.good_release());
    let update = site
        .program
        .roll_out(0, &["update", "--all", "-y", "--settle", "0"]);
    site.assert_all_on(&target);

    let back = site.program.roll_out(0, &["rollback", "-y"]);
    site.assert_all_on(&first);
    let rollout = &back.summary.rollout;
    assert_eq!(rollout.kind, fleet_types::RolloutKind::Rollback);
    assert_eq!(rollout.state, RolloutState::Completed);
    assert_eq!(rollout.source, Some(update.summary.rollout.id));
    assert_eq!(rollout.target.version, None);
    let sizes: Vec<u32> = rollout.stages.iter().map(|stage| stage.hosts).collect();
    assert_eq!(sizes, [1, 2, 2]);
    for machine in &site.machines {
        let name = machine.host.name();
        assert_eq!(
            back.part(name),
            ("success".to_owned(), "updated".to_owned(), true)
        );
        assert_eq!(
            back.summary.host(name).current_version.as_ref(),
            Some(&first)
        );
        assert_eq!(machine.restarts(), 2, "{:?}", machine.commands());
        // On its branch as before, so that the next pull has something to follow.
        let branch = std::fs::read_to_string(machine.host.repository().join(".git/HEAD")).unwrap();
        assert_eq!(branch, "ref: refs/heads/main\n");
    }
    // And forward once more.
    site.program
        .roll_out(0, &["update", "--all", "-y", "--settle", "0"]);
    site.assert_all_on(&target);
}
