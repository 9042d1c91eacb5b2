//! Shell, install command and systemd.

use std::fs;
use std::io::Read as _;
use std::time::{Duration, Instant};

use fleet_types::{AttemptStatus, Reason, StepId};
use update_engine::testing::MemoryJournal;
use update_engine::{AttemptSpec, Stopped, run_attempt};

use super::assert_untouched;
use super::place::Place;
use crate::support::assert_ended;

#[tokio::test]
async fn a_shell_that_runs_nothing_is_no_success() {
    for (login_shell, said) in [
        ("exit 0", "exit code 0"),
        ("echo FORCED; exit 7", "FORCED"),
        (
            "echo 'This account is currently not available.'; exit 1",
            "not available",
        ),
    ] {
        let place = Place::new().with_login_shell(login_shell);
        let new = place.release("two", "service=ok\n");
        let outcome = place.update(&new).await;
        assert_untouched(&place, &outcome, Reason::ShellBroken, said);
    }
}

#[tokio::test]
async fn noise_of_a_start_up_file_does_no_harm() {
    let place = Place::new()
        .with_login_shell("echo welcome; echo head=abc; echo warning >&2; exec /bin/sh \"$@\"");
    let new = place.release("two", "service=ok\n");
    assert_eq!(place.update(&new).await.reason, Reason::Updated);
    place.assert_on(&new, "two");
}

#[tokio::test]
async fn what_is_missing_is_found_before_anything_is_touched() {
    let place = Place::new();
    let new = place.release("two", "service=ok\n");
    let mut spec = place.spec(&new);
    spec.app.install = "no-such-installer install".to_owned();
    let outcome = place.attempt(spec).await;
    assert_untouched(&place, &outcome, Reason::NoInstallCommand, "");

    place.write("state/no-sudo", "");
    let outcome = place.update(&new).await;
    assert_untouched(&place, &outcome, Reason::NoSudo, "a password is required");
    fs::remove_file(place.path("state/no-sudo")).unwrap();

    for state in ["not-found", "masked"] {
        place.write("state/load", state);
        let outcome = place.update(&new).await;
        assert_untouched(&place, &outcome, Reason::UnitMissing, state);
    }
    fs::remove_file(place.path("state/load")).unwrap();

    let mut spec = place.spec(&new);
    spec.app.min_free_mib = u32::MAX;
    assert_untouched(&place, &place.attempt(spec).await, Reason::NoSpace, "");

    let inodes = "case $1 in -Pi) echo '/dev/x 1000 999 1 99% /' ;; *) echo '/dev/x 9999999 1 9999998 1% /' ;; esac";
    place.write_tool("df", inodes);
    let outcome = place.update(&new).await;
    assert_untouched(&place, &outcome, Reason::NoSpace, "1 inodes");
}

#[tokio::test]
async fn an_install_command_in_the_home_folder_of_bun_is_found() {
    let place = Place::new();
    fs::create_dir_all(place.path("home/.bun/bin")).unwrap();
    fs::rename(place.path("bin/bun"), place.path("home/.bun/bin/bun")).unwrap();
    let new = place.release("two", "service=ok\n");
    assert_eq!(place.update(&new).await.reason, Reason::Updated);
    place.assert_on(&new, "two");
}

#[tokio::test]
async fn every_way_in_which_an_install_fails_is_told_and_taken_back() {
    for (behaviour, reason, said) in [
        (
            "fail",
            Reason::InstallFailed,
            "exit code 1: error: GET https://registry.invalid/left-pad - 503",
        ),
        ("255", Reason::InstallFailed, "exit code 255"),
        ("killed", Reason::InstallFailed, "signal 9 (out of memory?)"),
        ("hang", Reason::Timeout, "took longer than allowed"),
    ] {
        let place = Place::new();
        let old = place.head();
        let new = place.release("two", &format!("service=ok\ninstall={behaviour}\n"));
        let mut spec = place.spec(&new);
        spec.app.timeouts.install = if behaviour == "hang" { 1 } else { 60 };
        let outcome = place.attempt(spec).await;
        assert_ended(&outcome, AttemptStatus::RolledBack, reason);
        assert_eq!(outcome.step, Some(StepId::Install));
        assert!(outcome.message.contains(said), "{behaviour}: {outcome:?}");
        place.assert_on(&old, "one");
        assert_eq!(
            place.acts().last().unwrap(),
            "systemctl restart app.service"
        );
    }
}

