//! Host keys, on a real server: what is accepted, and that nothing is sent otherwise.

use fleet_testkit::{KeyKind, TestKey, is_left_out};
use ssh_exec::{ConnectError, Endpoint, HostKeys, RusshTransport, Transport};

use crate::host::{Host, connect};
use crate::support::command;

fn pinned(host: &Host, lines: Vec<String>) -> Endpoint {
    Endpoint {
        host_keys: HostKeys {
            pinned: lines,
            known_hosts: None,
        },
        ..host.endpoint()
    }
}

#[track_caller]
fn nothing_was_sent(host: &Host) {
    let log = host.sshd.log();
    assert_eq!(host.sshd.sessions(), 0, "{log}");
    for word in ["Accepted", "Failed", "Postponed"] {
        assert!(!log.contains(word), "a credential was offered: {log}");
    }
}

#[tokio::test]
async fn an_unknown_key_is_not_trusted() {
    if is_left_out("sshd") {
        return;
    }
    let host = Host::start();
    let error = connect(&pinned(&host, Vec::new())).await.unwrap_err();
    let keys = RusshTransport::default()
        .host_keys(&host.endpoint())
        .await
        .unwrap();
    assert!(
        matches!(&error, ConnectError::HostKeyUnknown { offered, .. } if *offered == keys[0].fingerprint),
        "{error:?}"
    );
    nothing_was_sent(&host);
}

#[tokio::test]
async fn a_changed_key_is_not_trusted() {
    if is_left_out("sshd") {
        return;
    }
    let host = Host::start();
    for kind in [KeyKind::Ed25519, KeyKind::Rsa] {
        let other = TestKey::generate(host.folder.path(), &format!("other{kind:?}"), kind);
        let error = connect(&pinned(&host, vec![other.public_line().to_owned()]))
            .await
            .unwrap_err();
        assert!(
            matches!(error, ConnectError::HostKeyChanged { .. }),
            "{error:?}"
        );
    }
    let error = connect(&pinned(
        &host,
        vec!["ssh-ed25519 cannot-be-read".to_owned()],
    ))
    .await
    .unwrap_err();
    assert!(
        matches!(error, ConnectError::HostKeyChanged { .. }),
        "a pin that cannot be read opens nothing: {error:?}"
    );
    nothing_was_sent(&host);
}

#[tokio::test]
async fn each_of_several_pinned_keys_is_found() {
    if is_left_out("sshd") {
        return;
    }
    let host = Host::start_with(|options| options.host_keys(&KeyKind::ALL));
    let other = TestKey::generate(host.folder.path(), "other", KeyKind::Ecdsa256)
        .public_line()
        .to_owned();
    for line in host.sshd.host_key_lines() {
        // The server would show its Ed25519 key if it were asked for any.
        if let Err(error) = connect(&pinned(&host, vec![line.clone()])).await {
            panic!("{line}: {error}");
        }
        connect(&pinned(
            &host,
            vec![other.clone(), format!("{line} with a comment")],
        ))
        .await
        .map(drop)
        .unwrap_or_else(|error| {
            // Two kinds are pinned; the server may show the one that changed, which is then refused.
            assert!(
                matches!(error, ConnectError::HostKeyChanged { .. }),
                "{error:?}"
            );
        });
    }
}

#[tokio::test]
async fn a_revoked_key_is_refused_even_when_it_is_pinned() {
    if is_left_out("sshd") {
        return;
    }
    let host = Host::start();
    let line = host.sshd.host_key_lines().remove(0);
    let file = host.file("known_hosts");
    std::fs::write(&file, format!("@revoked * {line}\n")).unwrap();
    let endpoint = Endpoint {
        host_keys: HostKeys {
            pinned: vec![line],
            known_hosts: Some(file.clone()),
        },
        ..host.endpoint()
    };
    let error = connect(&endpoint).await.unwrap_err();
    assert!(
        matches!(error, ConnectError::HostKeyRevoked { .. }),
        "{error:?}"
    );
    nothing_was_sent(&host);
    // The file changed: the one in memory does not hold any more.
    std::fs::write(&file, "# nothing is revoked here any more\n").unwrap();
    let mut session = connect(&endpoint).await.unwrap();
    assert_eq!(
        session.run(&command("probe", "exit 0")).await.unwrap().exit,
        0
    );
}

#[tokio::test]
async fn a_file_that_cannot_be_read_opens_nothing() {
    if is_left_out("sshd") {
        return;
    }
    let host = Host::start();
    let unreadable = HostKeys {
        pinned: host.sshd.host_key_lines(),
        known_hosts: Some(host.folder.path().to_owned()),
    };
    let error = connect(&Endpoint {
        host_keys: unreadable,
        ..host.endpoint()
    })
    .await
    .unwrap_err();
    assert!(
        matches!(error, ConnectError::KnownHostsUnreadable { .. }),
        "{error:?}"
    );
    let absent = HostKeys {
        pinned: Vec::new(),
        known_hosts: Some(host.file("absent")),
    };
    let error = connect(&Endpoint {
        host_keys: absent,
        ..host.endpoint()
    })
    .await
    .unwrap_err();
    assert!(
        matches!(error, ConnectError::HostKeyUnknown { .. }),
        "{error:?}"
    );
}

#[tokio::test]
async fn all_keys_of_a_host_are_shown_for_enrolment() {
    if is_left_out("sshd") {
        return;
    }
    let host = Host::start_with(|options| {
        options.host_keys(&[KeyKind::Rsa, KeyKind::Ecdsa384, KeyKind::Ed25519])
    });
    let keys = RusshTransport::default()
        .host_keys(&host.endpoint())
        .await
        .unwrap();
    let mut lines: Vec<String> = keys.iter().map(|key| key.openssh.clone()).collect();
    let mut expected = host.sshd.host_key_lines();
    lines.sort();
    expected.sort();
    assert_eq!(lines, expected);
    assert_eq!(
        keys[0].algorithm, "ssh-ed25519",
        "the one to prefer comes first"
    );
    for key in &keys {
        let file = host.file("one.pub");
        std::fs::write(&file, &key.openssh).unwrap();
        let shown = fleet_testkit::run("ssh-keygen", &["-l", "-f", file.to_str().unwrap()]);
        assert!(shown.contains(&key.fingerprint), "{shown} {key:?}");
    }
    nothing_was_sent(&host);
    // Any one of them can be pinned.
    for key in keys {
        connect(&pinned(&host, vec![key.openssh])).await.unwrap();
    }
}
