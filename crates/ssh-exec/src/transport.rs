//! The boundary: how anything here reaches a host.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;

use crate::command::{CommandOutput, RemoteCommand};

/// Opens sessions to hosts.
#[async_trait]
pub trait Transport: fmt::Debug + Send + Sync {
    /// Opens one connection. The host key is checked before any credential is offered.
    ///
    /// Dropping the future gives the attempt up; nothing was sent to a shell.
    async fn connect(&self, endpoint: &Endpoint) -> Result<Box<dyn Session>, ConnectError>;

    /// Loads the endpoint's credential without connecting, so that a bad key is refused before any host is touched. Takes no
    /// longer than the endpoint's limit.
    async fn check_identity(&self, endpoint: &Endpoint) -> Result<(), IdentityError>;

    /// Asks the host for its keys and leaves without offering a credential. For enrolment alone.
    async fn host_keys(&self, endpoint: &Endpoint) -> Result<Vec<HostKey>, ConnectError>;
}

/// One open connection to one host. Commands run one after another on it, each on a channel of its own.
#[async_trait]
pub trait Session: fmt::Debug + Send {
    /// Makes ready what the command will go over, which may take as long as the network does. The command's deadline counts from
    /// here. Nothing of the command is sent. [`Session::run`] does so itself where it was not done; who may send only for a while
    /// does it first and then looks once more whether it may.
    ///
    /// # Errors
    ///
    /// The command was not sent.
    async fn ready(&mut self, _command: &RemoteCommand) -> Result<(), SessionError> {
        Ok(())
    }

    /// Runs one command to its end. A non-zero exit is a [`CommandOutput`], not an error.
    ///
    /// An error means that the outcome is *unknown*: the command may not have started, may still run, or may have
    /// ended. So does dropping the future. Only the host can tell; the commands are written to be asked.
    async fn run(&mut self, command: &RemoteCommand) -> Result<CommandOutput, SessionError>;

    /// Says goodbye and closes the connection. Dropping the session closes it as well, without the courtesy.
    async fn close(self: Box<Self>);
}

/// Where a host is and how to sign in there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The name people use for the host, for messages.
    pub name: String,
    /// DNS name or IP address.
    pub address: String,
    /// TCP port of sshd.
    pub port: u16,
    /// User to sign in as.
    pub user: String,
    /// The credential.
    pub identity: Identity,
    /// What its host key must be.
    pub host_keys: HostKeys,
    /// The host to go through (`ProxyJump`), outermost last.
    pub jump: Option<Box<Endpoint>>,
    /// Limit for name resolution, TCP, key exchange and sign-in together.
    pub connect_timeout: Duration,
}

/// Which credential to offer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Identity {
    /// A private key file. Refused when group or others may read it.
    File(PathBuf),
    /// Every key that the ssh-agent at this socket holds.
    Agent(PathBuf),
}

/// The host keys that a host may show.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostKeys {
    /// Keys pinned at enrolment, each `ssh-ed25519 AAAA...`. When there is one, nothing else is accepted.
    pub pinned: Vec<String>,
    /// An OpenSSH `known_hosts` file to look in when nothing is pinned; its `@revoked` lines hold always.
    pub known_hosts: Option<PathBuf>,
}

/// A host key as shown to people and pinned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostKey {
    /// `ssh-ed25519`, `ecdsa-sha2-nistp256`, `ssh-rsa`, ...
    pub algorithm: String,
    /// `SHA256:...`
    pub fingerprint: String,
    /// One line in OpenSSH's public key format, without comment.
    pub openssh: String,
}

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The name does not resolve, nothing listens, no route, or no answer in time.
    #[error("could not reach {host} at {address}: {cause}")]
    Unreachable {
        /// The host's name.
        host: String,
        /// `address:port` as tried.
        address: String,
        /// What the network said.
        cause: String,
    },
    /// The address is one that no fleet host has (link-local, cloud metadata).
    #[error("{host}: {address} is a link-local or metadata address, which are refused")]
    AddressRefused {
        /// The host's name.
        host: String,
        /// The address after name resolution.
        address: String,
    },
    /// The host did not accept the credential.
    #[error("{host} did not accept the key for user {user}: {cause}")]
    AuthRefused {
        /// The host's name.
        host: String,
        /// The user tried.
        user: String,
        /// What the server still offers.
        cause: String,
    },
    /// No key is pinned for the host.
    #[error("the host key of {host} is not known; it offered {offered}")]
    HostKeyUnknown {
        /// The host's name.
        host: String,
        /// Fingerprint offered.
        offered: String,
    },
    /// The host shows another key than the pinned one. Never retried.
    #[error("the host key of {host} changed: pinned {pinned}, offered now {offered}")]
    HostKeyChanged {
        /// The host's name.
        host: String,
        /// Fingerprints pinned.
        pinned: String,
        /// Fingerprint offered.
        offered: String,
    },
    /// The key is marked `@revoked` in the known_hosts file. Never retried.
    #[error("the host key of {host} is revoked: {offered}")]
    HostKeyRevoked {
        /// The host's name.
        host: String,
        /// Fingerprint offered.
        offered: String,
    },
    /// The known_hosts file is there but cannot be read. It might revoke the key, so nothing is accepted.
    #[error("{host}: the file of known host keys {path} cannot be read: {cause}")]
    KnownHostsUnreadable {
        /// The host's name.
        host: String,
        /// The file.
        path: String,
        /// What the system said.
        cause: String,
    },
    /// Our own credential could not be loaded or used, or not in time. Says nothing about the host.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The two sides speak no common algorithm, or the peer does not speak SSH.
    #[error("no SSH session with {host}: {cause}")]
    Protocol {
        /// The host's name.
        host: String,
        /// What failed.
        cause: String,
    },
    /// The program may not open a connection now: its lease on a connection slot is gone.
    #[error("no connection to {host}: {cause}")]
    Withheld {
        /// The host's name.
        host: String,
        /// Why.
        cause: String,
    },
}

