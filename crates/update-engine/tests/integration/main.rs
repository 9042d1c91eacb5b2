#![expect(clippy::unwrap_used, reason = "tests")]

mod scripted;
mod support;
