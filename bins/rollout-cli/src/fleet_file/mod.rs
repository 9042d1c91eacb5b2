//! A fleet in a file: what import reads and export writes.

mod comma;
mod entry;
mod json;
mod listed;

pub(crate) use comma::{read_csv, write_csv};
pub(crate) use entry::{Entry, absolute, labels_text};
pub(crate) use json::{read_json, write_json};
pub(crate) use listed::read_listed;

/// A file that was refused: the line, and what is wrong there.
#[derive(Debug)]
pub(crate) struct BadLine {
    /// From 1.
    pub line: usize,
    /// What is wrong.
    pub why: String,
}

/// One host of a file, and where it stands there: `line 5`, `host 3`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Placed {
    /// Where.
    pub place: String,
    /// The host.
    pub entry: Entry,
}
