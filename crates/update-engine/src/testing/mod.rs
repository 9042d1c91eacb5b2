//! Doubles: a journal in memory, and hosts that exist in memory alone.

mod answers;
mod fleet;
mod host;
mod journal;

pub use fleet::SimFleet;
pub use host::{SimCommand, SimFault, SimHost, SimOrigin, SimRelease, SimWhat};
pub use journal::MemoryJournal;
