//! The program as people run it, against real OpenSSH servers: each host is an sshd of its own in front of a real clone,
//! with stand-ins for sudo, systemd and bun.
//!
//! What is claimed is never asked of the program alone: commits are read from the clones by git, restarts and installs
//! from the hosts' own logs, connections and commands from sshd.
#![expect(clippy::unwrap_used, reason = "tests")]

mod connections;
#[cfg(feature = "crash-points")]
mod crashes;
mod good;
mod halt;
mod program;
mod reach;
mod site;
mod tap;
mod verbs;
