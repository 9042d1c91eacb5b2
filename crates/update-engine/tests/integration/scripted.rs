//! Attempts on a simulated host, on a paused clock.

use std::time::Duration;

use fleet_types::{AttemptStatus, Reason, StepId};
use ssh_exec::{ConnectError, IdentityError, Reply, ScriptedTransport, SessionError};
use tokio::time::Instant;
use update_engine::testing::{MemoryJournal, SimFleet, SimRelease};
use update_engine::{AttemptSpec, Goal, ResolveError, resolve_target, run_attempt};

use crate::support::{HOST, Scene, assert_ended, told};

#[tokio::test(start_paused = true)]
async fn a_good_release_is_told_in_this_order() {
    let scene = Scene::new(SimRelease::Good);
    let mut journal = MemoryJournal::default();
    let begun = Instant::now();
    let transport = scene.fleet.transport();
    let outcome = run_attempt(scene.spec(), &transport, &mut journal)
        .await
        .unwrap();
    assert_eq!(
        (outcome.status, outcome.reason, outcome.touched),
        (AttemptStatus::Success, Reason::Updated, true)
    );
    assert_eq!(outcome.version.as_ref(), Some(&scene.new));
    assert!(scene.host().is_wholly_on(&scene.new));
    assert_eq!(
        begun.elapsed().as_secs(),
        5,
        "the settle wait and nothing else"
    );
    assert_eq!(
        (
            transport.connections(),
            transport.most_open(),
            transport.open()
        ),
        (2, 1, 0)
    );
    let expected = format!(
        "connect? connect. inspect? inspect. previous {} pull? pull. install? install. restart? restart. \
         settle? settle. verify? verify. = success updated",
        scene.old.short()
    );
    assert_eq!(told(&journal.events).join(" "), expected);
}

#[tokio::test(start_paused = true)]
async fn a_release_that_does_not_stay_up_is_taken_back() {
    let scene = Scene::new(SimRelease::CrashLoops);
    let mut journal = MemoryJournal::default();
    let outcome = scene.run(scene.spec(), &mut journal).await.unwrap();
    assert_ended(&outcome, AttemptStatus::RolledBack, Reason::CrashLoop);
    assert!(scene.host().is_wholly_on(&scene.old));
    let expected = format!(
        "connect? connect. inspect? inspect. previous {} pull? pull. install? install. restart? restart. \
         settle? settle. verify? verify! crash_loop back because of verify: crash_loop \
         rollback_checkout? rollback_checkout. rollback_install? rollback_install. rollback_restart? rollback_restart. \
         rollback_settle? rollback_settle. rollback_verify? rollback_verify. = rolled_back crash_loop",
        scene.old.short()
    );
    assert_eq!(told(&journal.events).join(" "), expected);
}

