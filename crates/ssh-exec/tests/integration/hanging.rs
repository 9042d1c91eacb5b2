//! Key files and agents that hang, break off or refuse are our own fault, never the host's.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use base64::Engine as _;
use fleet_testkit::{KeyKind, TestKey, is_left_out};
use ssh_exec::{
    ConnectError, Endpoint, HostKeys, Identity, IdentityError, RusshTransport, Transport,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};

use crate::host::{Host, connect};
use crate::support::anywhere;

/// Half of it is what an agent is given for one answer.
const LIMIT: Duration = Duration::from_secs(6);

/// What the agent does when it is asked.
#[derive(Clone, Copy, Debug)]
enum Manner {
    /// Accepts the connection and answers nothing.
    Mute,
    /// Lists its keys and never signs.
    NeverSigns,
    /// Lists its keys and answers each request to sign with a failure.
    RefusesToSign,
    /// Lists its keys and closes the connection when it is asked to sign.
    HangsUp,
}

/// An agent that speaks the real protocol over a real socket.
struct OddAgent {
    socket: PathBuf,
    _folder: tempfile::TempDir,
    serving: tokio::task::JoinHandle<()>,
}

impl Drop for OddAgent {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl OddAgent {
    fn start(manner: Manner, keys: &[&TestKey]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("agent");
        let listener = UnixListener::bind(&socket).unwrap();
        let list = listing(keys);
        let serving = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let list = list.clone();
                tokio::spawn(async move { serve(stream, manner, &list).await });
            }
        });
        Self {
            socket,
            _folder: folder,
            serving,
        }
    }

    fn endpoint(&self, host: &Host) -> Endpoint {
        Endpoint {
            identity: Identity::Agent(self.socket.clone()),
            connect_timeout: LIMIT,
            ..host.endpoint()
        }
    }
}

/// Ends when the other side closes.
async fn serve(mut stream: UnixStream, manner: Manner, list: &[u8]) -> std::io::Result<()> {
    const FAILURE: &[u8] = &[5];
    loop {
        let length = usize::try_from(stream.read_u32().await?).unwrap();
        let mut request = vec![0; length];
        stream.read_exact(&mut request).await?;
        let answer = match (manner, request[0]) {
            (Manner::Mute, _) | (Manner::NeverSigns, 13) => continue,
            (Manner::HangsUp, 13) => return Ok(()),
            (_, 11) => list,
            _ => FAILURE,
        };
        stream
            .write_u32(u32::try_from(answer.len()).unwrap())
            .await?;
        stream.write_all(answer).await?;
    }
}

/// The agent's answer to a request for its keys.
fn listing(keys: &[&TestKey]) -> Vec<u8> {
    let mut answer = vec![12];
    let mut put = |some: &[u8]| answer.extend_from_slice(some);
    put(&u32::try_from(keys.len()).unwrap().to_be_bytes());
    for key in keys {
        let line = key.public_line();
        let blob = base64::engine::general_purpose::STANDARD
            .decode(line.split_whitespace().nth(1).unwrap())
            .unwrap();
        put(&u32::try_from(blob.len()).unwrap().to_be_bytes());
        put(&blob);
        put(&0_u32.to_be_bytes());
    }
    answer
}

/// Signs in with an agent of this manner to a host that takes all of its keys; asserts that the agent is blamed with
/// these words, and within the limit.
async fn is_blamed(manner: Manner, words: &str) {
    if is_left_out("sshd") {
        return;
    }
    let host = Host::start();
    let rsa = TestKey::generate(host.folder.path(), "rsa", KeyKind::Rsa);
    host.sshd
        .set_authorized(&[host.key.public_line(), rsa.public_line()]);
    let agent = OddAgent::start(manner, &[&host.key, &rsa]);
    let begun = Instant::now();
    let error = connect(&agent.endpoint(&host)).await.unwrap_err();
    let taken = begun.elapsed();
    let ConnectError::Identity(IdentityError::Agent { socket, cause }) = &error else {
        panic!("{manner:?}: {error:?}")
    };
    assert_eq!(Path::new(socket), agent.socket);
    assert!(cause.contains(words), "{manner:?}: {cause}");
    assert!(taken < LIMIT, "{manner:?}: {taken:?}");
}

#[tokio::test]
async fn an_agent_that_does_not_list_its_keys_is_blamed() {
    is_blamed(Manner::Mute, "it did not list its keys within 3s").await;
}

