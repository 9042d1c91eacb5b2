//! The network as one process of a test has it.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use ssh_exec::{
    CommandOutput, ConnectError, Endpoint, HostKey, IdentityError, RemoteCommand, Session,
    SessionError, Transport,
};
use tokio::time::sleep;

use crate::process::{Death, Process};

/// The network as one process has it.
#[derive(Clone)]
pub(crate) struct ProcessTransport {
    process: Process,
    inner: Arc<dyn Transport>,
}

impl ProcessTransport {
    pub(crate) fn new(process: &Process, inner: Arc<dyn Transport>) -> Self {
        Self {
            process: process.clone(),
            inner,
        }
    }
}

impl fmt::Debug for ProcessTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProcessTransport")
    }
}

#[async_trait]
impl Transport for ProcessTransport {
    async fn connect(&self, endpoint: &Endpoint) -> Result<Box<dyn Session>, ConnectError> {
        self.process.alive().await;
        self.process.use_key(endpoint)?;
        let inner = self.inner.connect(endpoint).await?;
        let process = self.process.clone();
        Ok(Box::new(ProcessSession {
            process,
            host: endpoint.name.clone(),
            inner,
        }))
    }
    async fn check_identity(&self, endpoint: &Endpoint) -> Result<(), IdentityError> {
        self.process.note_identity_check();
        sleep(self.process.looks()).await;
        self.process.load(endpoint)
    }
    async fn host_keys(&self, endpoint: &Endpoint) -> Result<Vec<HostKey>, ConnectError> {
        self.process.alive().await;
        self.inner.host_keys(endpoint).await
    }
}

struct ProcessSession {
    process: Process,
    host: String,
    inner: Box<dyn Session>,
}

impl fmt::Debug for ProcessSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProcessSession")
    }
}

#[async_trait]
impl Session for ProcessSession {
    async fn ready(&mut self, command: &RemoteCommand) -> Result<(), SessionError> {
        sleep(self.process.stall()).await;
        self.inner.ready(command).await
    }

    async fn run(&mut self, command: &RemoteCommand) -> Result<CommandOutput, SessionError> {
        let number = self.process.next_command();
        self.process.point(Death::BeforeCommand(number)).await;
        self.process.panic_if_due(&self.host);
        self.process.note_sent();
        let answer = self.inner.run(command).await;
        self.process.point(Death::AfterCommand(number)).await;
        answer
    }
    async fn close(self: Box<Self>) {
        sleep(self.process.goodbye()).await;
        self.inner.close().await;
    }
}
