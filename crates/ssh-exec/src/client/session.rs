//! Commands on an open connection.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use russh::client::{Handle, Msg};
use russh::{
    Channel, ChannelMsg, ChannelOpenFailure, ChannelReadHalf, ChannelWriteHalf, Disconnect, Sig,
};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};

use super::dial::{Connection, Ways};
use super::handler::{Client, Notes};
use crate::command::{CommandOutput, RemoteCommand};
use crate::frame::{EXEC_REQUEST, Frame, FrameReader, StreamEnd};
use crate::transport::{Session, SessionError};

/// After the end marker on standard output, how long the one on standard error is waited for.
const GRACE: Duration = Duration::from_millis(200);
/// After the shell's end, how long its last output is waited for: exit code and output may come in either order, and a
/// child that holds the output keeps the channel open for ever.
const LAST_OUTPUT: Duration = Duration::from_secs(5);
/// How long a parting message may take.
const PARTING: Duration = Duration::from_secs(1);
/// How long a refused channel is asked for again. Where sshd allows one session a connection, the slot of the command
/// before becomes free a moment after that command's end.
const REFUSED_FOR: Duration = Duration::from_secs(3);

/// A session over russh.
pub(crate) struct RusshSession {
    host: String,
    /// A channel opened while the command before was running, which saves a round trip. It costs the host nothing:
    /// a process is started only by the request that goes over it.
    spare: Option<JoinHandle<Option<Channel<Msg>>>>,
    /// A channel for the next command, on which nothing was sent, and when that command's time is over.
    ready: Option<(Channel<Msg>, Instant)>,
    /// The host allows one session a connection, so there can be no spare one.
    alone: bool,
    handle: Arc<Handle<Client>>,
    notes: Notes,
    _ways: Ways,
}

impl fmt::Debug for RusshSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RusshSession")
            .field("host", &self.host)
            .finish_non_exhaustive()
    }
}

impl RusshSession {
    pub(crate) fn new(host: String, connection: Connection) -> Self {
        let (handle, notes, ways) = connection.into_parts();
        Self {
            host,
            spare: None,
            ready: None,
            alone: false,
            handle: Arc::new(handle),
            notes,
            _ways: ways,
        }
    }

    fn lost(&self, command: &RemoteCommand) -> SessionError {
        SessionError::Lost {
            command: command.name(),
            cause: self.notes.ended(),
        }
    }

    /// The command's channel: the spare one, or a new one.
    async fn open(&mut self, command: &RemoteCommand) -> Result<Channel<Msg>, SessionError> {
        if let Some(spare) = &mut self.spare {
            let opened = spare.await;
            self.spare = None;
            match opened {
                Ok(Some(channel)) => return Ok(channel),
                Ok(None) => self.alone = true,
                Err(_) => {}
            }
        }
        let until = Instant::now() + REFUSED_FOR;
        let mut pause = Duration::from_millis(5);
        loop {
            match self.handle.channel_open_session().await {
                Ok(channel) => return Ok(channel),
                Err(russh::Error::ChannelOpenFailure(reason)) => {
                    if Instant::now() + pause > until {
                        return Err(refused(command, &reason));
                    }
                    sleep(pause).await;
                    pause *= 2;
                }
                Err(_) => return Err(self.lost(command)),
            }
        }
    }

    /// The channel that was made ready or a new one, and when the command's time is over.
    async fn prepared(
        &mut self,
        command: &RemoteCommand,
    ) -> Result<(Channel<Msg>, Instant), SessionError> {
        if let Some(ready) = self.ready.take() {
            return Ok(ready);
        }
        let until = Instant::now() + command.deadline();
        let opened = timeout_at(until, self.open(command)).await;
        Ok((opened.map_err(|_| late(command))??, until))
    }

