//! Credentials, on a real server.

use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine as _;
use fleet_testkit::{Agent, KeyFormat, KeyKind, TestKey, is_left_out};
use ssh_exec::{
    ConnectError, Endpoint, Identity, IdentityError, Passphrase, RusshSettings, RusshTransport,
    Transport,
};

use crate::host::{Host, connect};
use crate::support::command;

fn with_passphrase(passphrase: Passphrase) -> RusshTransport {
    RusshTransport::new(RusshSettings {
        passphrase,
        ..RusshSettings::default()
    })
}

async fn works(transport: &RusshTransport, endpoint: &Endpoint, what: &str) {
    transport
        .check_identity(endpoint)
        .await
        .unwrap_or_else(|error| panic!("{what}: {error}"));
    let mut session = transport
        .connect(endpoint)
        .await
        .unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(
        session.run(&command("probe", "exit 3")).await.unwrap().exit,
        3,
        "{what}"
    );
    session.close().await;
}

#[tokio::test]
async fn every_kind_of_key_signs_in() {
    if is_left_out("sshd") {
        return;
    }
    let host = Host::start();
    for kind in KeyKind::ALL {
        for (format, passphrase) in [
            (KeyFormat::Openssh, ""),
            (KeyFormat::Openssh, "correct horse"),
            (KeyFormat::Pem, ""),
            (KeyFormat::Pkcs8, ""),
            (KeyFormat::Pkcs8, "correct horse"),
        ] {
            let what = format!("{kind:?} {format:?} {passphrase:?}");
            let name = what.replace([' ', '"'], "-");
            let key = TestKey::generate_as(host.folder.path(), &name, kind, format, passphrase);
            host.sshd.set_authorized(&[key.public_line()]);
            works(
                &with_passphrase(Passphrase::fixed("correct horse")),
                &host.endpoint_with(key.private()),
                &what,
            )
            .await;
        }
    }
    let old = TestKey::generate_as(
        host.folder.path(),
        "old",
        KeyKind::Rsa,
        KeyFormat::Pem,
        "correct horse",
    );
    host.sshd.set_authorized(&[old.public_line()]);
    works(
        &with_passphrase(Passphrase::fixed("correct horse")),
        &host.endpoint_with(old.private()),
        "old PEM",
    )
    .await;
}

/// How many bytes the secret number of an unencrypted P-256 key takes in its file.
fn scalar_length(key: &TestKey) -> usize {
    let text = std::fs::read_to_string(key.private()).unwrap();
    let body: String = text.lines().filter(|line| !line.starts_with('-')).collect();
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(body)
        .unwrap();
    let curve = b"nistp256";
    let last = bytes
        .windows(curve.len())
        .rposition(|some| some == curve)
        .unwrap();
    let after_point = last + curve.len() + 4 + 65;
    usize::from(bytes[after_point + 3])
}