/// Why our own credential cannot be used.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum IdentityError {
    /// The file is not there or cannot be read.
    #[error("the private key {path} cannot be read: {cause}")]
    Unreadable {
        /// The key file.
        path: String,
        /// What the system said.
        cause: String,
    },
    /// Others may read the file.
    #[error(
        "the private key {path} has mode {mode:03o}: others can read it; run: chmod 600 {path}"
    )]
    TooOpen {
        /// The key file.
        path: String,
        /// Permission bits.
        mode: u32,
    },
    /// The key is encrypted and no passphrase was given.
    #[error("the private key {path} is encrypted and no passphrase was given")]
    NeedsPassphrase {
        /// The key file.
        path: String,
    },
    /// The passphrase does not open the key.
    #[error("the passphrase does not open the private key {path}")]
    WrongPassphrase {
        /// The key file.
        path: String,
    },
    /// Not a private key in a format that is understood.
    #[error("{path} is not a private key: {cause}")]
    Malformed {
        /// The key file.
        path: String,
        /// What the parser said.
        cause: String,
    },
    /// The agent does not answer, holds no key or does not sign.
    #[error("the ssh-agent at {socket} cannot be used: {cause}")]
    Agent {
        /// The socket.
        socket: String,
        /// What failed.
        cause: String,
    },
    /// One of the above, told to people who may not see which files this machine has.
    #[error(
        "the key for this host cannot be used here; the log of the program that looked says why"
    )]
    Hidden,
}

impl ConnectError {
    /// The same for people who may not see which files this machine has; what is hidden goes into the log. None when
    /// there is nothing to hide.
    #[must_use]
    pub fn without_files(&self) -> Option<Self> {
        let hidden = match self {
            Self::Identity(IdentityError::Hidden) => return None,
            Self::Identity(_) => Self::Identity(IdentityError::Hidden),
            Self::KnownHostsUnreadable { host, .. } => Self::KnownHostsUnreadable {
                host: host.clone(),
                path: "of the program that looked".to_owned(),
                cause: "its log says why".to_owned(),
            },
            _ => return None,
        };
        tracing::error!(error = %self, "a host cannot be asked for a reason of this machine");
        Some(hidden)
    }
}

/// Why a command's outcome is unknown.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum SessionError {
    /// The connection ended before the end marker came.
    #[error("the connection was lost during {command}: {cause}")]
    Lost {
        /// The command's name.
        command: &'static str,
        /// What is known of the cause.
        cause: String,
    },
    /// The deadline passed. The command may still run on the host; its own host-side limit ends it.
    #[error("no answer to {command} within {seconds} s")]
    Deadline {
        /// The command's name.
        command: &'static str,
        /// The deadline.
        seconds: u64,
    },
    /// The channel closed in order but the markers did not come: the shell did not run what it was given.
    #[error("the shell did not run {command}: {cause}")]
    ShellBroken {
        /// The command's name.
        command: &'static str,
        /// Exit code and first words of what came instead.
        cause: String,
    },
    /// A parameter cannot be sent (a NUL byte).
    #[error("{command} cannot be sent: {cause}")]
    Unsendable {
        /// The command's name.
        command: &'static str,
        /// Which parameter.
        cause: String,
    },
    /// The program may not send commands now: its lease is gone.
    #[error("{command} was not sent: {cause}")]
    Withheld {
        /// The command's name.
        command: &'static str,
        /// Why.
        cause: String,
    },
}
