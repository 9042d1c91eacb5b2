//! What both programs are put together from, so that the same settings mean the same in both: the store, the way to the
//! hosts, and the demo's fleet.
//!
//! ```
//! use rollout_parts::{open_store, ssh_defaults, transport};
//! use rollout_settings::{Layer, Origin, Places, load};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! let places = Places { home: Some(folder.path().into()), ..Places::default() };
//! let settings = load(&places, vec![(Origin::Environment, Layer::default())])?;
//! let store = open_store(&settings).await?; // makes ~/.local/state/rollout
//! let transport = transport(&settings.ssh)?;
//! let defaults = ssh_defaults(&settings.ssh, places.home);
//! # drop((store, transport, defaults));
//! # Ok(())
//! # }
//! ```
//!
//! Where to read next: [`demo`] for what the demo shows and what must come of it.

pub mod demo;
mod secret_file;
mod ssh;
mod store;

pub use ssh::{PassphraseError, ssh_defaults, transport};
pub use store::{OpenError, open_store};
