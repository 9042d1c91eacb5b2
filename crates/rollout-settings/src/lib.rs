//! The settings that both binaries read, from file, environment and flags.
//!
//! The crate reads no environment and knows no clock: the binary says where to look ([`Places`]) and what was said on the
//! command line or in the environment ([`Layer`]); [`load()`] puts it together. Every value knows where it came from.
//!
//! ```
//! use rollout_settings::{Layer, Origin, Places, RolloutLayer, load};
//!
//! let places = Places { home: Some("/home/anna".into()), ..Places::default() };
//! let flags = Layer {
//!     rollout: RolloutLayer { concurrency: Some(10), ..RolloutLayer::default() },
//!     ..Layer::default()
//! };
//! let settings = load(&places, vec![(Origin::Flag, flags)])?;
//! assert_eq!(settings.rollout.concurrency, 10);
//! assert_eq!(settings.rollout.max_in_flight, 40); // four times the connections, when nothing else is said
//! assert_eq!(settings.database_url, "sqlite:///home/anna/.local/state/rollout/rollout.db");
//! # Ok::<(), rollout_settings::SettingsError>(())
//! ```
//!
//! Where to read next: [`Settings`] for what there is to set, [`Layer`] for the shape of the file.

mod app;
mod error;
mod history;
mod layer;
mod load;
mod origin;
mod pace;
mod places;
mod redact;
mod seconds;
mod server;
mod settings;
mod subnet;

pub use app::{AppDefaults, AppOverrides, HostDefaults, MissingSetting};
pub use error::SettingsError;
pub use history::HistorySettings;
pub use layer::{
    AppLayer, HealthLayer, HistoryLayer, Layer, LeaseLayer, RolloutLayer, ServerLayer, SshLayer,
    TimeoutsLayer,
};
pub use load::load;
pub use origin::{Entry, Origin};
pub use pace::paced;
pub use places::Places;
pub use redact::without_password;
pub use seconds::Seconds;
pub use server::{HealthSettings, ServerSettings};
pub use settings::{LeaseSettings, OrderSetting, RolloutSettings, Settings, SshSettings};
pub use subnet::Subnet;
