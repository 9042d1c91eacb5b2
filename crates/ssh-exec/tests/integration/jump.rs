//! Ways through other hosts.

use fleet_testkit::{SshdOptions, is_left_out};
use ssh_exec::{ConnectError, Endpoint, HostKeys};

use crate::host::{Host, connect};
use crate::support::command;

fn through(target: &Host, jump: Endpoint) -> Endpoint {
    Endpoint {
        jump: Some(Box::new(jump)),
        ..target.endpoint()
    }
}

fn bastion(host: &Host) -> Endpoint {
    Endpoint {
        name: "bastion".to_owned(),
        ..host.endpoint()
    }
}

#[tokio::test]
async fn a_host_is_reached_through_others() {
    if is_left_out("sshd") {
        return;
    }
    let (first, second, target) = (Host::start(), Host::start(), Host::start());
    let middle = Endpoint {
        name: "middle".to_owned(),
        ..through(&second, bastion(&first))
    };
    let mut session = connect(&through(&target, middle)).await.unwrap();
    for code in [3, 0] {
        let probe = command("probe", "head -c 3000000 /dev/zero; exit \"$code\"")
            .param("code", code.to_string());
        let output = session.run(&probe).await.unwrap();
        assert_eq!((output.exit, output.stdout.total), (code, 3_000_000));
    }
    session.close().await;
    assert_eq!(
        (
            first.sshd.sessions(),
            second.sshd.sessions(),
            target.sshd.sessions()
        ),
        (0, 0, 2)
    );
    assert_eq!(
        (
            first.sshd.connections(),
            second.sshd.connections(),
            target.sshd.connections()
        ),
        (1, 1, 1)
    );
}

#[tokio::test]
async fn the_host_key_of_every_hop_is_checked() {
    if is_left_out("sshd") {
        return;
    }
    let (jump, target) = (Host::start(), Host::start());
    let stranger = Endpoint {
        host_keys: HostKeys::default(),
        ..bastion(&jump)
    };
    let error = connect(&through(&target, stranger)).await.unwrap_err();
    assert!(
        matches!(&error, ConnectError::HostKeyUnknown { host, .. } if host == "bastion"),
        "{error:?}"
    );
    assert_eq!(target.sshd.connections(), 0);

    // The bastion leads somewhere else than it should.
    let swapped = Endpoint {
        host_keys: HostKeys {
            pinned: jump.sshd.host_key_lines(),
            known_hosts: None,
        },
        ..through(&target, bastion(&jump))
    };
    let error = connect(&swapped).await.unwrap_err();
    assert!(
        matches!(&error, ConnectError::HostKeyChanged { host, .. } if host == "web-1"),
        "{error:?}"
    );
    assert_eq!(target.sshd.sessions(), 0);
}

#[tokio::test]
async fn what_a_jump_host_cannot_reach_is_unreachable() {
    if is_left_out("sshd") {
        return;
    }
    let closed = |options: SshdOptions| options.line("AllowTcpForwarding no");
    let (jump, strict, mut target) = (Host::start(), Host::start_with(closed), Host::start());
    let error = connect(&through(&target, bastion(&strict)))
        .await
        .unwrap_err();
    assert!(
        matches!(&error, ConnectError::Unreachable { host, cause, .. }
            if host == "web-1" && cause == "the jump host does not allow to be gone through"),
        "{error:?}"
    );
    let metadata = Endpoint {
        address: "169.254.169.254".to_owned(),
        ..through(&target, bastion(&jump))
    };
    let error = connect(&metadata).await.unwrap_err();
    assert!(
        matches!(error, ConnectError::AddressRefused { .. }),
        "{error:?}"
    );

    target.sshd.stop();
    let error = connect(&through(&target, bastion(&jump)))
        .await
        .unwrap_err();
    assert!(
        matches!(&error, ConnectError::Unreachable { host, cause, .. }
            if host == "web-1" && cause == "the jump host could not connect to it"),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_way_that_never_ends_is_refused() {
    let mut endpoint = crate::support::anywhere();
    for _ in 0..20 {
        endpoint = Endpoint {
            jump: Some(Box::new(endpoint)),
            ..crate::support::anywhere()
        };
    }
    let error = connect(&endpoint).await.unwrap_err();
    assert!(matches!(error, ConnectError::Protocol { .. }), "{error:?}");
}
