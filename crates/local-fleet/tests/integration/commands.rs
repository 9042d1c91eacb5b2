//! Commands that are made to fail, and what the log says of them.

use std::time::Duration;

use local_fleet::{
    CommandFailure, CommandPoint, Fault, InstallBehaviour, LocalFleet, LogEvent, ReleaseSpec, Turn,
};

use crate::client::{End, run};
use crate::{fleet, start, until};

#[tokio::test]
async fn command_faults_act_at_their_turn() {
    let (_folder, fleet) = fleet(1).await;
    let host = &fleet.hosts()[0];
    let five = "for i in 1 2 3 4 5; do systemctl is-active -q app; printf %s\\  $?; done";
    let check = async |fault: Fault, expected: &str| {
        host.set_fault(fault).await.unwrap();
        assert_eq!(run(host, five).await.stdout, expected);
    };
    let fault = |failure| Fault::command(CommandPoint::Systemctl("is-active"), failure);
    let exit = fault(CommandFailure::Exit(1, "Failed to connect to bus".into()));
    check(exit.clone(), "1 1 1 1 1 ").await;
    check(exit.clone().turn(Turn::Only(2)), "0 1 0 0 0 ").await;
    check(exit.clone().turn(Turn::First(3)), "1 1 1 0 0 ").await;
    check(
        fault(CommandFailure::Killed).turn(Turn::Only(1)),
        "137 0 0 0 0 ",
    )
    .await;
    check(fault(CommandFailure::DoneBut(9)), "9 9 9 9 9 ").await;
    host.clear_faults().await.unwrap();
    assert_eq!(run(host, five).await.stdout, "0 0 0 0 0 ");
    fleet.stop().await;
}

#[tokio::test]
async fn a_fault_after_the_deed_leaves_the_deed_done() {
    let (_folder, fleet) = fleet(1).await;
    let host = &fleet.hosts()[0];
    let new = fleet.add_release(ReleaseSpec::good("New")).await.unwrap();
    host.set_fault(Fault::command(
        CommandPoint::Git("merge"),
        CommandFailure::DoneBut(1),
    ))
    .await
    .unwrap();
    assert_eq!(
        run(
            host,
            "cd app; git fetch -q && git -c a.b=c merge -q --ff-only origin/main"
        )
        .await
        .end,
        End::Status(1)
    );
    assert_eq!(host.head().await.unwrap(), new.commit);
    let before = host.service_state().await.unwrap();
    host.set_fault(Fault::command(
        CommandPoint::Sudo,
        CommandFailure::DoneBut(4),
    ))
    .await
    .unwrap();
    assert_eq!(
        run(host, "sudo -n systemctl restart app").await.end,
        End::Status(4)
    );
    assert_ne!(
        host.service_state().await.unwrap().invocation,
        before.invocation
    );
    fleet.stop().await;
}

#[tokio::test]
async fn a_hanging_command_can_be_ended_by_a_time_limit() {
    let (_folder, fleet) = fleet(1).await;
    let host = &fleet.hosts()[0];
    for point in [
        CommandPoint::Install,
        CommandPoint::Git("fetch"),
        CommandPoint::Verify,
    ] {
        host.set_fault(Fault::command(
            point,
            CommandFailure::Hang(Duration::from_secs(600)),
        ))
        .await
        .unwrap();
    }
    for command in ["bun install", "git fetch", "verify-app"] {
        assert_eq!(
            run(host, &format!("cd app; timeout -k 1 0.1 {command}"))
                .await
                .end,
            End::Status(124),
            "{command}"
        );
    }
    // They are told to end, which takes them a moment.
    until("all have ended", async || host.processes().await.is_empty()).await;
    fleet.stop().await;
}

#[tokio::test]
async fn the_log_tells_overlaps() {
    let (_folder, fleet) = start(LocalFleet::builder().log_git()).await;
    let host = &fleet.hosts()[0];
    fleet
        .add_release(
            ReleaseSpec::good("Slow").install(InstallBehaviour::Slow(Duration::from_millis(500))),
        )
        .await
        .unwrap();
    run(host, "cd app; git pull -q; bun install & bun install; wait").await;
    let log = host.log().unwrap();
    let installs: Vec<_> = log
        .iter()
        .filter(|entry| match &entry.event {
            LogEvent::Began(command) => command == "bun install",
            LogEvent::Ended { program, .. } => program == "bun",
        })
        .collect();
    let began: Vec<_> = installs
        .iter()
        .map(|entry| matches!(entry.event, LogEvent::Began(_)))
        .collect();
    assert_eq!(began, [true, true, false, false]);
    assert!(installs[2].at >= installs[0].at + Duration::from_millis(400));
    assert!(
        log.iter()
            .any(|entry| entry.event == LogEvent::Began("git pull -q".into())),
        "{log:?}"
    );
    fleet.stop().await;
}
