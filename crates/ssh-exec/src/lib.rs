//! Runs commands on hosts over SSH.
//!
//! # What is promised
//!
//! - A [`Session::run`] that returns `Ok` ran: the begin and end markers came, and the exit code was read from inside the
//!   stream. Anything else is *unknown*, never success and never plain failure.
//! - The host key is checked before a credential is offered; a changed key is an error of its own.
//! - Values reach the host through one quoting function and over standard input, never as part of a command line.
//! - Captured output is bounded (64 KiB a stream), whatever the host sends.
//! - Nothing interactive: no pty, no agent forwarding, no prompt.
//!
//! Start reading at [`Transport`]; [`RemoteCommand`] is what is run.

#[cfg(feature = "russh")]
mod client;
mod command;
mod frame;
#[cfg(feature = "russh")]
mod known_hosts;
mod quote;
#[cfg(any(test, feature = "testing"))]
mod testing;
mod transport;

#[cfg(feature = "russh")]
pub use client::{Passphrase, RusshSettings, RusshTransport};
pub use command::{Captured, CommandOutput, GuardRefusal, HostGuard, RemoteCommand};
pub use frame::{EXEC_REQUEST, Frame, FrameReader, StreamEnd};
pub use quote::{UnquotableError, quote};
#[cfg(any(test, feature = "testing"))]
pub use testing::{Call, LocalShellTransport, Reply, ScriptedTransport};
pub use transport::{
    ConnectError, Endpoint, HostKey, HostKeys, Identity, IdentityError, Session, SessionError,
    Transport,
};
