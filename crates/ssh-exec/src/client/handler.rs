//! What we answer to a server's callbacks.

use std::io::ErrorKind;
use std::sync::{Arc, Mutex, PoisonError};

use russh::client::{DisconnectReason, Handler, Session};
use russh::keys::{PublicKey, PublicKeyOrCertificate};
use russh::{Channel, client::ChannelOpenHandle, client::Msg};

use super::host_key::Expected;
use crate::transport::ConnectError;

/// What one connection's callbacks learnt.
#[derive(Debug, Default)]
pub(crate) struct Learnt {
    /// The key that the server showed.
    pub(crate) offered: Option<PublicKey>,
    /// Why that key was not accepted.
    pub(crate) refusal: Option<ConnectError>,
    /// How the connection ended.
    pub(crate) ended: Option<Ended>,
}

/// How a connection ended.
#[derive(Clone, Debug)]
pub(crate) enum Ended {
    /// The server said goodbye, with these words.
    Goodbye(String),
    /// It broke.
    Broken(String),
}

/// Shared between the connection's task and its user.
#[derive(Clone, Debug, Default)]
pub(crate) struct Notes(Arc<Mutex<Learnt>>);

impl Notes {
    pub(crate) fn with<T>(&self, look: impl FnOnce(&mut Learnt) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Why the connection ended, in words.
    pub(crate) fn ended(&self) -> String {
        match self.with(|learnt| learnt.ended.clone()) {
            Some(Ended::Goodbye(words)) => format!("the host closed the connection: {words}"),
            Some(Ended::Broken(cause)) => cause,
            None => "the connection ended".to_owned(),
        }
    }
}

/// Checks the host key and refuses everything else that a server may ask of us.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) host: String,
    pub(crate) expected: Expected,
    pub(crate) notes: Notes,
}

impl Handler for Client {
    type Error = russh::Error;

    async fn check_server_key(
        &mut self,
        shown: &PublicKeyOrCertificate,
    ) -> Result<bool, Self::Error> {
        let offered = shown.public_key();
        // Certificates are not asked for; a server that sends one all the same is judged by nothing in it.
        let verdict = match shown {
            PublicKeyOrCertificate::Certificate(_) => Err(ConnectError::Protocol {
                host: self.host.clone(),
                cause: "it sent a host certificate".to_owned(),
            }),
            PublicKeyOrCertificate::PublicKey { .. } => self.expected.check(&self.host, &offered),
        };
        let accepted = verdict.is_ok();
        self.notes.with(|learnt| {
            learnt.offered = Some(offered);
            learnt.refusal = verdict.err();
        });
        Ok(accepted)
    }

    async fn disconnected(
        &mut self,
        reason: DisconnectReason<Self::Error>,
    ) -> Result<(), Self::Error> {
        let (ended, result) = match reason {
            DisconnectReason::ReceivedDisconnect(info) => (
                Ended::Goodbye(fleet_types::printable(&info.message)),
                Ok(()),
            ),
            DisconnectReason::Error(error) => (Ended::Broken(describe(&error)), Err(error)),
        };
        self.notes.with(|learnt| learnt.ended = Some(ended));
        result
    }

    // Channels that a server opens are refused, by dropping the reply: we offer it nothing.

    async fn server_channel_open_session(
        &mut self,
        _channel: Channel<Msg>,
        _reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        Ok(())
    }

    async fn server_channel_open_agent_forward(
        &mut self,
        _channel: Channel<Msg>,
        _reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        Ok(())
    }

    async fn server_channel_open_forwarded_tcpip(
        &mut self,
        _channel: Channel<Msg>,
        _connected_address: &str,
        _connected_port: u32,
        _originator_address: &str,
        _originator_port: u32,
        _reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        Ok(())
    }

    async fn server_channel_open_forwarded_streamlocal(
        &mut self,
        _channel: Channel<Msg>,
        _socket_path: &str,
        _reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        Ok(())
    }

    async fn server_channel_open_direct_tcpip(
        &mut self,
        _channel: Channel<Msg>,
        _host_to_connect: &str,
        _port_to_connect: u32,
        _originator_address: &str,
        _originator_port: u32,
        _reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        Ok(())
    }

    async fn server_channel_open_direct_streamlocal(
        &mut self,
        _channel: Channel<Msg>,
        _socket_path: &str,
        _reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        Ok(())
    }

    async fn server_channel_open_x11(
        &mut self,
        _channel: Channel<Msg>,
        _originator_address: &str,
        _originator_port: u32,
        _reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        Ok(())
    }
}

/// The library's errors in words for people.
pub(crate) fn describe(error: &russh::Error) -> String {
    match error {
        russh::Error::Disconnect | russh::Error::HUP => "the host closed the connection".to_owned(),
        russh::Error::KeepaliveTimeout => "the host stopped answering".to_owned(),
        russh::Error::Version => "what answers does not speak SSH 2".to_owned(),
        russh::Error::NoCommonAlgo { kind, theirs, .. } => format!(
            "no common algorithm for {kind:?}; the host offers: {}",
            fleet_types::printable(&theirs.join(", "))
        ),
        russh::Error::IO(error) => match error.kind() {
            ErrorKind::UnexpectedEof | ErrorKind::BrokenPipe => {
                "the host closed the connection".to_owned()
            }
            ErrorKind::ConnectionReset => "the host reset the connection".to_owned(),
            _ => error.to_string(),
        },
        russh::Error::Join(_) => "the SSH client failed".to_owned(),
        other => other.to_string(),
    }
}
