//! The SSH side of one host: its listener, its connections, its sign-in.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

use russh::keys::PrivateKey;
use russh::keys::ssh_key::public::KeyData;
use russh::server::{
    Auth, ChannelOpenHandle, Config, Handler, Msg, PublicKeyOffer, Session, VerifiedPublicKey,
};
use russh::{Channel, ChannelId, ChannelOpenFailure, MethodKind, MethodSet, Sig};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::cutting::CommandCut;
use crate::exec::{self, Running};
use crate::host_core::HostCore;
use crate::wire::{Line, Wire};

/// Connections that may wait to be accepted.
const BACKLOG: u32 = 1024;

/// Opens a listener on loopback; port 0 takes any.
pub(crate) fn listen(port: u16) -> io::Result<TcpListener> {
    reserve(port)?.listen(BACKLOG)
}

/// Takes a port on loopback without listening: who connects is refused, and nobody else can take it.
fn reserve(port: u16) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port).into())?;
    Ok(socket)
}

/// What the SSH library needs to know to speak for a host with this key.
pub(crate) fn config(key: PrivateKey) -> Arc<Config> {
    Arc::new(Config {
        methods: MethodSet::from(&[MethodKind::PublicKey][..]),
        auth_rejection_time: Duration::ZERO,
        keys: vec![key],
        inactivity_timeout: None,
        nodelay: true,
        ..Config::default()
    })
}

/// A change of the listener, with its acknowledgement.
#[derive(Debug)]
pub(crate) struct SetListening {
    pub(crate) listening: bool,
    pub(crate) done: oneshot::Sender<io::Result<()>>,
}

/// A port that is listened on, or one that is only kept.
enum Door {
    Open(TcpListener),
    Shut { _kept: Option<TcpSocket> },
}

impl Door {
    fn set(self, listening: bool, port: u16) -> (Self, io::Result<()>) {
        match (self, listening) {
            (Self::Open(listener), false) => {
                // A process that is being started right now holds a copy of the descriptor until it runs its program,
                // and as long the listener would live; it ends here. Where the system refuses, closing has to do.
                let _ = rustix::net::shutdown(&listener, rustix::net::Shutdown::Both);
                drop(listener);
                (
                    Self::Shut {
                        _kept: reserve(port).ok(),
                    },
                    Ok(()),
                )
            }
            (Self::Shut { _kept: kept }, true) => {
                let listener = match kept {
                    Some(socket) => socket.listen(BACKLOG),
                    None => listen(port),
                };
                match listener {
                    Ok(listener) => (Self::Open(listener), Ok(())),
                    Err(error) => (Self::Shut { _kept: None }, Err(error)),
                }
            }
            (door, _) => (door, Ok(())),
        }
    }

    async fn accept(&self) -> io::Result<TcpStream> {
        match self {
            Self::Open(listener) => listener.accept().await.map(|(socket, _)| socket),
            Self::Shut { .. } => std::future::pending().await,
        }
    }
}

/// Accepts connections for a host until the fleet stops.
pub(crate) async fn accept(
    host: Arc<HostCore>,
    listener: TcpListener,
    mut changes: mpsc::Receiver<SetListening>,
    stop: CancellationToken,
) {
    let port = host.port();
    let mut door = Door::Open(listener);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            change = changes.recv() => {
                let Some(change) = change else { return };
                let (next, result) = door.set(change.listening, port);
                door = next;
                // Who asked may have stopped waiting.
                let _ = change.done.send(result);
            }
            accepted = door.accept() => match accepted {
                Ok(socket) => drop(tokio::spawn(connection(Arc::clone(&host), socket, stop.clone()))),
                Err(error) => {
                    // Out of descriptors, most likely: nothing to do but let others close theirs.
                    warn!(host = host.name(), %error, "connection not accepted");
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            },
        }
    }
}

/// One connection from its acceptance to its end.
async fn connection(host: Arc<HostCore>, socket: TcpStream, stop: CancellationToken) {
    // It only costs speed when it cannot be set.
    let _ = socket.set_nodelay(true);
    let line = Line::new(socket);
    let _open = host.count(&line);
    if host.hangs_up() {
        return;
    }
    if host.is_stalled() {
        line.silence();
    }
    if host.is_mute() {
        let over = line.over();
        tokio::select! {
            () = stop.cancelled() => {}
            () = over.cancelled() => {}
            () = line.closed_by_peer() => {}
        }
        return;
    }
    let client = Client {
        host: Arc::clone(&host),
        line: Arc::clone(&line),
        channels: HashMap::new(),
        running: HashMap::new(),
    };
    let session = async {
        match russh::server::run_stream(host.config(), Wire::new(Arc::clone(&line)), client).await {
            Ok(session) => session.await,
            Err(error) => Err(error),
        }
    };
    tokio::select! {
        ended = session => {
            if let Err(error) = ended {
                debug!(host = host.name(), %error, "connection ended");
            }
        }
        () = stop.cancelled() => line.cut(),
    }
}

