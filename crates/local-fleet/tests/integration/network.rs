//! Connections that fail, and the count of those that do not.

use std::sync::Arc;
use std::time::Duration;

use local_fleet::{CommandFailure, CommandPoint, CutAt, Fault, LocalHost, ReleaseSpec, Turn};
use russh::Sig;
use russh::keys::{PrivateKey, PrivateKeyWithHashAlg, PublicKeyOrCertificate, load_secret_key};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::client::{Client, End, run};
use crate::{fleet, until};

fn exists(host: &LocalHost, file: &str) -> bool {
    host.home().join(file).exists()
}

#[tokio::test]
async fn a_cut_before_the_command_leaves_nothing_done() {
    let (_folder, fleet) = fleet(1).await;
    let host = &fleet.hosts()[0];
    let client = Client::connect(host).await;
    host.set_fault(Fault::cut(CutAt::Before).turn(Turn::Only(2)))
        .await
        .unwrap();
    assert_eq!(client.run("touch first").await.end, End::Status(0));
    assert_eq!(client.run("touch second").await.end, End::Unknown);
    assert_eq!(run(host, "touch third").await.end, End::Status(0));
    assert_eq!(
        [
            exists(host, "first"),
            exists(host, "second"),
            exists(host, "third")
        ],
        [true, false, true]
    );
    assert_eq!((host.connections(), host.commands()), (2, 3));
    fleet.stop().await;
}

#[tokio::test]
async fn a_cut_can_be_meant_for_one_script() {
    let (_folder, fleet) = fleet(1).await;
    let host = &fleet.hosts()[0];
    host.set_fault(Fault::cut(CutAt::Before).in_script("touch second"))
        .await
        .unwrap();
    let client = Client::connect(host).await;
    assert_eq!(client.run("touch first").await.end, End::Status(0));
    assert_eq!(client.run("{\ntouch second\n}\n").await.end, End::Unknown);
    assert!(exists(host, "first") && !exists(host, "second"));
    let encoded = "eval \"$(printf '%b' 'touch\\0040second')\"\n";
    let client = Client::connect(host).await;
    assert_eq!(client.run(encoded).await.end, End::Unknown);
    host.clear_faults().await.unwrap();
    assert_eq!(run(host, encoded).await.end, End::Status(0));
    std::fs::remove_file(host.home().join("second")).unwrap();
    assert_eq!(run(host, "touch second").await.end, End::Status(0));
    fleet.stop().await;
}

#[tokio::test]
async fn a_cut_after_the_command_loses_only_the_reply() {
    let (_folder, fleet) = fleet(1).await;
    let host = &fleet.hosts()[0];
    host.set_fault(Fault::cut(CutAt::After)).await.unwrap();
    let output = run(host, "echo begin; touch done; echo end").await;
    assert_eq!((output.stdout.as_str(), output.end), ("", End::Unknown));
    assert!(exists(host, "done"));
    host.clear_faults().await.unwrap();
    host.set_fault(Fault::cut(CutAt::After).in_script("special"))
        .await
        .unwrap();
    assert_eq!(run(host, "echo usual").await.stdout, "usual\n");
    assert_eq!(run(host, "echo special").await.end, End::Unknown);
    fleet.stop().await;
}

#[tokio::test]
async fn what_runs_outlives_its_connection() {
    let (_folder, fleet) = fleet(1).await;
    let host = &fleet.hosts()[0];
    let slow = CommandFailure::Hang(Duration::from_millis(500));
    host.set_fault(Fault::command(CommandPoint::Install, slow))
        .await
        .unwrap();
    host.set_fault(Fault::cut(CutAt::WhenLogged("begin bun install".into())).turn(Turn::Only(1)))
        .await
        .unwrap();
    let output = run(host, "cd app; bun install >/dev/null; touch ../installed").await;
    assert_eq!(output.end, End::Unknown);
    assert!(!exists(host, "installed"));
    until("the install goes on", async || exists(host, "installed")).await;
    fleet.stop().await;
}

#[tokio::test]
async fn what_writes_after_a_cut_dies_of_it() {
    let (_folder, fleet) = fleet(1).await;
    let host = &fleet.hosts()[0];
    host.set_fault(Fault::cut(CutAt::During(Duration::from_millis(100))))
        .await
        .unwrap();
    assert_eq!(
        run(host, "while :; do echo on; sleep 0.01; done").await.end,
        End::Unknown
    );
    until("the loop dies", async || host.processes().await.is_empty()).await;
    fleet.stop().await;
}

#[tokio::test]
async fn connections_can_be_cut_from_outside() {
    let (_folder, fleet) = fleet(1).await;
    let host = &fleet.hosts()[0].clone();
    let client = Client::connect(host).await;
    let running = client.run("sleep 600 & touch begun; wait");
    let cut = async {
        until("it has begun", async || exists(host, "begun")).await;
        host.cut_connections();
    };
    assert_eq!(tokio::join!(running, cut).0.end, End::Unknown);
    // The shell and what it waits for; `touch` may be there a little longer.
    until("only these two are left", async || {
        host.processes().await.len() == 2
    })
    .await;
    until("the client notices", async || client.handle.is_closed()).await;
    fleet.stop().await;
    assert!(host.processes().await.is_empty());
}

