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
//! # A command
//!
//! A [`RemoteCommand`] is fixed POSIX text, the *body*, and values, its parameters. What reaches the host is one frame
//! ([`Frame`]): the body in a subshell with an empty standard input, `LC_ALL=C`, each parameter as a variable that no
//! child process sees, and a random marker around everything that comes back. A body may use two helpers:
//!
//! - `fact NAME VALUE` reports a value beside the output; it arrives as [`CommandOutput::fact`].
//! - `capture SECONDS COMMAND ARGUMENT...` runs a long command so that it comes to its end even when the connection does
//!   not last: output in a file first, a process group and a time limit of its own, whatever the group leaves behind
//!   killed. Reports the facts `rc` and, when the limit ended it, `timed_out`. With 0 seconds there is neither limit nor
//!   killing, for a restart as root, which cannot be ended by us.
//!
//! A command that changes something runs under a [`HostGuard`]: a lock in the repository that is held until the last
//! process it left behind is gone, and a fence that refuses a speaker with a lower epoch than the host has seen. A body
//! under a guard goes on when the connection breaks; every other ends at its next output.
//!
//! What no deadline of ours ends: a command of the superuser or under a forced command, for sshd passes no signals on to
//! these. Their limits are `capture` and the host's `timeout`.
//!
//! # Two transports
//!
//! `RusshTransport` (feature `russh`, on by default) speaks SSH; `ScriptedTransport` and `LocalShellTransport` (feature
//! `testing`) are for tests, the second with a real shell and no network.
//!
//! ```
//! use std::time::Duration;
//! use ssh_exec::{Endpoint, HostKeys, Identity, RemoteCommand, Reply, ScriptedTransport, Transport};
//!
//! const HEAD: &str = r#"fact head "$(git -C "$repo" rev-parse HEAD)""#;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let transport = ScriptedTransport::expecting([("head", Reply::facts(&[("head", "c0ffee")]))]);
//! let host = Endpoint {
//!     name: "web-1".into(),
//!     address: "203.0.113.7".into(),
//!     port: 22,
//!     user: "deploy".into(),
//!     identity: Identity::File("/etc/rollout/id_ed25519".into()),
//!     host_keys: HostKeys::default(),
//!     jump: None,
//!     connect_timeout: Duration::from_secs(60),
//! };
//! let mut session = transport.connect(&host).await?;
//! let head = RemoteCommand::new("head", HEAD, Duration::from_secs(30)).param("repo", "/srv/app");
//! assert_eq!(session.run(&head).await?.fact("head"), Some("c0ffee"));
//! session.close().await;
//! transport.finish();
//! # Ok(())
//! # }
//! ```
//!
//! With a real host only the first line differs:
//!
//! ```no_run
//! # #[cfg(feature = "russh")] {
//! use ssh_exec::{Passphrase, RusshSettings, RusshTransport};
//!
//! let passphrase = Passphrase::from_fn(|_key| std::fs::read_to_string("/run/secrets/passphrase").ok());
//! let transport = RusshTransport::new(RusshSettings { passphrase, ..RusshSettings::default() });
//! # }
//! ```
//!
//! # Host keys
//!
//! Pinned keys ([`HostKeys::pinned`]) beat a `known_hosts` file, whose `@revoked` lines hold always. The file is read as
//! OpenSSH reads it: patterns, negation, hashed names, ports, several keys. `@cert-authority` lines are skipped. An
//! unknown or changed key ends the connection before any credential is offered; [`Transport::host_keys`] is how a host
//! is enrolled. Link-local and cloud metadata addresses are refused after name resolution, and the address that was
//! checked is the one connected to; a name behind a jump host is resolved there and cannot be checked.
//!
//! Start reading at [`Transport`].

#[cfg(feature = "russh")]
mod client;
mod command;
mod frame;
#[cfg(feature = "russh")]
mod known_hosts;
mod quote;
mod refused;
#[cfg(feature = "crash-points")]
mod sent;
#[cfg(any(test, feature = "testing"))]
mod testing;
mod transport;

#[cfg(feature = "russh")]
pub use client::{Passphrase, RusshSettings, RusshTransport};
pub use command::{Captured, CommandOutput, GuardRefusal, HostGuard, RemoteCommand};
pub use frame::{EXEC_REQUEST, Frame, FrameReader, StreamEnd};
pub use quote::{UnquotableError, quote};
pub use refused::is_refused;
#[cfg(feature = "crash-points")]
pub use sent::on_sent;
#[cfg(any(test, feature = "testing"))]
pub use testing::{Call, LocalShellTransport, Reply, ScriptedTransport};
pub use transport::{
    ConnectError, Endpoint, HostKey, HostKeys, Identity, IdentityError, Session, SessionError,
    Transport,
};
