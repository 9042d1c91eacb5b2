//! One command: a real process behind a channel, kept as sshd keeps it when there is no terminal.

use std::collections::VecDeque;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;

use russh::server::{Handle, Msg};
use russh::{Channel, ChannelId, ChannelMsg, ChannelReadHalf, ChannelWriteHalf, Sig};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, Command};
use tokio_util::sync::CancellationToken;

use crate::cutting::{CommandCut, read_escapes};
use crate::host_core::HostCore;

/// Bytes read from a process at once.
const CHUNK: usize = 32 * 1024;

/// How much of a script is looked at for the text of a fault.
const SCRIPT_LIMIT: usize = 1024 * 1024;

/// A running command, as the connection that asked for it knows it.
#[derive(Debug)]
pub(crate) struct Running {
    group: Option<rustix::process::Pid>,
}

impl Running {
    /// Sends a signal to the command's process group, as sshd does.
    pub(crate) fn signal(&self, signal: &Sig) {
        let signal = match signal {
            Sig::TERM => rustix::process::Signal::TERM,
            Sig::KILL => rustix::process::Signal::KILL,
            Sig::INT => rustix::process::Signal::INT,
            Sig::HUP => rustix::process::Signal::HUP,
            Sig::QUIT => rustix::process::Signal::QUIT,
            Sig::ALRM => rustix::process::Signal::ALARM,
            Sig::USR1 => rustix::process::Signal::USR1,
            _ => return,
        };
        if let Some(group) = self.group {
            // Nobody is left in the group when it has ended.
            let _ = rustix::process::kill_process_group(group, signal);
        }
    }
}

/// Starts a command for a channel and sees it to its end in a task of its own, which outlives the connection.
pub(crate) fn start(
    host: &Arc<HostCore>,
    channel: Channel<Msg>,
    session: Handle,
    command: &[u8],
    cut: Arc<CommandCut>,
) -> io::Result<Running> {
    let mut child = shell(host, command).spawn()?;
    let group = child
        .id()
        .and_then(|id| i32::try_from(id).ok())
        .and_then(rustix::process::Pid::from_raw);
    let id = channel.id();
    let (reader, writer) = channel.split();
    let gone = CancellationToken::new();
    let stdin = child.stdin.take();
    tokio::spawn(feed(
        Arc::clone(host),
        reader,
        stdin,
        Arc::clone(&cut),
        gone.clone(),
    ));
    tokio::spawn(serve(child, id, writer, session, cut, gone));
    Ok(Running { group })
}

/// `/bin/sh -c COMMAND` at home, in a clean environment and a process group of its own.
fn shell(host: &HostCore, command: &[u8]) -> Command {
    let faults = host.shell_faults();
    let mut text = Vec::new();
    if let Some(startup) = &faults.startup {
        text.extend_from_slice(startup.as_bytes());
        text.push(b'\n');
    }
    text.extend_from_slice(faults.forced.as_deref().map_or(command, str::as_bytes));
    let mut shell = Command::new("/bin/sh");
    shell.arg("-c").arg(std::ffi::OsStr::from_bytes(&text));
    host.folder().environment(&mut shell);
    if faults.forced.is_some() {
        shell.env("SSH_ORIGINAL_COMMAND", std::ffi::OsStr::from_bytes(command));
    }
    shell
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    shell
}

/// Passes the process's output on until it and all who inherited its pipes are done, or the client has gone.
async fn serve(
    mut child: Child,
    id: ChannelId,
    writer: ChannelWriteHalf<Msg>,
    session: Handle,
    cut: Arc<CommandCut>,
    gone: CancellationToken,
) {
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let end = async {
        let status = child.wait().await;
        if cut.command_ended() {
            return;
        }
        if let Ok(status) = status {
            report(status, id, &session).await;
        }
    };
    tokio::join!(
        pump(stdout, None, &writer, &cut, &gone),
        pump(stderr, Some(1), &writer, &cut, &gone),
        end
    );
    // Both fail when the connection is gone, and then there is nobody to tell.
    let _ = writer.eof().await;
    let _ = writer.close().await;
}