#[tokio::test]
async fn a_host_can_be_down_and_come_back_on_its_port() {
    let (_folder, fleet) = fleet(1).await;
    let host = &fleet.hosts()[0];
    let client = Client::connect(host).await;
    host.set_fault(Fault::Down).await.unwrap();
    let error = TcpStream::connect((host.address(), host.port()))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
    until("the open connection ends", async || {
        client.handle.is_closed()
    })
    .await;
    host.clear_faults().await.unwrap();
    assert_eq!(run(host, "echo back").await.stdout, "back\n");
    fleet.stop().await;
}

#[tokio::test]
async fn a_mute_host_accepts_and_says_nothing() {
    let (_folder, fleet) = fleet(1).await;
    let host = &fleet.hosts()[0];
    host.set_fault(Fault::Mute).await.unwrap();
    let mut socket = TcpStream::connect((host.address(), host.port()))
        .await
        .unwrap();
    let mut byte = [0];
    let heard = tokio::time::timeout(Duration::from_millis(200), socket.read(&mut byte)).await;
    assert!(heard.is_err(), "{heard:?}");
    host.clear_faults().await.unwrap();
    assert!(
        socket
            .read(&mut byte)
            .await
            .map_or(true, |count| count == 0)
    );
    assert_eq!(run(host, "echo back").await.stdout, "back\n");
    fleet.stop().await;
}

#[tokio::test]
async fn a_host_may_hang_up_before_it_says_anything() {
    let (_folder, fleet) = fleet(1).await;
    let host = &fleet.hosts()[0];
    host.set_fault(Fault::HangsUp(Turn::First(2)))
        .await
        .unwrap();
    let mut answers = Vec::new();
    for _ in 0..3 {
        answers.push(Client::try_connect(host, host.user()).await.is_ok());
    }
    assert_eq!(answers, [false, false, true]);
    fleet.stop().await;
}

#[tokio::test]
async fn a_stalled_connection_stays_open_and_carries_nothing() {
    let (_folder, fleet) = fleet(1).await;
    let host = &fleet.hosts()[0];
    let client = Client::connect(host).await;
    host.set_fault(Fault::Stalled).await.unwrap();
    let answer = tokio::time::timeout(Duration::from_millis(200), client.run("touch heard")).await;
    assert!(answer.is_err() && !exists(host, "heard"), "{answer:?}");
    assert!(!client.handle.is_closed());
    host.clear_faults().await.unwrap();
    until("the stalled connection ends", async || {
        client.handle.is_closed()
    })
    .await;
    assert_eq!(run(host, "echo back").await.stdout, "back\n");
    fleet.stop().await;
}

#[tokio::test]
async fn nobody_else_gets_in() {
    let (_folder, fleet) = fleet(2).await;
    let host = &fleet.hosts()[0];
    assert_eq!(
        Client::try_connect(host, "root").await.err().as_deref(),
        Some("refused")
    );
    host.set_fault(Fault::AuthRefused).await.unwrap();
    assert_eq!(
        Client::try_connect(host, host.user())
            .await
            .err()
            .as_deref(),
        Some("refused")
    );
    host.clear_faults().await.unwrap();
    Client::connect(host).await;
    assert_ne!(fleet.hosts()[0].host_key(), fleet.hosts()[1].host_key());
    let (_other_folder, other) = crate::fleet(1).await;
    let stranger = Arc::new(load_secret_key(other.hosts()[0].client_key(), None).unwrap());
    assert!(!opens(host, Arc::clone(&stranger)).await);
    fleet
        .authorize(&stranger.public_key().to_openssh().unwrap())
        .unwrap();
    assert!(opens(host, stranger).await);
    assert!(fleet.authorize("ssh-ed25519 nonsense").is_err());
    assert!(
        opens(
            host,
            Arc::new(load_secret_key(host.client_key(), None).unwrap())
        )
        .await
    );
    other.stop().await;
    fleet.stop().await;
}

/// Whether a key opens a host.
async fn opens(host: &LocalHost, key: Arc<PrivateKey>) -> bool {
    struct Anything;
    impl russh::client::Handler for Anything {
        type Error = russh::Error;
        async fn check_server_key(
            &mut self,
            _: &PublicKeyOrCertificate,
        ) -> Result<bool, Self::Error> {
            Ok(true)
        }
    }
    let address = (host.address(), host.port());
    let mut handle = russh::client::connect(Arc::default(), address, Anything)
        .await
        .unwrap();
    handle
        .authenticate_publickey(host.user(), PrivateKeyWithHashAlg::new(key, None))
        .await
        .unwrap()
        .success()
}