#[tokio::test(start_paused = true)]
async fn without_a_settle_wait_there_is_one_connection() {
    for release in [SimRelease::Good, SimRelease::Dies] {
        let scene = Scene::new(release);
        let transport = scene.fleet.transport();
        let spec = AttemptSpec {
            settle: Duration::ZERO,
            ..scene.spec()
        };
        run_attempt(spec, &transport, &mut MemoryJournal::default())
            .await
            .unwrap();
        assert_eq!(transport.connections(), 1, "{release:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_first_connection_is_tried_three_times_when_the_network_fails() {
    for (refusals, reason, seconds) in [(2, Reason::Updated, 8), (3, Reason::Unreachable, 3)] {
        let scene = Scene::new(SimRelease::Good);
        scene
            .fleet
            .change(HOST, |host| host.refuses_connections = refusals);
        let begun = Instant::now();
        let outcome = scene.attempt(scene.spec()).await;
        assert_eq!(
            (outcome.reason, begun.elapsed().as_secs()),
            (reason, seconds),
            "{outcome:?}"
        );
        assert_eq!(
            outcome.step,
            (reason == Reason::Unreachable).then_some(StepId::Connect)
        );
    }
}

#[tokio::test(start_paused = true)]
async fn who_is_refused_or_sees_a_wrong_key_does_not_insist() {
    let host = || HOST.to_owned();
    let offered = || "SHA256:other".to_owned();
    let refused = move |n| match n {
        0 => ConnectError::AuthRefused {
            host: host(),
            user: "app".to_owned(),
            cause: "publickey".to_owned(),
        },
        1 => ConnectError::HostKeyUnknown {
            host: host(),
            offered: offered(),
        },
        2 => ConnectError::HostKeyChanged {
            host: host(),
            pinned: "SHA256:this".to_owned(),
            offered: offered(),
        },
        3 => ConnectError::HostKeyRevoked {
            host: host(),
            offered: offered(),
        },
        _ => ConnectError::AddressRefused {
            host: host(),
            address: "169.254.169.254".to_owned(),
        },
    };
    let reasons = [
        Reason::AuthRefused,
        Reason::HostKeyUnknown,
        Reason::HostKeyChanged,
        Reason::HostKeyChanged,
        Reason::Unreachable,
    ];
    for (number, reason) in reasons.into_iter().enumerate() {
        let transport = ScriptedTransport::new(|_, command| Reply::lost(command))
            .on_connect(move |_| Err(refused(number)));
        let begun = Instant::now();
        let scene = Scene::new(SimRelease::Good);
        let outcome = run_attempt(scene.spec(), &transport, &mut MemoryJournal::default())
            .await
            .unwrap();
        assert_eq!(
            (outcome.reason, outcome.touched),
            (reason, false),
            "{outcome:?}"
        );
        assert_eq!(begun.elapsed(), Duration::ZERO);
    }
}

#[tokio::test(start_paused = true)]
async fn a_credential_that_cannot_be_loaded_stops_the_attempt_without_a_result() {
    let begun = Instant::now();
    let transport = ScriptedTransport::new(|_, command| Reply::lost(command)).on_connect(|_| {
        let path = "/key".to_owned();
        Err(IdentityError::NeedsPassphrase { path }.into())
    });
    let scene = Scene::new(SimRelease::Good);
    let mut journal = MemoryJournal::default();
    let stopped = run_attempt(scene.spec(), &transport, &mut journal)
        .await
        .unwrap_err();
    assert!(stopped.to_string().contains("/key"), "{stopped}");
    assert_eq!(journal.outcome(), None);
    assert_eq!(begun.elapsed(), Duration::ZERO, "one try");
}

#[tokio::test(start_paused = true)]
async fn a_withheld_connection_or_command_stops_the_attempt_without_a_result() {
    let transport = ScriptedTransport::new(|_, command| Reply::lost(command)).on_connect(|_| {
        Err(ConnectError::Withheld {
            host: HOST.to_owned(),
            cause: "the slot is gone".to_owned(),
        })
    });
    let scene = Scene::new(SimRelease::Good);
    let mut journal = MemoryJournal::default();
    let stopped = run_attempt(scene.spec(), &transport, &mut journal)
        .await
        .unwrap_err();
    assert!(
        stopped.to_string().contains("the slot is gone"),
        "{stopped}"
    );
    assert_eq!(journal.outcome(), None);

    let transport = ScriptedTransport::new(|_, command| {
        let cause = "not renewed for 20 s".to_owned();
        Reply::Fail(SessionError::Withheld {
            command: command.name(),
            cause,
        })
    });
    let mut journal = MemoryJournal::default();
    let stopped = run_attempt(scene.spec(), &transport, &mut journal)
        .await
        .unwrap_err();
    assert!(stopped.to_string().contains("not renewed"), "{stopped}");
    assert_eq!(journal.outcome(), None);
}

#[tokio::test(start_paused = true)]
async fn a_service_that_was_down_before_is_not_told_louder_than_it_was() {
    for (release, status, reason) in [
        (SimRelease::Good, AttemptStatus::Success, Reason::Updated),
        (SimRelease::Dies, AttemptStatus::Failed, Reason::Unhealthy),
    ] {
        let scene = Scene::new(release);
        scene.fleet.change(HOST, |host| {
            host.running = None;
            host.releases
                .insert(scene.old.clone(), SimRelease::StartFails);
        });
        let outcome = scene.attempt(scene.spec()).await;
        assert_ended(&outcome, status, reason);
        assert!(outcome.touched && !outcome.needs_attention, "{outcome:?}");
        let host = scene.host();
        let end = if status == AttemptStatus::Success {
            &scene.new
        } else {
            &scene.old
        };
        assert_eq!((&host.head, host.tree.as_ref()), (end, Some(end)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_host_on_the_target_whose_service_is_down_gets_one_more_restart_and_no_rollback() {
    for (release, status, reason, restarts) in [
        (SimRelease::Good, AttemptStatus::Success, Reason::Updated, 1),
        (
            SimRelease::StartFails,
            AttemptStatus::Failed,
            Reason::NoPrevious,
            2,
        ),
    ] {
        let scene = Scene::new(release);
        scene.fleet.change(HOST, |host| {
            host.head = scene.new.clone();
            host.tree = Some(scene.new.clone());
            host.known.insert(scene.new.clone());
            host.running = None;
        });
        let outcome = scene.attempt(scene.spec()).await;
        assert_ended(&outcome, status, reason);
        assert!(outcome.touched && !outcome.needs_attention, "{outcome:?}");
        let received = scene.host().received;
        let count = |name: &str| {
            received
                .iter()
                .filter(|command| command.name == name)
                .count()
        };
        assert_eq!(
            (count("restart"), count("pull"), count("rollback_checkout")),
            (restarts, 0, 0)
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_rollout_taken_back_host_by_host() {
    let scene = Scene::new(SimRelease::Good);
    scene.attempt(scene.spec()).await;
    let back = || AttemptSpec {
        goal: Goal::Back {
            from: scene.new.clone(),
            to: scene.old.clone(),
        },
        ..scene.spec()
    };
    let outcome = scene.attempt(back()).await;
    assert_eq!(
        (outcome.status, outcome.version),
        (AttemptStatus::Success, Some(scene.old.clone()))
    );
    assert!(scene.host().is_wholly_on(&scene.old));
    let outcome = scene.attempt(back()).await;
    assert_eq!(
        (outcome.reason, outcome.touched),
        (Reason::Unchanged, false)
    );
    // The old version does not run any more: the host ends where it began.
    scene.attempt(scene.spec()).await;
    scene.fleet.change(HOST, |host| {
        host.releases
            .insert(scene.old.clone(), SimRelease::InstallFails);
    });
    let outcome = scene.attempt(back()).await;
    assert_ended(&outcome, AttemptStatus::RolledBack, Reason::InstallFailed);
    assert!(scene.host().is_wholly_on(&scene.new));
    scene
        .fleet
        .change(HOST, |host| host.head = scene.old.clone());
    scene.fleet.change(HOST, |host| host.running = None);
    let outcome = scene.attempt(back()).await;
    assert_ended(&outcome, AttemptStatus::Skipped, Reason::MovedOn);
}

#[tokio::test(start_paused = true)]
async fn settings_that_could_not_be_meant_reach_no_host() {
    let scene = Scene::new(SimRelease::Good);
    let mut spec = scene.spec();
    spec.app.install = " ".to_owned();
    let transport = scene.fleet.transport();
    let outcome = run_attempt(spec, &transport, &mut MemoryJournal::default())
        .await
        .unwrap();
    assert_eq!(
        (outcome.reason, outcome.touched, transport.connections()),
        (Reason::Internal, false, 0)
    );
}

#[tokio::test(start_paused = true)]
async fn targets_are_resolved_through_a_simulated_host() {
    let scene = Scene::new(SimRelease::Good);
    let transport = scene.fleet.transport();
    let ask = async |target: &str| {
        let target = target.parse().unwrap();
        resolve_target(
            &transport,
            &SimFleet::endpoint(HOST),
            &SimFleet::app(),
            &target,
        )
        .await
    };
    assert_eq!(ask("main").await.unwrap(), scene.new);
    assert_eq!(ask(scene.new.as_str()).await.unwrap(), scene.new);
    assert!(matches!(
        ask("gone").await,
        Err(ResolveError::Missing { .. })
    ));
    scene.fleet.change_origin(|origin| origin.down = true);
    assert!(matches!(
        ask("main").await,
        Err(ResolveError::Unanswered {
            reason: Reason::FetchFailed,
            ..
        })
    ));
    scene
        .fleet
        .change(HOST, |host| host.refuses_connections = u32::MAX);
    assert!(matches!(
        ask("main").await,
        Err(ResolveError::Unanswered {
            reason: Reason::Unreachable,
            ..
        })
    ));
    assert!(!scene.host().was_changed());
}
