//! The connection to the host: opened once, closed for the settle wait, and opened again after a loss.

use std::time::Duration;

use fleet_types::Reason;
use ssh_exec::{
    CommandOutput, ConnectError, Endpoint, RemoteCommand, Session, SessionError, Transport,
};
use tokio::time::{Instant, sleep};

/// Pauses before the second and third try of a first connection.
const FIRST_PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(2)];
const LONGEST_PAUSE: Duration = Duration::from_secs(15);
/// A host that boots refuses every login for a while; more refusals than this may get us banned.
const REFUSALS_ALLOWED: u32 = 3;

/// A connection that may have to be opened again.
#[derive(Debug)]
pub(crate) struct Link<'a> {
    transport: &'a dyn Transport,
    endpoint: &'a Endpoint,
    session: Option<Box<dyn Session>>,
}

impl<'a> Link<'a> {
    pub(crate) fn new(transport: &'a dyn Transport, endpoint: &'a Endpoint) -> Self {
        Self {
            transport,
            endpoint,
            session: None,
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        self.session.is_some()
    }

    /// Opens the first connection. Network errors get two more tries; who is refused or sees a wrong key does not insist.
    pub(crate) async fn open(&mut self) -> Result<(), ConnectError> {
        let mut pauses = FIRST_PAUSES.iter();
        loop {
            let error = match self.connect().await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            match pauses.next() {
                Some(pause) if is_network(&error) => sleep(*pause).await,
                _ => return Err(error),
            }
        }
    }

    /// Opens a further connection to a host that was there before, trying again for as long as `window`.
    pub(crate) async fn reopen(&mut self, window: Duration) -> Result<(), ConnectError> {
        let until = Instant::now() + window;
        let mut pause = Duration::from_secs(1);
        let mut refusals = 0;
        loop {
            let error = match self.connect().await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            let may_pass = match error {
                ConnectError::AuthRefused { .. } => {
                    refusals += 1;
                    refusals <= REFUSALS_ALLOWED
                }
                _ => is_network(&error),
            };
            if !may_pass || Instant::now() + pause > until {
                return Err(error);
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn connect(&mut self) -> Result<(), ConnectError> {
        if self.session.is_none() {
            self.session = Some(self.transport.connect(self.endpoint).await?);
        }
        Ok(())
    }

    /// Runs a command. After an error the outcome is unknown and the connection is given up.
    pub(crate) async fn run(
        &mut self,
        command: &RemoteCommand,
    ) -> Result<CommandOutput, SessionError> {
        let Some(session) = self.session.as_mut() else {
            return Err(SessionError::Lost {
                command: command.name(),
                cause: "not connected".to_owned(),
            });
        };
        let result = session.run(command).await;
        if result.is_err() {
            self.session = None;
        }
        result
    }

    /// Closes the connection, so that it holds no slot.
    pub(crate) async fn close(&mut self) {
        if let Some(session) = self.session.take() {
            session.close().await;
        }
    }
}

fn is_network(error: &ConnectError) -> bool {
    matches!(
        error,
        ConnectError::Unreachable { .. }
            | ConnectError::Protocol { .. }
            // A file of ours, on a mount that does not answer just now.
            | ConnectError::KnownHostsUnreadable { .. }
    )
}

/// The reason code for a host that could not be connected to; none when it was this program that may not.
pub(crate) fn reason_of(error: &ConnectError) -> Option<Reason> {
    Some(match error {
        ConnectError::Withheld { .. } => return None,
        ConnectError::AuthRefused { .. } => Reason::AuthRefused,
        ConnectError::HostKeyUnknown { .. } => Reason::HostKeyUnknown,
        ConnectError::HostKeyChanged { .. } | ConnectError::HostKeyRevoked { .. } => {
            Reason::HostKeyChanged
        }
        ConnectError::Identity(_) => Reason::NoCredential,
        _ => Reason::Unreachable,
    })
}