/// The server's side of one connection.
struct Client {
    host: Arc<HostCore>,
    line: Arc<Line>,
    /// Opened, and not used for a command yet.
    channels: HashMap<ChannelId, Channel<Msg>>,
    running: HashMap<ChannelId, Running>,
}

impl Client {
    fn accepts(&self, user: &str, key: &KeyData) -> Auth {
        if self.host.accepts(user, key) {
            Auth::Accept
        } else {
            Auth::reject()
        }
    }

    fn execute(
        &mut self,
        id: ChannelId,
        command: &[u8],
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        let Some(channel) = self.channels.remove(&id) else {
            return session.channel_failure(id);
        };
        let cut = CommandCut::new(&self.line, self.host.folder().log_file());
        for at in self.host.command_begins() {
            if cut.arm(at) {
                return Ok(());
            }
        }
        match exec::start(&self.host, channel, session.handle(), command, cut) {
            Ok(running) => {
                self.running.insert(id, running);
                session.channel_success(id)
            }
            Err(error) => {
                warn!(host = self.host.name(), %error, "shell not started");
                session.channel_failure(id)
            }
        }
    }
}

impl Handler for Client {
    type Error = russh::Error;

    async fn auth_publickey_offered(
        &mut self,
        user: &str,
        offer: PublicKeyOffer<'_>,
    ) -> Result<Auth, Self::Error> {
        Ok(self.accepts(user, offer.public_key.key_data()))
    }

    async fn auth_publickey(
        &mut self,
        user: &str,
        key: VerifiedPublicKey<'_>,
    ) -> Result<Auth, Self::Error> {
        Ok(self.accepts(user, key.public_key.key_data()))
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        self.channels.insert(channel.id(), channel);
        reply.accept().await;
        Ok(())
    }

    /// Forwarding leads to other hosts of the fleet (one of them as a jump host), and nowhere else.
    async fn channel_open_direct_tcpip(
        &mut self,
        channel: Channel<Msg>,
        address: &str,
        port: u32,
        _: &str,
        _: u32,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        let Some(port) = self.host.forward_port(address, port) else {
            reply
                .reject(ChannelOpenFailure::AdministrativelyProhibited)
                .await;
            return Ok(());
        };
        match TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await {
            Ok(mut socket) => {
                reply.accept().await;
                tokio::spawn(async move {
                    // It ends with either side, and either side notices by itself.
                    let _ = tokio::io::copy_bidirectional(&mut channel.into_stream(), &mut socket)
                        .await;
                });
            }
            Err(_) => reply.reject(ChannelOpenFailure::ConnectFailed).await,
        }
        Ok(())
    }

    async fn exec_request(
        &mut self,
        id: ChannelId,
        command: &[u8],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.execute(id, command, session)
    }

    async fn shell_request(
        &mut self,
        id: ChannelId,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.execute(id, b"exec /bin/sh", session)
    }

    async fn subsystem_request(
        &mut self,
        id: ChannelId,
        _: &str,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        session.channel_failure(id)
    }

    async fn pty_request(
        &mut self,
        id: ChannelId,
        _: &str,
        _: u32,
        _: u32,
        _: u32,
        _: u32,
        _: &[(russh::Pty, u32)],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        session.channel_failure(id)
    }

    async fn env_request(
        &mut self,
        id: ChannelId,
        _: &str,
        _: &str,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        session.channel_failure(id)
    }

    async fn signal(
        &mut self,
        id: ChannelId,
        signal: Sig,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        // sshd refuses to signal a forced command.
        if let (Some(running), false) = (self.running.get(&id), self.host.forces_command()) {
            running.signal(&signal);
        }
        Ok(())
    }

    async fn channel_close(&mut self, id: ChannelId, _: &mut Session) -> Result<(), Self::Error> {
        self.channels.remove(&id);
        self.running.remove(&id);
        Ok(())
    }
}
