//! A fleet of SSH hosts inside this process, for the demo, for tests and for benchmarks.
//!
//! Each [`LocalHost`] is a real SSH server on a port of its own on 127.0.0.1, in front of a folder with a real clone of
//! one real origin. A command runs in a real `/bin/sh` with the machine's git; `sudo`, `systemctl`, `bun` and a few more
//! are stand-ins written in shell, first on the PATH, so that what is sent to a VPS can be sent here unchanged. It needs
//! git and a POSIX shell, nothing else, never listens on another address, and lets nobody in but the holder of the key
//! that it made.
//!
//! - What a release does is part of its commit: [`ReleaseSpec`].
//! - What goes wrong on one host is a [`Fault`].
//! - What happened can be asked of the host: [`LocalHost::head`], [`LocalHost::service_state`], [`LocalHost::log`].
//!
//! ```
//! use local_fleet::{Fault, LocalFleet, ReleaseSpec};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let folder = tempfile::tempdir()?;
//! let fleet = LocalFleet::builder().hosts(3).root(folder.path()).start().await?;
//! let bad = fleet.add_release(ReleaseSpec::crash_loops("Drop the cache").only_on(["demo-02"])).await?;
//!
//! // Sign in here with any SSH client, as this user and with this key.
//! let host = &fleet.hosts()[0];
//! println!("ssh -i {} -p {} {}@{}", host.client_key().display(), host.port(), host.user(), host.address());
//!
//! host.set_fault(Fault::NoSudo).await?;
//! assert_ne!(host.head().await?, bad.commit);
//! assert_eq!(host.service_state().await?.active_state, "active");
//! fleet.stop().await;
//! # Ok(())
//! # }
//! ```
//!
//! No service process exists: `systemctl` works out from a file and the clock what systemd would say. `sudo` gives no
//! rights. What runs in a host is not confined to its folder.

mod builder;
mod changes;
mod clones;
mod cutting;
mod description;
mod error;
mod exec;
mod fault;
mod fleet;
mod folder;
mod git;
mod host;
mod host_core;
mod keys;
mod origin;
mod processes;
mod programs;
mod release;
mod server;
mod truth;
mod wire;

pub use builder::FleetBuilder;
pub use changes::{Change, ChangeKind, changes, overlaps};
pub use description::{FleetDescription, HostDescription};
pub use error::FleetError;
pub use fault::{CommandFailure, CommandPoint, CutAt, Fault, Turn};
pub use fleet::LocalFleet;
pub use folder::{LogEntry, LogEvent, ServiceState};
pub use host::LocalHost;
pub use release::{InstallBehaviour, Release, ReleaseSpec, ServiceBehaviour, VerifyBehaviour};
pub use truth::Truth;
