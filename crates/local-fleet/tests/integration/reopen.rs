//! A fleet that goes on in another process.

use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use local_fleet::{CommandPoint, Fault, FleetDescription, LocalFleet, ReleaseSpec};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::client::{Client, End, run};
use crate::fleet;

#[tokio::test]
async fn a_folder_can_be_opened_again() {
    let (_folder, fleet) = fleet(3).await;
    fleet
        .add_release(ReleaseSpec::good("Second"))
        .await
        .unwrap();
    let before = fleet.description();
    run(
        &fleet.hosts()[1],
        "cd app; git pull -q; bun install; sudo -n systemctl restart app",
    )
    .await;
    let service = fleet.hosts()[1].service_state().await.unwrap();
    fleet.hosts()[2]
        .set_fault(Fault::fails(CommandPoint::Install, 9))
        .await
        .unwrap();
    let mode = std::fs::metadata(&before.client_key)
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    fleet.stop().await;

    let fleet = LocalFleet::open(&before.root).await.unwrap();
    assert_eq!(fleet.description(), before);
    assert_eq!(
        Client::connect(&fleet.hosts()[0]).await.host_key,
        before.hosts[0].host_key
    );
    assert_eq!(
        fleet.hosts()[1].head().await.unwrap(),
        before.releases[1].commit
    );
    assert_eq!(fleet.hosts()[1].service_state().await.unwrap(), service);
    assert_eq!(
        run(&fleet.hosts()[2], "cd app; bun install").await.end,
        End::Status(9)
    );
    assert_eq!(
        fleet
            .add_release(ReleaseSpec::good("Third"))
            .await
            .unwrap()
            .id,
        "r3"
    );
    fleet.stop().await;
}

#[tokio::test]
async fn a_port_that_is_taken_is_replaced() {
    let (_folder, fleet) = fleet(2).await;
    let before = fleet.description();
    fleet.stop().await;
    let _taken = std::net::TcpListener::bind(("127.0.0.1", before.hosts[0].port)).unwrap();
    let fleet = LocalFleet::open(&before.root).await.unwrap();
    assert_ne!(fleet.hosts()[0].port(), before.hosts[0].port);
    assert_eq!(fleet.hosts()[1].port(), before.hosts[1].port);
    assert_eq!(run(&fleet.hosts()[0], "echo up").await.stdout, "up\n");
    fleet.stop().await;
}

#[tokio::test]
async fn what_is_no_fleet_is_not_opened() {
    let folder = tempfile::tempdir().unwrap();
    assert!(LocalFleet::open(folder.path()).await.is_err());
    std::fs::write(folder.path().join("fleet.json"), "{}").unwrap();
    assert!(
        LocalFleet::open(folder.path())
            .await
            .unwrap_err()
            .to_string()
            .contains("not of a fleet")
    );
}

/// Serves a folder from a process of its own, the example's.
async fn serve(arguments: &[&std::ffi::OsStr]) -> (Child, FleetDescription) {
    let tests = std::env::current_exe().unwrap();
    let program = tests
        .parent()
        .unwrap()
        .parent()
        .unwrap()
        .join("examples/local_fleet");
    assert!(
        program.exists(),
        "run with --examples, or all targets: {} is not built",
        program.display()
    );
    let mut command = Command::new(program);
    command
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true);
    let mut child = command.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap())
        .read_line(&mut line)
        .await
        .unwrap();
    (child, serde_json::from_str(&line).unwrap())
}

#[tokio::test]
async fn a_fleet_in_another_process_survives_being_killed() {
    let folder = tempfile::tempdir().unwrap();
    let (mut child, before) = serve(&[folder.path().as_os_str(), "2".as_ref()]).await;
    assert_eq!((before.hosts.len(), before.releases.len()), (2, 2));
    child.kill().await.unwrap();
    let (mut child, after) = serve(&[folder.path().as_os_str()]).await;
    assert_eq!(after, before);
    drop(child.stdin.take());
    assert!(child.wait().await.unwrap().success());
}
