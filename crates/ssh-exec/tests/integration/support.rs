//! What the tests share.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use ssh_exec::{
    CommandOutput, Endpoint, HostGuard, HostKeys, Identity, LocalShellTransport, RemoteCommand,
    SessionError, Transport,
};

/// A command with a deadline that no test should meet.
pub(crate) fn command(name: &'static str, body: &'static str) -> RemoteCommand {
    RemoteCommand::new(name, body, Duration::from_secs(30))
}

/// An endpoint for transports that need none.
pub(crate) fn anywhere() -> Endpoint {
    Endpoint {
        name: "here".to_owned(),
        address: "127.0.0.1".to_owned(),
        port: 22,
        user: "app".to_owned(),
        identity: Identity::File("/nowhere".into()),
        host_keys: HostKeys::default(),
        jump: None,
        connect_timeout: Duration::from_secs(10),
    }
}

/// Runs a command in a shell of this machine.
pub(crate) async fn shell(command: &RemoteCommand) -> Result<CommandOutput, SessionError> {
    shell_with(LocalShellTransport::new(), command).await
}

/// Runs a command in a shell of this machine that is set up so.
pub(crate) async fn shell_with(
    transport: LocalShellTransport,
    command: &RemoteCommand,
) -> Result<CommandOutput, SessionError> {
    transport
        .connect(&anywhere())
        .await
        .unwrap()
        .run(command)
        .await
}

/// A temporary folder with a git repository `app` in it.
pub(crate) struct Repo {
    folder: tempfile::TempDir,
}

impl Repo {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let status = Command::new("git")
            .args(["init", "-q"])
            .arg(folder.path().join("app"))
            .status()
            .unwrap();
        assert!(status.success());
        Self { folder }
    }

    pub(crate) fn path(&self) -> String {
        self.folder.path().join("app").to_str().unwrap().to_owned()
    }

    /// A file beside the repository.
    pub(crate) fn beside(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A file in the guard's folder.
    pub(crate) fn kept(&self, name: &str) -> PathBuf {
        self.folder.path().join("app/.git/rollout").join(name)
    }

    pub(crate) fn guard(&self, store: &str, epoch: i64) -> HostGuard {
        HostGuard {
            repo: self.path(),
            store: store.to_owned(),
            epoch,
            replace: None,
            wait_seconds: 20,
        }
    }
}

pub(crate) fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}