/// Tells the client how the process ended. Nobody is told when the connection is gone.
async fn report(status: ExitStatus, id: ChannelId, session: &Handle) {
    if let Some(code) = status.code() {
        let _ = session
            .exit_status_request(id, u32::try_from(code).unwrap_or(255))
            .await;
    } else if let Some(signal) = status.signal() {
        let _ = session
            .exit_signal_request(
                id,
                signal_name(signal),
                status.core_dumped(),
                String::new(),
                String::new(),
            )
            .await;
    }
}

fn signal_name(signal: i32) -> Sig {
    match signal {
        1 => Sig::HUP,
        2 => Sig::INT,
        3 => Sig::QUIT,
        4 => Sig::ILL,
        6 => Sig::ABRT,
        8 => Sig::FPE,
        9 => Sig::KILL,
        11 => Sig::SEGV,
        13 => Sig::PIPE,
        14 => Sig::ALRM,
        15 => Sig::TERM,
        other => Sig::Custom(format!("{other}@local-fleet")),
    }
}

/// Passes one output stream on. Our end of the pipe closes when this returns.
async fn pump(
    stream: Option<impl AsyncRead + Unpin>,
    kind: Option<u32>,
    writer: &ChannelWriteHalf<Msg>,
    cut: &CommandCut,
    gone: &CancellationToken,
) {
    let Some(mut stream) = stream else { return };
    let pass_on = async {
        let mut buffer = vec![0; CHUNK];
        loop {
            let Ok(count @ 1..) = stream.read(&mut buffer).await else {
                return;
            };
            if cut.withholds() {
                continue;
            }
            let data = buffer[..count].to_vec();
            let sent = match kind {
                None => writer.data_bytes(data).await,
                Some(kind) => writer.extended_data_bytes(kind, data).await,
            };
            if sent.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = pass_on => {}
        () = gone.cancelled() => {}
    }
}

/// Passes the client's data on to the process. Always reads, also when the process does not: one channel that nobody
/// reads would stop all others of the connection.
async fn feed(
    host: Arc<HostCore>,
    mut reader: ChannelReadHalf,
    mut stdin: Option<ChildStdin>,
    cut: Arc<CommandCut>,
    gone: CancellationToken,
) {
    let watch = host.cuts().read_scripts();
    let mut script = Vec::new();
    let mut waiting = VecDeque::new();
    let mut ended = false;
    loop {
        tokio::select! {
            message = reader.wait() => match message {
                Some(ChannelMsg::Data { data }) => {
                    if watch && script.len() < SCRIPT_LIMIT {
                        let known = read_escapes(&script).len();
                        script.extend_from_slice(&data);
                        let due = host.cuts().script_goes_on(&read_escapes(&script), known);
                        if due.into_iter().any(|at| cut.arm(at)) {
                            stdin = None;
                        }
                    }
                    if stdin.is_some() {
                        waiting.push_back(data);
                    }
                }
                Some(ChannelMsg::Eof) => ended = true,
                Some(ChannelMsg::Close) | None => break,
                Some(_) => {}
            },
            written = write_some(&mut stdin, waiting.front().map(AsRef::as_ref)) => match (written, waiting.pop_front()) {
                (Ok(count), Some(data)) if count < data.len() => waiting.push_front(data.slice(count..)),
                (Ok(_), _) => {}
                // The process reads no more.
                (Err(_), _) => {
                    stdin = None;
                    waiting.clear();
                }
            },
        }
        if ended && waiting.is_empty() {
            stdin = None;
        }
    }
    gone.cancel();
}

/// Writes what the pipe takes. Pending for ever when there is no pipe or nothing to write.
async fn write_some(stdin: &mut Option<ChildStdin>, data: Option<&[u8]>) -> io::Result<usize> {
    match (stdin, data) {
        (Some(pipe), Some(data)) => pipe.write(data).await,
        _ => std::future::pending().await,
    }
}