#[tokio::test]
async fn a_changed_host_key_is_shown_and_taken_back() {
    let (_folder, fleet) = fleet(1).await;
    let host = &fleet.hosts()[0];
    host.set_fault(Fault::HostKeyChanged).await.unwrap();
    assert_ne!(Client::connect(host).await.host_key, host.host_key());
    host.clear_faults().await.unwrap();
    assert_eq!(Client::connect(host).await.host_key, host.host_key());
    assert!(fleet.known_hosts().contains(&format!(
        "[127.0.0.1]:{} {}\n",
        host.port(),
        host.host_key()
    )));
    fleet.stop().await;
}

#[tokio::test]
async fn a_broken_shell_does_not_run_what_it_is_given() {
    let (_folder, fleet) = fleet(1).await;
    let host = &fleet.hosts()[0];
    host.set_fault(Fault::StartupFile("echo welcome".into()))
        .await
        .unwrap();
    assert_eq!(run(host, "echo mine").await.stdout, "welcome\nmine\n");
    host.set_fault(Fault::StartupFile("exit 0".into()))
        .await
        .unwrap();
    let output = run(host, "touch ran").await;
    assert_eq!((output.stdout.as_str(), output.end), ("", End::Status(0)));
    host.set_fault(Fault::ForcedCommand(
        "echo FORCED $SSH_ORIGINAL_COMMAND; exit 7".into(),
    ))
    .await
    .unwrap();
    host.set_fault(Fault::StartupFile(String::new()))
        .await
        .unwrap();
    let output = run(host, "touch ran").await;
    assert_eq!(
        (output.stdout.as_str(), output.end),
        ("FORCED exec /bin/sh -s\n", End::Status(7))
    );
    host.set_fault(Fault::ForcedCommand(
        "echo up; sleep 0.3; echo alive".into(),
    ))
    .await
    .unwrap();
    let output = Client::connect(host)
        .await
        .exec("anything", "", Some(("up", Sig::KILL)))
        .await;
    assert_eq!(
        (output.stdout.as_str(), output.end),
        ("up\nalive\n", End::Status(0))
    );
    assert!(!exists(host, "ran"));
    fleet.stop().await;
}

#[tokio::test]
async fn connections_are_counted_as_the_hosts_see_them() {
    let (_folder, fleet) = fleet(4).await;
    let [first, second, third, fourth] = fleet.hosts() else {
        panic!("four hosts")
    };
    let (one, two) = (Client::connect(first).await, Client::connect(first).await);
    let three = Client::connect(second).await;
    assert_eq!(
        (fleet.open_connections(), fleet.max_connections_seen()),
        (3, 3)
    );
    // One at a time from here: whether this process has noticed the end of the last one makes no difference.
    for client in [one, two, three] {
        client
            .handle
            .disconnect(russh::Disconnect::ByApplication, "", "")
            .await
            .unwrap();
        until("the client's end is closed", async || {
            client.handle.is_closed()
        })
        .await;
    }
    until("all are gone", async || fleet.open_connections() == 0).await;
    fleet.reset_max_connections();
    for _ in 0..50 {
        for host in [third, fourth] {
            drop(
                TcpStream::connect((host.address(), host.port()))
                    .await
                    .unwrap(),
            );
        }
    }
    until("all were seen", async || {
        third.connections() + fourth.connections() == 100
    })
    .await;
    assert!(
        fleet.max_connections_seen() <= 1,
        "{}",
        fleet.max_connections_seen()
    );
    fleet.stop().await;
}

#[tokio::test]
async fn one_host_leads_to_another_and_nowhere_else() {
    let (_folder, fleet) = fleet(2).await;
    let [jump, inner] = fleet.hosts() else {
        panic!("two hosts")
    };
    let client = Client::connect(jump).await;
    let channel = client
        .handle
        .channel_open_direct_tcpip("127.0.0.1", inner.port().into(), "127.0.0.1", 1)
        .await
        .unwrap();
    let mut greeting = [0; 8];
    channel
        .into_stream()
        .read_exact(&mut greeting)
        .await
        .unwrap();
    assert_eq!(&greeting, b"SSH-2.0-");
    let elsewhere = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = elsewhere.local_addr().unwrap().port();
    assert!(
        client
            .handle
            .channel_open_direct_tcpip("127.0.0.1", port.into(), "127.0.0.1", 1)
            .await
            .is_err()
    );
    fleet.stop().await;
}

#[tokio::test]
async fn a_reboot_ends_what_runs_and_starts_the_service() {
    let (_folder, fleet) = fleet(1).await;
    let host = &fleet.hosts()[0];
    fleet.add_release(ReleaseSpec::good("New")).await.unwrap();
    run(
        host,
        "cd app; git pull -q; bun install; setsid sleep 600 >/dev/null 2>&1 &",
    )
    .await;
    let before = host.service_state().await.unwrap();
    host.reboot().await.unwrap();
    assert!(host.processes().await.is_empty());
    let after = host.service_state().await.unwrap();
    assert_eq!(
        (before.release.as_deref(), after.release.as_deref()),
        (Some("r1"), Some("r2"))
    );
    assert_eq!(
        run(host, "systemctl is-active app").await.stdout,
        "active\n"
    );
    fleet.stop().await;
}
