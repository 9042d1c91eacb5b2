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
//! No service process exists: `systemctl` works out from a file and the clock what systemd would say. `sudo` gives no
//! rights. What runs in a host is not confined to its folder.

mod builder;
mod clones;
mod cutting;
mod error;
mod exec;
mod fault;
mod fleet;
mod folder;
mod git;
mod host;
mod keys;
mod origin;
mod processes;
mod programs;
mod release;
mod server;
mod wire;

pub use builder::FleetBuilder;
pub use error::FleetError;
pub use fault::{CommandFailure, CommandPoint, CutAt, Fault, Turn};
pub use fleet::{FleetDescription, HostDescription, LocalFleet};
pub use folder::{LogEntry, LogEvent, ServiceState};
pub use host::LocalHost;
pub use release::{InstallBehaviour, Release, ReleaseSpec, ServiceBehaviour, VerifyBehaviour};
