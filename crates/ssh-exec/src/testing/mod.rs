//! Doubles: a scripted transport, and a real shell without a network.

mod scripted;
mod shell;

pub use scripted::{Call, Reply, ScriptedTransport};
pub use shell::LocalShellTransport;