#[tokio::test]
async fn an_agent_that_hangs_when_it_is_to_sign_is_blamed() {
    is_blamed(Manner::NeverSigns, "it did not sign within 3s").await;
}

#[tokio::test]
async fn an_agent_that_refuses_to_sign_with_every_key_is_blamed() {
    is_blamed(Manner::RefusesToSign, "it refuses to sign").await;
}

#[tokio::test]
async fn an_agent_that_ends_when_it_is_to_sign_is_blamed() {
    is_blamed(Manner::HangsUp, "it broke off when it was asked to sign").await;
}

#[tokio::test]
async fn a_host_that_refused_a_key_of_the_agent_stays_the_one_that_refused() {
    if is_left_out("sshd") {
        return;
    }
    let host = Host::start();
    let unknown = TestKey::generate(host.folder.path(), "unknown", KeyKind::Ed25519);
    for keys in [[&unknown, &host.key], [&host.key, &unknown]] {
        let agent = OddAgent::start(Manner::RefusesToSign, &keys);
        let error = connect(&agent.endpoint(&host)).await.unwrap_err();
        assert!(
            matches!(&error, ConnectError::AuthRefused { cause, .. } if cause == "it accepts: publickey"),
            "{error:?}"
        );
    }
}

#[tokio::test]
async fn the_look_at_an_agent_that_hangs_ends_before_its_caller_gives_it_up() {
    let agent = OddAgent::start(Manner::Mute, &[]);
    let endpoint = Endpoint {
        identity: Identity::Agent(agent.socket.clone()),
        connect_timeout: LIMIT,
        ..anywhere()
    };
    let transport = RusshTransport::default();
    let looking = tokio::time::timeout(LIMIT, transport.check_identity(&endpoint));
    let error = looking.await.unwrap().unwrap_err();
    assert!(
        matches!(&error, IdentityError::Agent { cause, .. } if cause.contains("within 3s")),
        "{error:?}"
    );
}

/// A file that is there and can be opened, but not to an end: as on a mount whose server is gone. Lets its readers go
/// when dropped.
struct DeadFile(PathBuf);

impl DeadFile {
    fn at(path: PathBuf) -> Self {
        fleet_testkit::run("mkfifo", &["-m", "600", path.to_str().unwrap()]);
        Self(path)
    }
}

impl Drop for DeadFile {
    fn drop(&mut self) {
        let writer = std::fs::File::options()
            .read(true)
            .write(true)
            .open(&self.0);
        let _ = std::fs::remove_file(&self.0);
        drop(writer);
    }
}

#[tokio::test]
async fn a_file_of_ours_on_a_dead_mount_is_not_held_against_the_host() {
    // `ssh-keygen` comes with the server.
    if is_left_out("sshd") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let dead = DeadFile::at(folder.path().join("dead"));
    let shown = dead.0.display().to_string();
    let key = TestKey::generate(folder.path(), "login", KeyKind::Ed25519);
    let limit = Duration::from_secs(1);
    let endpoint = Endpoint {
        identity: Identity::File(dead.0.clone()),
        connect_timeout: limit,
        ..anywhere()
    };
    let unread = IdentityError::Unreadable {
        path: shown.clone(),
        cause: "it was not read within 1s; see whether the disk or mount that holds it answers"
            .to_owned(),
    };
    let begun = Instant::now();
    let error = connect(&endpoint).await.unwrap_err();
    assert!(
        matches!(&error, ConnectError::Identity(same) if *same == unread),
        "{error:?}"
    );
    let looking = RusshTransport::default();
    let looking = looking.check_identity(&endpoint);
    let looked = tokio::time::timeout(20 * limit, looking).await;
    assert_eq!(looked.unwrap(), Err(unread));

    let endpoint = Endpoint {
        identity: Identity::File(key.private().to_owned()),
        host_keys: HostKeys {
            pinned: Vec::new(),
            known_hosts: Some(dead.0.clone()),
        },
        ..endpoint
    };
    let error = connect(&endpoint).await.unwrap_err();
    assert!(
        matches!(&error, ConnectError::KnownHostsUnreadable { path, .. } if *path == shown),
        "{error:?}"
    );
    assert!(begun.elapsed() < 20 * limit, "{:?}", begun.elapsed());
}
