//! The frame around a command: what is sent, and how what comes back is told from everything else on the wire.

mod reader;
mod render;

pub use reader::{FrameReader, StreamEnd};
pub use render::{EXEC_REQUEST, Frame};