    /// Sends the script and reads until both end markers, or what comes instead of them. Nothing else is awaited
    /// while the channel is open, for one that is not read stalls its connection.
    async fn converse(
        &self,
        command: &RemoteCommand,
        frame: &Frame,
        read: &mut ChannelReadHalf,
        write: &ChannelWriteHalf<Msg>,
    ) -> Result<CommandOutput, SessionError> {
        let mut reader = FrameReader::new(frame.marker());
        let mut end = None;
        let mut closed = false;
        let mut ending = false;
        let mut sent = false;
        let mut until: Option<Instant> = None;
        // Request, script and end of file go out together, without waiting for the answer to the first.
        let send = async {
            write.exec(true, EXEC_REQUEST).await?;
            write.data_bytes(frame.stdin()).await?;
            write.eof().await
        };
        tokio::pin!(send);
        while !reader.complete() {
            let message = tokio::select! {
                biased;
                message = read.wait() => message,
                // A failure to send shows as the end of the connection on the reading side.
                _ = &mut send, if !sent => { sent = true; continue }
                () = sleep_until(until.unwrap_or_else(Instant::now)), if until.is_some() => break,
            };
            match message {
                Some(ChannelMsg::Data { data }) => {
                    reader.stdout(&data);
                    #[cfg(feature = "crash-points")]
                    if reader.begun() {
                        crate::sent::sent(&self.host, command.name());
                    }
                }
                Some(ChannelMsg::ExtendedData { data, ext: 1 }) => reader.stderr(&data),
                Some(ChannelMsg::ExitStatus { exit_status }) => {
                    end = Some(StreamEnd::Exit(exit_status))
                }
                Some(ChannelMsg::ExitSignal { signal_name, .. }) => {
                    end = Some(StreamEnd::Signal(signal(&signal_name)))
                }
                Some(ChannelMsg::Failure) => return Err(not_run(command)),
                Some(ChannelMsg::Close) => {
                    closed = true;
                    break;
                }
                Some(_) => {}
                None => break,
            }
            if reader.ended() && !ending {
                ending = true;
                until = Some(Instant::now() + GRACE);
            } else if end.is_some() && until.is_none() {
                until = Some(Instant::now() + LAST_OUTPUT);
            }
        }
        let end = end.unwrap_or_else(|| match closed {
            true => StreamEnd::Silent,
            false => StreamEnd::Cut(self.notes.ended()),
        });
        reader.result(command.name(), &end)
    }
}

#[async_trait]
impl Session for RusshSession {
    async fn ready(&mut self, command: &RemoteCommand) -> Result<(), SessionError> {
        let until = Instant::now() + command.deadline();
        // One that was made ready for a command that then was not sent is as good for this one, whose time begins now.
        let (channel, _) = self.prepared(command).await?;
        self.ready = Some((channel, until));
        Ok(())
    }

    async fn run(&mut self, command: &RemoteCommand) -> Result<CommandOutput, SessionError> {
        let frame = Frame::render(command)?;
        let (channel, until) = self.prepared(command).await?;
        if !self.alone {
            let handle = Arc::clone(&self.handle);
            self.spare = Some(tokio::spawn(async move {
                handle.channel_open_session().await.ok()
            }));
        }
        let (mut read, write) = channel.split();
        let result = timeout_at(until, self.converse(command, &frame, &mut read, &write)).await;
        // From here on what still comes is thrown away by the library; nothing waits for us to read it.
        drop(read);
        let _ = timeout(PARTING, async {
            if result.is_err() {
                // Ends the whole process group of a command that is not captured; a captured one passes it on. sshd
                // does neither for forced commands nor for the superuser: those are left to their own limit.
                write.signal(Sig::TERM).await?;
            }
            write.close().await
        })
        .await;
        result.unwrap_or_else(|_| Err(late(command)))
    }

    async fn close(mut self: Box<Self>) {
        if let Some(spare) = self.spare.take() {
            spare.abort();
            let _ = spare.await;
        }
        let _ = timeout(PARTING, async {
            self.handle
                .disconnect(Disconnect::ByApplication, "", "")
                .await?;
            match Arc::get_mut(&mut self.handle) {
                Some(handle) => handle.await,
                None => Ok(()),
            }
        })
        .await;
    }
}

impl Drop for RusshSession {
    fn drop(&mut self) {
        if let Some(spare) = &self.spare {
            spare.abort();
        }
    }
}

fn late(command: &RemoteCommand) -> SessionError {
    SessionError::Deadline {
        command: command.name(),
        seconds: command.deadline().as_secs(),
    }
}

fn refused(command: &RemoteCommand, reason: &ChannelOpenFailure) -> SessionError {
    let cause = format!(
        "the host refused another session on this connection ({reason:?}); nothing was sent"
    );
    SessionError::Lost {
        command: command.name(),
        cause: fleet_types::printable(&cause),
    }
}

fn not_run(command: &RemoteCommand) -> SessionError {
    SessionError::ShellBroken {
        command: command.name(),
        cause: "the host refuses to run commands".to_owned(),
    }
}

fn signal(signal: &Sig) -> String {
    match signal {
        Sig::Custom(name) => fleet_types::printable(name),
        known => format!("{known:?}"),
    }
}
