//! Every step of the attempt × every fault, on a simulated host whose truth is compared with the outcome.

use fleet_types::{AttemptStatus, Outcome, Reason};
use update_engine::testing::{SimHost, SimRelease, SimWhat};

use crate::support::{HOST, Scene, TracingJournal, assert_ended, left_behind};

fn faults() -> Vec<(&'static str, SimWhat)> {
    vec![
        ("exit code", SimWhat::Fails),
        ("halfway", SimWhat::FailsHalfway),
        ("host timeout", SimWhat::TimesOut),
        ("lost, not run", SimWhat::LostBefore),
        ("lost, run", SimWhat::LostAfter),
        ("host crashed", SimWhat::Crashes),
        ("lost for a while", SimWhat::Gone(4)),
        ("lost for good", SimWhat::Gone(u32::MAX)),
        ("no answer", SimWhat::NoAnswer),
        ("busy", SimWhat::Busy),
        ("locked", SimWhat::Locked),
        (
            "fenced, own store",
            SimWhat::Fenced("store-1".to_owned(), 40),
        ),
        (
            "fenced, other store",
            SimWhat::Fenced("store-2".to_owned(), 2),
        ),
        ("shell broken", SimWhat::ShellBroken),
    ]
}

/// What an outcome promises, against the truth.
pub(crate) fn assert_true(cell: &str, scene: &Scene, outcome: &Outcome) {
    let host = scene.host();
    match outcome.status {
        AttemptStatus::Success => assert!(host.is_wholly_on(&scene.new), "{cell}: {host:#?}"),
        AttemptStatus::RolledBack => assert!(host.is_wholly_on(&scene.old), "{cell}: {host:#?}"),
        _ if !outcome.touched => assert!(
            !host.was_changed() && !outcome.needs_attention,
            "{cell}: {host:#?}"
        ),
        _ => assert!(outcome.needs_attention, "{cell}: {outcome:?}"),
    }
    assert!(
        !outcome.message.is_empty() && !outcome.message.contains('\n'),
        "{cell}: {outcome:?}"
    );
}

fn shown(outcome: &Outcome) -> String {
    let step = outcome.step.map_or("-", |step| step.as_str());
    let (status, reason) = (outcome.status, outcome.reason);
    format!("{status} {reason} at {step}, {}", left_behind(outcome))
}

async fn table(release: SimRelease, steps: &[&str]) -> String {
    let mut lines = Vec::new();
    for step in steps {
        for (name, what) in faults() {
            let scene = Scene::new(release);
            let host: SimHost = scene.host().with_fault(step, 1, what);
            scene.fleet.add(HOST, host);
            let transport = scene.fleet.transport();
            let mut journal = TracingJournal::new(transport.clone());
            let outcome = update_engine::run_attempt(scene.spec(), &transport, &mut journal)
                .await
                .unwrap();
            let cell = format!("{step} × {name}");
            assert_true(&cell, &scene, &outcome);
            journal.assert_intents_before_commands(&cell);
            assert_eq!(transport.open(), 0, "{cell}");
            assert_eq!(transport.most_open(), 1, "{cell}");
            lines.push(format!("{step:<17} × {name:<19} -> {}", shown(&outcome)));
        }
    }
    lines.join("\n")
}

#[tokio::test(start_paused = true)]
async fn every_step_forward_and_every_fault() {
    let table = table(
        SimRelease::Good,
        &["inspect", "pull", "install", "restart", "verify"],
    )
    .await;
    assert_eq!(
        table,
        include_str!("faults_forward.txt").trim_end(),
        "\n{table}\n"
    );
}

#[tokio::test(start_paused = true)]
async fn every_step_back_and_every_fault() {
    let steps = [
        "rollback_checkout",
        "rollback_install",
        "rollback_restart",
        "rollback_verify",
    ];
    let table = table(SimRelease::Dies, &steps).await;
    assert_eq!(
        table,
        include_str!("faults_back.txt").trim_end(),
        "\n{table}\n"
    );
}

#[tokio::test(start_paused = true)]
async fn every_release_that_fails_is_taken_back() {
    for (release, reason) in [
        (SimRelease::InstallFails, Reason::InstallFailed),
        (SimRelease::StartFails, Reason::RestartFailed),
        (SimRelease::CrashLoops, Reason::CrashLoop),
        (SimRelease::Dies, Reason::Unhealthy),
        (SimRelease::VerifyFails, Reason::Unhealthy),
    ] {
        let scene = Scene::new(release);
        let outcome = scene.attempt(scene.spec()).await;
        assert_ended(&outcome, AttemptStatus::RolledBack, reason);
        assert_true(reason.as_str(), &scene, &outcome);
    }
}
