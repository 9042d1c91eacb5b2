//! A real shell on this machine, reached without a network.

use std::ffi::OsString;
use std::process::Stdio;
use std::time::Duration;

use async_trait::async_trait;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout_at};

use crate::command::{CommandOutput, RemoteCommand};
use crate::frame::{EXEC_REQUEST, Frame, FrameReader, StreamEnd};
use crate::transport::{
    ConnectError, Endpoint, HostKey, IdentityError, Session, SessionError, Transport,
};

/// Runs the framed commands in `/bin/sh` on this machine, as sshd would: for tests of command bodies on real git and
/// real coreutils, without SSH.
///
/// Every endpoint is the same machine. A command that outlives its deadline goes on, as it would on a host.
#[derive(Clone, Debug, Default)]
pub struct LocalShellTransport {
    environment: Vec<(OsString, OsString)>,
    login_shell: Option<OsString>,
}

impl LocalShellTransport {
    /// A transport whose commands get this process's environment.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a variable in the commands' environment: `PATH` with stand-ins in front, `HOME`, ...
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// The login shell that is handed the exec request; `/bin/sh` if not said.
    #[must_use]
    pub fn login_shell(mut self, shell: impl Into<OsString>) -> Self {
        self.login_shell = Some(shell.into());
        self
    }
}

#[async_trait]
impl Transport for LocalShellTransport {
    async fn connect(&self, _endpoint: &Endpoint) -> Result<Box<dyn Session>, ConnectError> {
        Ok(Box::new(LocalShellSession(self.clone())))
    }

    async fn check_identity(&self, _endpoint: &Endpoint) -> Result<(), IdentityError> {
        Ok(())
    }

    async fn host_keys(&self, _endpoint: &Endpoint) -> Result<Vec<HostKey>, ConnectError> {
        Ok(Vec::new())
    }
}

#[derive(Debug)]
struct LocalShellSession(LocalShellTransport);

#[async_trait]
impl Session for LocalShellSession {
    async fn run(&mut self, command: &RemoteCommand) -> Result<CommandOutput, SessionError> {
        let frame = Frame::render(command)?;
        let until = Instant::now() + command.deadline();
        let mut reader = FrameReader::new(frame.marker());
        let mut child = self.spawn().map_err(|error| lost(command, &error))?;
        match timeout_at(until, converse(&mut child, &frame.stdin(), &mut reader)).await {
            Err(_) => Err(SessionError::Deadline {
                command: command.name(),
                seconds: command.deadline().as_secs(),
            }),
            Ok(Err(error)) => Err(lost(command, &error)),
            Ok(Ok(())) if reader.ended() => reader.result(command.name(), &StreamEnd::Silent),
            Ok(Ok(())) => {
                let status = child.wait().await.map_err(|error| lost(command, &error))?;
                let end = status.code().and_then(|code| u32::try_from(code).ok());
                let end = end.map_or(StreamEnd::Silent, StreamEnd::Exit);
                reader.result(command.name(), &end)
            }
        }
    }

    async fn close(self: Box<Self>) {}
}

impl LocalShellSession {
    fn spawn(&self) -> std::io::Result<Child> {
        let shell = self
            .0
            .login_shell
            .clone()
            .unwrap_or_else(|| "/bin/sh".into());
        Command::new(shell)
            .arg("-c")
            .arg(EXEC_REQUEST)
            .envs(self.0.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
    }
}

fn lost(command: &RemoteCommand, error: &std::io::Error) -> SessionError {
    SessionError::Lost {
        command: command.name(),
        cause: error.to_string(),
    }
}

/// Feeds the script and reads until both end markers or both ends of file.
async fn converse(
    child: &mut Child,
    script: &[u8],
    reader: &mut FrameReader,
) -> std::io::Result<()> {
    let missing = || std::io::Error::other("a standard stream is missing");
    let mut stdin = child.stdin.take().ok_or_else(missing)?;
    let mut stdout = child.stdout.take().ok_or_else(missing)?;
    let mut stderr = child.stderr.take().ok_or_else(missing)?;
    // A shell that does not read its input closes it; what it then says is what counts.
    let _ = stdin.write_all(script).await;
    drop(stdin);
    let (mut out, mut err) = (vec![0; 16 * 1024], vec![0; 16 * 1024]);
    let (mut out_open, mut err_open) = (true, true);
    while (out_open || err_open) && !reader.complete() {
        tokio::select! {
            read = stdout.read(&mut out), if out_open => match read? {
                0 => out_open = false,
                count => reader.stdout(&out[..count]),
            },
            read = stderr.read(&mut err), if err_open => match read? {
                0 => err_open = false,
                count => reader.stderr(&err[..count]),
            },
            () = sleep(Duration::from_millis(200)), if reader.ended() => break,
        }
    }
    Ok(())
}
