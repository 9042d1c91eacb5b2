//! Hosts as other tools list them, read for a fleet.
//!
//! A text goes in, hosts come out, or the first line that cannot be followed: never a part of the list, and never a guess.
//! Nothing here opens a file, reads the environment or runs a command, so that the command line and the server read the
//! same list alike, and a list that somebody pasted can look at nothing.
//!
//! ```
//! let hosts = host_lists::read_ssh_config("Host web-1\n  HostName 192.0.2.1\nHost *\n  User deploy\n")?;
//! assert_eq!(hosts[0].first_address()?.as_str(), "192.0.2.1");
//! assert_eq!(hosts[0].user.as_ref().map(|user| user.as_str()), Some("deploy"));
//! # Ok::<(), host_lists::BadLine>(())
//! ```
//!
//! Where to read next: [`ListedHost`] for what is taken of a host.

mod ansible;
mod hop;
mod line;
mod listed;
mod said;
mod ssh_config;

pub use ansible::read_ansible;
pub use listed::{BadLine, ListedHost};
pub use ssh_config::read_ssh_config;
