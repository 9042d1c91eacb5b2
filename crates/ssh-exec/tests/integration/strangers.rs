//! What answers on a port need not be a friendly SSH server.

use std::time::{Duration, Instant};

use ssh_exec::{ConnectError, Endpoint, Identity};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use fleet_testkit::{KeyKind, TestKey, is_left_out};

use crate::host::connect;
use crate::support::anywhere;

/// How the stranger behaves after it accepted.
#[derive(Clone, Copy, Debug)]
enum Manner {
    Mute,
    Close,
    Reset,
    Http,
    EndlessBanner,
    EndlessLine,
    Garbage,
    GreetAndMute,
    GreetAndClose,
    GreetAndFlood,
    HugePacket,
    OldProtocol,
}

async fn behave(mut stream: TcpStream, manner: Manner) -> std::io::Result<()> {
    let greeting = b"SSH-2.0-stranger\r\n";
    match manner {
        Manner::Mute => {}
        Manner::Close => return Ok(()),
        Manner::Reset => {
            stream.set_zero_linger()?;
            return Ok(());
        }
        Manner::Http => {
            stream
                .write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                .await?
        }
        Manner::EndlessBanner => loop {
            stream.write_all(b"a line before the greeting\r\n").await?;
        },
        Manner::EndlessLine => loop {
            stream.write_all(&[b'x'; 1024]).await?;
        },
        Manner::Garbage => stream.write_all(&[0xff; 4096]).await?,
        Manner::GreetAndMute => stream.write_all(greeting).await?,
        Manner::GreetAndClose => return stream.write_all(greeting).await,
        Manner::GreetAndFlood => {
            stream.write_all(greeting).await?;
            loop {
                stream.write_all(&[0; 1024]).await?;
            }
        }
        Manner::HugePacket => {
            stream.write_all(greeting).await?;
            stream.write_all(&[0xff, 0xff, 0xff, 0xff, 4, 20]).await?;
        }
        Manner::OldProtocol => stream.write_all(b"SSH-1.5-ancient\r\n").await?,
    }
    // Reads until the other side gives up.
    let mut buffer = [0; 1024];
    while stream.read(&mut buffer).await? > 0 {}
    Ok(())
}

/// Connects to a stranger; returns the error, and makes sure that our side let go of the connection.
async fn meet(manner: Manner) -> ConnectError {
    let folder = tempfile::tempdir().unwrap();
    let key = TestKey::generate(folder.path(), "login", KeyKind::Ed25519);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = Endpoint {
        name: "stranger".to_owned(),
        port: listener.local_addr().unwrap().port(),
        identity: Identity::File(key.private().to_owned()),
        connect_timeout: Duration::from_secs(2),
        ..anywhere()
    };
    let stranger = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let _ = behave(stream, manner).await;
    });
    let begun = Instant::now();
    let error = connect(&endpoint).await.unwrap_err();
    assert!(
        begun.elapsed() < Duration::from_secs(20),
        "{manner:?} is bounded"
    );
    tokio::time::timeout(Duration::from_secs(20), stranger)
        .await
        .unwrap_or_else(|_| panic!("{manner:?}: the connection is still open"))
        .unwrap();
    error
}

#[tokio::test]
async fn strangers_are_told_from_closed_doors() {
    // `ssh-keygen` comes with the server.
    if is_left_out("sshd") {
        return;
    }
    let meetings: Vec<_> = [
        (Manner::Mute, "no answer within 2s (key exchange)"),
        (Manner::GreetAndMute, "no answer within 2s (key exchange)"),
        (Manner::Close, "before its SSH greeting"),
        (Manner::GreetAndClose, "the connection"),
        (Manner::EndlessBanner, "does not speak SSH"),
        (Manner::EndlessLine, "does not speak SSH"),
        (Manner::Garbage, "does not speak SSH"),
        (Manner::GreetAndFlood, ""),
        (Manner::HugePacket, ""),
        // These say a few words and wait: that they are no SSH servers shows only when time runs out.
        (Manner::Http, ""),
        (Manner::OldProtocol, ""),
        // The reset may come before TCP told us that we are connected.
        (Manner::Reset, ""),
    ]
    .into_iter()
    .map(|(manner, words)| (manner, words, tokio::spawn(meet(manner))))
    .collect();
    for (manner, words, meeting) in meetings {
        let error = meeting.await.unwrap();
        let (ConnectError::Unreachable { cause, .. } | ConnectError::Protocol { cause, .. }) =
            &error
        else {
            panic!("{manner:?}: {error:?}");
        };
        assert!(cause.contains(words), "{manner:?}: {error:?}");
        let mute = matches!(manner, Manner::Mute | Manner::GreetAndMute);
        let silent = matches!(manner, Manner::Http | Manner::OldProtocol | Manner::Reset);
        assert!(
            silent || mute == matches!(error, ConnectError::Unreachable { .. }),
            "{manner:?}: {error:?}"
        );
    }
}

#[tokio::test]
async fn closed_ports_and_bad_names_are_unreachable() {
    // `ssh-keygen` comes with the server.
    if is_left_out("sshd") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let key = TestKey::generate(folder.path(), "login", KeyKind::Ed25519);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let endpoint = |address: &str| Endpoint {
        address: address.to_owned(),
        port,
        identity: Identity::File(key.private().to_owned()),
        ..anywhere()
    };
    let error = connect(&endpoint("127.0.0.1")).await.unwrap_err();
    assert!(
        matches!(&error, ConnectError::Unreachable { cause, address, .. }
        if cause.contains("refused") && *address == format!("127.0.0.1:{port}")),
        "{error:?}"
    );
    for name in ["nothing.invalid", "", "bad name", "a\0b"] {
        let error = connect(&endpoint(name)).await.unwrap_err();
        assert!(
            matches!(error, ConnectError::Unreachable { .. }),
            "{name:?}: {error:?}"
        );
    }
    for refused in [
        "169.254.169.254",
        "0.0.0.0",
        "::ffff:169.254.169.254",
        "fd00:ec2::254",
        "224.0.0.1",
    ] {
        let error = connect(&endpoint(refused)).await.unwrap_err();
        assert!(
            matches!(error, ConnectError::AddressRefused { .. }),
            "{refused}: {error:?}"
        );
    }
}