#[tokio::test]
async fn every_way_in_which_a_service_fails_is_told_and_taken_back() {
    for (behaviour, reason) in [
        ("fail", Reason::RestartFailed),
        ("loop", Reason::CrashLoop),
        ("dies", Reason::Unhealthy),
    ] {
        for old_systemd in [false, true] {
            let place = Place::new();
            if old_systemd {
                place.write("state/old-systemd", "");
            }
            let old = place.head();
            let new = place.release("two", &format!("service={behaviour}\n"));
            let mut journal = MemoryJournal::default();
            let outcome = run_attempt(place.spec(&new), &place.transport(), &mut journal)
                .await
                .unwrap();
            assert_ended(&outcome, AttemptStatus::RolledBack, reason);
            place.assert_on(&old, "one");
            let printed = format!("{:?}", journal.events);
            assert!(
                printed.contains("cannot find module ./routes"),
                "the service's own words are kept: {printed}"
            );
        }
    }
}

#[tokio::test]
async fn the_verify_command_has_its_say_and_its_limit() {
    for (verify, reason) in [
        ("grep -q one release", Reason::Unhealthy),
        (
            "case $(cat release) in one) ;; *) sleep 600 ;; esac",
            Reason::Timeout,
        ),
    ] {
        let place = Place::new();
        let old = place.head();
        let new = place.release("two", "service=ok\n");
        let mut spec = place.spec(&new);
        spec.app.verify = Some(verify.to_owned());
        spec.app.timeouts.verify = 1;
        let outcome = place.attempt(spec).await;
        assert_ended(&outcome, AttemptStatus::RolledBack, reason);
        place.assert_on(&old, "one");
    }
}

#[tokio::test]
async fn starts_that_were_used_up_are_reset() {
    let place = Place::new();
    place.write("state/start-limit", "");
    let new = place.release("two", "service=ok\n");
    assert_eq!(place.update(&new).await.reason, Reason::Updated);
    place.assert_on(&new, "two");
    let acts = place.acts();
    assert_eq!(
        acts[1..],
        [
            "systemctl restart app.service",
            "systemctl reset-failed app.service",
            "systemctl restart app.service"
        ]
    );
}

#[tokio::test]
async fn a_restart_that_did_not_happen_is_seen() {
    let place = Place::new();
    place.write("state/idle-sudo", "");
    let new = place.release("two", "service=ok\n");
    let outcome = place.update(&new).await;
    assert_ended(&outcome, AttemptStatus::Failed, Reason::RollbackFailed);
    assert!(
        outcome.message.contains("still runs as before") && outcome.needs_attention,
        "{outcome:?}"
    );
}

#[tokio::test]
async fn a_service_that_was_down_before() {
    let down = "active=failed\nrestarts=0\nlives=1\npid=0\nmode=fail\nresult=exit-code\n";
    // A good release brings it up.
    let place = Place::new();
    place.write("state/unit", down);
    let new = place.release("two", "service=ok\n");
    assert_eq!(place.update(&new).await.reason, Reason::Updated);
    place.assert_on(&new, "two");
    // A bad one on top of a bad one: back in git, and no louder than before.
    let place = Place::new();
    place.write("origin/app.conf", "service=fail\n");
    let bad = place.release("two", "service=fail\n");
    place.git(&["pull", "--quiet"]);
    place.write("state/unit", down);
    let worse = place.release("three", "service=loop\n");
    let outcome = place.update(&worse).await;
    assert_ended(&outcome, AttemptStatus::Failed, Reason::Unhealthy);
    assert!(outcome.touched && !outcome.needs_attention, "{outcome:?}");
    assert_eq!((place.head(), place.status().as_str()), (bad.clone(), ""));
    // On the target already, and it does not start: one more restart, then a person.
    let outcome = place.update(&bad).await;
    assert_ended(&outcome, AttemptStatus::Failed, Reason::NoPrevious);
    assert!(outcome.touched && !outcome.needs_attention, "{outcome:?}");
}

/// Runs until the host's log says this, and leaves then, as a process does that is killed.
async fn killed_at(place: &Place, spec: AttemptSpec, line: &str) -> MemoryJournal {
    let mut journal = MemoryJournal::default();
    let transport = place.transport();
    let seen = async {
        while !place.read("state/log").contains(line) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        outcome = run_attempt(spec, &transport, &mut journal) => panic!("it should not end: {outcome:?}"),
        () = seen => {}
    }
    journal
}

#[tokio::test]
async fn a_command_that_outlives_its_worker_is_waited_for() {
    let place = Place::new();
    let new = place.release("two", "service=ok\ninstall=slow\n");
    let journal = killed_at(&place, place.spec(&new), "begin bun").await;
    assert!(journal.outcome().is_none());
    let mut spec = place.spec(&new);
    spec.progress = journal.progress;
    spec.guard.epoch = 2;
    let begun = Instant::now();
    let outcome = place.attempt(spec).await;
    assert_eq!(outcome.reason, Reason::Updated, "{outcome:?}");
    assert!(
        begun.elapsed() > Duration::from_millis(2500),
        "the rest of one install, and another"
    );
    place.assert_on(&new, "two");
    let log = place.read("state/log");
    let installs: Vec<&str> = log.lines().filter(|line| line.contains("bun")).collect();
    assert_eq!(
        installs,
        [
            "begin bun install",
            "end bun 0",
            "begin bun install",
            "end bun 0"
        ],
        "one after the other"
    );
}

