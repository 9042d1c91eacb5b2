//! Real OpenSSH servers, keys, agents and PostgreSQL servers for tests, on loopback.
//!
//! Everything here panics with a sentence when it cannot do its work: it runs in tests alone. What it starts it ends,
//! by process id, when it is dropped.
//!
//! ```no_run
//! use fleet_testkit::{KeyKind, Sshd, SshdOptions, TestKey, is_left_out};
//!
//! if is_left_out("sshd") {
//!     return;
//! }
//! let folder = tempfile::tempdir().unwrap();
//! let key = TestKey::generate(folder.path(), "login", KeyKind::Ed25519);
//! let host = Sshd::start(SshdOptions::default().authorize(key.public_line()));
//! println!("ssh -p {} {}@127.0.0.1", host.port(), host.user());
//! ```

mod agent;
mod disk;
mod door;
mod keys;
mod ports;
mod postgres;
mod sshd;
mod tools;

pub use agent::Agent;
pub use disk::Disk;
pub use door::Door;
pub use keys::{KeyFormat, KeyKind, TestKey};
pub use ports::free_port;
pub use postgres::{Postgres, PostgresOptions};
pub use sshd::{Sshd, SshdOptions};
pub use tools::{copy_program, is_left_out, run, until};
