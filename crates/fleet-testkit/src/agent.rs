//! An `ssh-agent` of the test's own.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::keys::TestKey;
use crate::tools::{folder, text, until};

/// A running agent.
#[derive(Debug)]
pub struct Agent {
    child: Child,
    socket: PathBuf,
    _folder: tempfile::TempDir,
}

impl Agent {
    /// Starts an agent that holds no key.
    #[must_use]
    pub fn start() -> Self {
        let folder = folder();
        let socket = folder.path().join("agent");
        let child = Command::new("ssh-agent")
            .args(["-D", "-a", text(&socket)])
            .stdout(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("ssh-agent cannot be started: {error}"));
        until("the agent listens", || socket.exists());
        Self {
            child,
            socket,
            _folder: folder,
        }
    }

    /// Gives the agent an unencrypted key.
    pub fn add(&self, key: &TestKey) {
        let status = Command::new("ssh-add")
            .args(["-q", text(key.private())])
            .env("SSH_AUTH_SOCK", &self.socket)
            .stdin(Stdio::null())
            .status()
            .unwrap_or_else(|error| panic!("ssh-add cannot be started: {error}"));
        assert!(status.success(), "ssh-add failed");
    }

    /// Where it listens.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