#[tokio::test]
async fn a_worker_that_was_taken_over_is_refused_by_the_host() {
    let place = Place::new();
    let (old, new) = (place.head(), place.release("two", "service=ok\n"));
    let mut spec = place.spec(&new);
    spec.guard.epoch = 9;
    assert_eq!(place.attempt(spec).await.reason, Reason::Updated);
    let newer = place.release("three", "service=ok\n");
    let mut zombie = MemoryJournal {
        refuses_to_raise: true,
        ..MemoryJournal::default()
    };
    let refused: Result<_, Stopped> =
        run_attempt(place.spec(&newer), &place.transport(), &mut zombie).await;
    refused.unwrap_err();
    place.assert_on(&new, "two");
    assert_eq!(place.read("state/app/.git/rollout/fence"), "store-1 9\n");

    let mut holder = MemoryJournal::default();
    let outcome = run_attempt(place.spec(&newer), &place.transport(), &mut holder)
        .await
        .unwrap();
    assert_eq!(outcome.reason, Reason::Updated, "{outcome:?}");
    assert_eq!(place.read("state/app/.git/rollout/fence"), "store-1 10\n");
    assert_ne!(old, new);
}

/// Holds the lock of the host, as a command does that was left behind, for so many seconds or until it is killed.
fn hold_lock(place: &Place, seconds: u32) -> std::process::Child {
    fs::create_dir(place.path("state/app/.git/rollout")).unwrap();
    // One process, which says when it has the lock.
    let take = format!("exec 9>>\"$0\"; flock 9; echo taken; exec sleep {seconds}");
    let mut holder = std::process::Command::new("sh")
        .args(["-c", &take])
        .arg(place.path("state/app/.git/rollout/lock"))
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = [0; 5];
    holder
        .stdout
        .as_mut()
        .unwrap()
        .read_exact(&mut said)
        .unwrap();
    holder
}

#[tokio::test]
async fn a_lock_that_stays_taken_is_a_busy_host() {
    let place = Place::new();
    let new = place.release("two", "service=ok\n");
    let mut holder = hold_lock(&place, 600);
    let mut spec = place.spec(&new);
    spec.app.timeouts.lock = 1;
    let outcome = place.attempt(spec).await;
    holder.kill().unwrap();
    holder.wait().unwrap();
    assert_untouched(&place, &outcome, Reason::HostBusy, "");
}

#[tokio::test]
async fn a_host_that_cannot_keep_a_lock_fails_for_what_else_is_wrong_with_it() {
    for (free, reason) in [(u32::MAX, Reason::NoSpace), (0, Reason::PullFailed)] {
        let place = Place::new();
        let new = place.release("two", "service=ok\n");
        place.write("state/app/.git/rollout", "in the way of a folder\n");
        let mut spec = place.spec(&new);
        spec.app.min_free_mib = free;
        spec.left_behind = true;
        let outcome = place.attempt(spec).await;
        assert_untouched(&place, &outcome, reason, "");
    }
}

#[tokio::test]
async fn what_was_left_behind_makes_no_busy_host() {
    let place = Place::new();
    let new = place.release("two", "service=ok\n");
    let mut holder = hold_lock(&place, 4);
    let mut spec = place.spec(&new);
    spec.app.timeouts.lock = 1;
    spec.left_behind = true;
    let outcome = place.attempt(spec).await;
    holder.wait().unwrap();
    assert_eq!(outcome.reason, Reason::Updated, "{outcome:?}");
    place.assert_on(&new, "two");
}

#[tokio::test]
async fn an_install_that_rewrites_tracked_files_is_no_success_unless_they_are_named() {
    for named in [false, true] {
        let place = Place::new();
        place.write("origin/generated.txt", "as committed\n");
        let old = place.commit_origin("a file that the next install rewrites");
        place.git(&["pull", "--quiet"]);
        let new = place.release("two", "service=ok\n");
        let mut spec = place.spec(&new);
        spec.app.install =
            "bun install && { grep -q one release || echo new >generated.txt; }".to_owned();
        if named {
            spec.app.generated.push("generated.txt".to_owned());
        }
        let outcome = place.attempt(spec).await;
        if named {
            assert_eq!(outcome.reason, Reason::Updated, "{outcome:?}");
            continue;
        }
        assert_ended(&outcome, AttemptStatus::RolledBack, Reason::WrongHead);
        assert!(outcome.message.contains("generated.txt"), "{outcome:?}");
        place.assert_on(&old, "one");
    }
}