#[tokio::test]
async fn a_key_whose_number_is_small_signs_in() {
    if is_left_out("sshd") {
        return;
    }
    let host = Host::start();
    // One in 256 is.
    let key = (0..)
        .map(|n| TestKey::generate(host.folder.path(), &format!("k{n}"), KeyKind::Ecdsa256))
        .find(|key| scalar_length(key) < 32)
        .unwrap();
    host.sshd.set_authorized(&[key.public_line()]);
    let endpoint = host.endpoint_with(key.private());
    works(&RusshTransport::default(), &endpoint, "small").await;
    let file = key.private().to_str().unwrap();
    let arguments = ["-q", "-p", "-P", "", "-N", "correct horse", "-f", file];
    fleet_testkit::run("ssh-keygen", &arguments);
    let right = with_passphrase(Passphrase::fixed("correct horse"));
    works(&right, &endpoint, "small, encrypted").await;
    let wrong = with_passphrase(Passphrase::fixed("correct mule"));
    let error = wrong.check_identity(&endpoint).await.unwrap_err();
    assert!(
        matches!(error, IdentityError::WrongPassphrase { .. }),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_server_that_takes_one_rsa_hash_alone_is_served() {
    if is_left_out("sshd") {
        return;
    }
    for hash in ["rsa-sha2-256", "rsa-sha2-512"] {
        let host =
            Host::start_with(|options| options.line(format!("PubkeyAcceptedAlgorithms {hash}")));
        let key = TestKey::generate(host.folder.path(), "rsa", KeyKind::Rsa);
        host.sshd.set_authorized(&[key.public_line()]);
        works(
            &RusshTransport::default(),
            &host.endpoint_with(key.private()),
            hash,
        )
        .await;
    }
}

#[tokio::test]
async fn a_key_that_the_host_does_not_know_is_refused() {
    if is_left_out("sshd") {
        return;
    }
    let host = Host::start();
    let other = TestKey::generate(host.folder.path(), "other", KeyKind::Ed25519);
    let error = connect(&host.endpoint_with(other.private()))
        .await
        .unwrap_err();
    let ConnectError::AuthRefused {
        host: name,
        user,
        cause,
    } = &error
    else {
        panic!("{error:?}")
    };
    assert_eq!(
        (name.as_str(), user.as_str(), cause.as_str()),
        ("web-1", host.sshd.user(), "it accepts: publickey")
    );
}

#[tokio::test]
async fn a_key_that_is_not_enough_says_what_is_missing() {
    if is_left_out("sshd") {
        return;
    }
    let host = Host::start_with(|options| {
        options
            .line("PasswordAuthentication yes")
            .line("AuthenticationMethods publickey,password")
    });
    let error = connect(&host.endpoint()).await.unwrap_err();
    assert!(
        matches!(&error, ConnectError::AuthRefused { cause, .. } if cause == "the key is not enough, it also wants: password"),
        "{error:?}"
    );
}

#[tokio::test]
async fn the_agent_signs() {
    if is_left_out("sshd") {
        return;
    }
    let host = Host::start();
    let agent = Agent::start();
    let endpoint = Endpoint {
        identity: Identity::Agent(agent.socket().to_owned()),
        ..host.endpoint()
    };
    let error = connect(&endpoint).await.unwrap_err();
    assert!(
        matches!(error, ConnectError::Identity(IdentityError::Agent { .. })),
        "{error:?}"
    );

    for kind in [KeyKind::Ecdsa256, KeyKind::Ed25519, KeyKind::Rsa] {
        let key = TestKey::generate(host.folder.path(), &format!("{kind:?}"), kind);
        agent.add(&key);
        // The keys added before are tried first, and refused.
        host.sshd.set_authorized(&[key.public_line()]);
        works(&RusshTransport::default(), &endpoint, &format!("{kind:?}")).await;
    }
    host.sshd.set_authorized(&[]);
    assert!(matches!(
        connect(&endpoint).await.unwrap_err(),
        ConnectError::AuthRefused { .. }
    ));
}

#[tokio::test]
async fn an_agent_with_more_keys_than_the_server_takes_is_refused_not_lost() {
    if is_left_out("sshd") {
        return;
    }
    let host = Host::start_with(|options| options.line("MaxAuthTries 2"));
    let agent = Agent::start();
    for name in ["a", "b", "c", "d"] {
        agent.add(&TestKey::generate(
            host.folder.path(),
            name,
            KeyKind::Ed25519,
        ));
    }
    let endpoint = Endpoint {
        identity: Identity::Agent(agent.socket().to_owned()),
        ..host.endpoint()
    };
    let error = connect(&endpoint).await.unwrap_err();
    assert!(
        matches!(&error, ConnectError::AuthRefused { cause, .. } if cause.contains("Too many authentication failures")),
        "{error:?}"
    );
}

#[tokio::test]
async fn no_agent_is_our_own_fault() {
    let folder = tempfile::tempdir().unwrap();
    let endpoint = Endpoint {
        identity: Identity::Agent(folder.path().join("none")),
        ..crate::support::anywhere()
    };
    let error = RusshTransport::default()
        .check_identity(&endpoint)
        .await
        .unwrap_err();
    assert!(matches!(error, IdentityError::Agent { .. }), "{error:?}");
}

/// What loading this key says, and what connecting says before it touches any host.
async fn refusal(transport: &RusshTransport, path: &std::path::Path) -> IdentityError {
    let endpoint = Endpoint {
        identity: Identity::File(path.to_owned()),
        port: 1,
        ..crate::support::anywhere()
    };
    let error = transport.check_identity(&endpoint).await.unwrap_err();
    let connect = transport.connect(&endpoint).await.unwrap_err();
    assert!(
        matches!(&connect, ConnectError::Identity(same) if *same == error),
        "{connect:?}"
    );
    error
}

#[tokio::test]
async fn a_key_that_cannot_be_used_is_named_before_any_host_is_touched() {
    // `ssh-keygen` comes with the server.
    if is_left_out("sshd") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let mode = |name: &str, mode: u32| {
        std::fs::set_permissions(path(name), std::fs::Permissions::from_mode(mode)).unwrap();
    };
    let shown = |name: &str| path(name).display().to_string();
    let transport = with_passphrase(Passphrase::fixed("wrong"));

    assert!(matches!(
        refusal(&transport, &path("none")).await,
        IdentityError::Unreadable { .. }
    ));
    assert!(matches!(
        refusal(&transport, folder.path()).await,
        IdentityError::Unreadable { .. }
    ));

    TestKey::generate(folder.path(), "open", KeyKind::Ed25519);
    for open in [0o640, 0o604, 0o660, 0o610] {
        mode("open", open);
        assert_eq!(
            refusal(&transport, &path("open")).await,
            IdentityError::TooOpen {
                path: shown("open"),
                mode: open
            }
        );
    }

    for (kind, format) in [
        (KeyKind::Ed25519, KeyFormat::Openssh),
        (KeyKind::Rsa, KeyFormat::Pem),
        (KeyKind::Rsa, KeyFormat::Pkcs8),
        (KeyKind::Ecdsa256, KeyFormat::Pkcs8),
    ] {
        let name = format!("{kind:?}{format:?}");
        TestKey::generate_as(folder.path(), &name, kind, format, "right");
        assert_eq!(
            refusal(&transport, &path(&name)).await,
            IdentityError::WrongPassphrase { path: shown(&name) }
        );
        let without = RusshTransport::default();
        assert_eq!(
            refusal(&without, &path(&name)).await,
            IdentityError::NeedsPassphrase { path: shown(&name) }
        );
    }

    TestKey::generate_as(
        folder.path(),
        "old-ecdsa",
        KeyKind::Ecdsa256,
        KeyFormat::Pem,
        "right",
    );
    let old = refusal(&transport, &path("old-ecdsa")).await;
    assert!(
        matches!(&old, IdentityError::Malformed { cause, .. } if cause.contains("ssh-keygen -p")),
        "{old:?}"
    );

    for (name, content) in [
        ("empty", &b""[..]),
        ("text", b"hello\n"),
        ("binary", b"\xff\xfe\x00"),
        ("cut", b"-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAABG5vbmU\n-----END OPENSSH PRIVATE KEY-----\n"),
    ] {
        std::fs::write(path(name), content).unwrap();
        mode(name, 0o600);
        assert!(matches!(refusal(&transport, &path(name)).await, IdentityError::Malformed { .. }), "{name}");
    }
    let public = TestKey::generate(folder.path(), "pair", KeyKind::Ed25519)
        .private()
        .with_extension("pub");
    std::fs::set_permissions(&public, std::fs::Permissions::from_mode(0o600)).unwrap();
    assert!(matches!(
        refusal(&transport, &public).await,
        IdentityError::Malformed { .. }
    ));
}

#[tokio::test]
async fn a_key_is_decrypted_once_until_its_file_changes() {
    // `ssh-keygen` comes with the server.
    if is_left_out("sshd") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let key = TestKey::generate_as(
        folder.path(),
        "key",
        KeyKind::Ed25519,
        KeyFormat::Openssh,
        "right",
    );
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let passphrase = Passphrase::from_fn(move |_| {
        count.fetch_add(1, Ordering::Relaxed);
        Some("right".to_owned())
    });
    assert_eq!(
        format!("{:?}", Passphrase::fixed("right")),
        "Passphrase(hidden)"
    );
    let transport = Arc::new(with_passphrase(passphrase));
    let endpoint = Endpoint {
        identity: Identity::File(key.private().to_owned()),
        ..crate::support::anywhere()
    };
    let loads: Vec<_> = (0..20)
        .map(|_| {
            let (transport, endpoint) = (Arc::clone(&transport), endpoint.clone());
            tokio::spawn(async move { transport.check_identity(&endpoint).await })
        })
        .collect();
    for load in loads {
        load.await.unwrap().unwrap();
    }
    assert_eq!(asked.load(Ordering::Relaxed), 1);

    let text = std::fs::read_to_string(key.private()).unwrap();
    std::fs::write(key.private(), text + "\n").unwrap();
    transport.check_identity(&endpoint).await.unwrap();
    assert_eq!(asked.load(Ordering::Relaxed), 2);
    // Rights are looked at every time.
    std::fs::set_permissions(key.private(), std::fs::Permissions::from_mode(0o644)).unwrap();
    assert!(matches!(
        transport.check_identity(&endpoint).await,
        Err(IdentityError::TooOpen { .. })
    ));
}
