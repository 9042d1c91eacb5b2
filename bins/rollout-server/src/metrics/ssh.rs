//! Counts SSH connections.

use std::sync::Arc;

use async_trait::async_trait;
use metrics::{counter, gauge};
use ssh_exec::{
    CommandOutput, ConnectError, Endpoint, HostKey, IdentityError, RemoteCommand, Session,
    SessionError, Transport,
};

use super::{SSH_CONNECTS, SSH_SESSIONS};

/// A transport that counts what it does.
#[derive(Debug)]
pub(crate) struct CountedTransport {
    inner: Arc<dyn Transport>,
}

impl CountedTransport {
    pub(crate) fn new(inner: Arc<dyn Transport>) -> Self {
        Self { inner }
    }
}

#[async_trait]
impl Transport for CountedTransport {
    async fn connect(&self, endpoint: &Endpoint) -> Result<Box<dyn Session>, ConnectError> {
        let connected = self.inner.connect(endpoint).await;
        let outcome = match &connected {
            Ok(_) => "ok",
            Err(ConnectError::Unreachable { .. }) => "unreachable",
            Err(ConnectError::AuthRefused { .. }) => "auth_refused",
            Err(ConnectError::HostKeyUnknown { .. }) => "host_key_unknown",
            Err(ConnectError::HostKeyChanged { .. }) => "host_key_changed",
            Err(_) => "other",
        };
        counter!(SSH_CONNECTS, "outcome" => outcome).increment(1);
        Ok(Box::new(CountedSession::new(connected?)))
    }

    async fn check_identity(&self, endpoint: &Endpoint) -> Result<(), IdentityError> {
        self.inner.check_identity(endpoint).await
    }

    async fn host_keys(&self, endpoint: &Endpoint) -> Result<Vec<HostKey>, ConnectError> {
        self.inner.host_keys(endpoint).await
    }
}

#[derive(Debug)]
struct CountedSession {
    inner: Box<dyn Session>,
    _open: Open,
}

#[derive(Debug)]
struct Open;

impl CountedSession {
    fn new(inner: Box<dyn Session>) -> Self {
        gauge!(SSH_SESSIONS).increment(1);
        Self { inner, _open: Open }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        gauge!(SSH_SESSIONS).decrement(1);
    }
}

#[async_trait]
impl Session for CountedSession {
    async fn ready(&mut self, command: &RemoteCommand) -> Result<(), SessionError> {
        self.inner.ready(command).await
    }

    async fn run(&mut self, command: &RemoteCommand) -> Result<CommandOutput, SessionError> {
        self.inner.run(command).await
    }

    async fn close(self: Box<Self>) {
        self.inner.close().await;
    }
}
