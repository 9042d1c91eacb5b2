//! A real host to sign in to.

use std::path::Path;
use std::time::Duration;

use fleet_testkit::{KeyKind, Sshd, SshdOptions, TestKey};
use ssh_exec::{
    CommandOutput, ConnectError, Endpoint, HostKeys, Identity, RemoteCommand, RusshTransport,
    Session, SessionError, Transport,
};

/// An OpenSSH server and a key that it accepts.
pub(crate) struct Host {
    pub(crate) sshd: Sshd,
    pub(crate) key: TestKey,
    pub(crate) folder: tempfile::TempDir,
}

impl Host {
    pub(crate) fn start() -> Self {
        Self::start_with(|options| options)
    }

    pub(crate) fn start_with(set_up: impl FnOnce(SshdOptions) -> SshdOptions) -> Self {
        Self::start_for("", set_up)
    }

    /// With these options before the key in `authorized_keys`.
    pub(crate) fn start_for(
        restriction: &str,
        set_up: impl FnOnce(SshdOptions) -> SshdOptions,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let key = TestKey::generate(folder.path(), "login", KeyKind::Ed25519);
        let options =
            SshdOptions::default().authorize(format!("{restriction}{}", key.public_line()));
        Self {
            sshd: Sshd::start(set_up(options)),
            key,
            folder,
        }
    }

    pub(crate) fn endpoint(&self) -> Endpoint {
        self.endpoint_with(self.key.private())
    }

    pub(crate) fn endpoint_with(&self, key: &Path) -> Endpoint {
        Endpoint {
            name: "web-1".to_owned(),
            address: "127.0.0.1".to_owned(),
            port: self.sshd.port(),
            user: self.sshd.user().to_owned(),
            identity: Identity::File(key.to_owned()),
            host_keys: HostKeys {
                pinned: self.sshd.host_key_lines(),
                known_hosts: None,
            },
            jump: None,
            connect_timeout: Duration::from_secs(30),
        }
    }

    pub(crate) async fn connect(&self) -> Box<dyn Session> {
        connect(&self.endpoint()).await.unwrap()
    }

    /// A file beside the server.
    pub(crate) fn file(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }
}

pub(crate) async fn connect(endpoint: &Endpoint) -> Result<Box<dyn Session>, ConnectError> {
    RusshTransport::default().connect(endpoint).await
}

/// Connects and runs one command.
pub(crate) async fn run_on(
    host: &Host,
    command: &RemoteCommand,
) -> Result<CommandOutput, SessionError> {
    host.connect().await.run(command).await
}
