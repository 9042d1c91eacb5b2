//! Is a service active, and can it be started again? Out of the way of updates.
//!
//! [`probe`] looks and changes nothing. [`restart`] starts the service again under the host's own lock and fence, which an
//! update holds while it works, and watches whether it stays up. Neither touches git. Who may restart what, and how often,
//! is for the caller to decide: this crate knows no fleet and no database.
//!
//! ```
//! use fleet_types::HealthState;
//! use health_checker::probe;
//! use ssh_exec::{Reply, ScriptedTransport};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let endpoint = ssh_exec::Endpoint {
//! #     name: "web-1".into(), address: "127.0.0.1".into(), port: 22, user: "app".into(),
//! #     identity: ssh_exec::Identity::File("/nowhere".into()), host_keys: Default::default(), jump: None,
//! #     connect_timeout: std::time::Duration::from_secs(5),
//! # };
//! let transport = ScriptedTransport::new(|_, _| {
//!     Reply::facts(&[("LoadState", "loaded"), ("ActiveState", "failed"), ("SubState", "failed")])
//! });
//! let seen = probe(&transport, &endpoint, &"app".parse()?).await?;
//! assert_eq!((seen.health, seen.message.as_str()), (HealthState::Inactive, "failed (failed)"));
//! # Ok(())
//! # }
//! ```
//!
//! # What is promised
//!
//! - A host that gives no answer that can be trusted is `unreachable` or `unknown`, never `inactive`: nothing is restarted
//!   on a guess.
//! - A service that is just starting is looked at again before it counts as not active.
//! - A restart counts as having worked when the service is active after the settle wait, in the life that the restart began.
//! - A restart whose answer was lost is judged by [`after_lost_restart`], by what is seen once it has ended, and one that
//!   was certainly not done is told from one that may have been.

mod lost;
mod probe;
mod restart;
mod unit;

pub use lost::after_lost_restart;
pub use probe::{Seen, Withheld, probe};
pub use restart::{Restarted, restart};
