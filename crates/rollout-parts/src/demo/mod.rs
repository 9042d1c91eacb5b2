//! The demo: a fleet inside the process, a release that is broken on some of it, and what must come of that.

mod fleet;
mod script;

pub use fleet::{DemoError, make_fleet, new_hosts, new_release, settings};
pub use script::Script;
