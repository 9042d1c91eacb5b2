//! The file that a fleet moves in: lines of JSON. A head, the rows with the table of each, and an end with their number
//! and the checksum of all that was before.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, BufWriter, ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::error::MoveError;

/// What the head says first.
const FORMAT: &str = "rollout-fleet";

/// Raised when an older program could not read the file rightly.
const VERSION: u32 = 1;

/// No line of ours is nearly as long.
const LONGEST_LINE: u64 = 64 << 20;

/// The first line.
#[derive(Debug, Serialize, Deserialize)]
struct First {
    format: String,
    version: u32,
    head: Head,
}

/// What there is one of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Head {
    /// Which store it is. It stays the same one.
    pub(crate) store_id: String,
    pub(crate) created_at: i64,
    /// The number of the last event.
    pub(crate) seq: i64,
    /// The schema that it was written from; older files do not say.
    #[serde(default)]
    pub(crate) schema: i64,
}

/// A row, or the end.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Line {
    #[serde(skip_serializing_if = "Option::is_none")]
    table: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    row: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    end: Option<End>,
}

/// The last line.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct End {
    rows: u64,
    sha256: String,
}

/// Writes a file that others cannot read.
pub(crate) struct Writer {
    path: PathBuf,
    file: BufWriter<File>,
    sum: Sha256,
    rows: u64,
}

impl Writer {
    /// Begins the file anew. What is left of an earlier try goes; a file or a link that others made is never written to,
    /// for they could read it.
    pub(crate) fn begin(path: &Path, head: Head) -> Result<Self, MoveError> {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(MoveError::file(path, error));
            }
            _ => {}
        }
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .map_err(|error| MoveError::file(path, error))?;
        let mut writer = Self {
            path: path.to_owned(),
            file: BufWriter::new(file),
            sum: Sha256::new(),
            rows: 0,
        };
        writer.line(&First {
            format: FORMAT.to_owned(),
            version: VERSION,
            head,
        })?;
        Ok(writer)
    }

    pub(crate) fn row(&mut self, table: &str, row: &impl Serialize) -> Result<(), MoveError> {
        #[derive(Serialize)]
        struct Row<'a, R> {
            table: &'a str,
            row: &'a R,
        }
        self.rows += 1;
        self.line(&Row { table, row })
    }

    /// Ends the file and waits for the disk; answers how many rows are in it.
    pub(crate) fn end(mut self) -> Result<u64, MoveError> {
        let end = End {
            rows: self.rows,
            sha256: hex(self.sum.clone()),
        };
        self.line(&Line {
            end: Some(end),
            ..Line::default()
        })?;
        self.file
            .flush()
            .and_then(|()| self.file.get_ref().sync_all())
            .map_err(|error| MoveError::file(&self.path, error))?;
        Ok(self.rows)
    }

    fn line(&mut self, value: &impl Serialize) -> Result<(), MoveError> {
        let failed = |error: std::io::Error| MoveError::file(&self.path, error);
        let mut line = serde_json::to_vec(value).map_err(|error| failed(error.into()))?;
        line.push(b'\n');
        self.sum.update(&line);
        self.file.write_all(&line).map_err(failed)
    }
}

/// Reads a file.
pub(crate) struct Reader {
    path: PathBuf,
    file: BufReader<File>,
    sum: Sha256,
    rows: u64,
    line: u64,
}

impl Reader {
    /// Reads the head.
    pub(crate) fn begin(path: &Path) -> Result<(Self, Head), MoveError> {
        let file = File::open(path).map_err(|error| MoveError::file(path, error))?;
        let mut reader = Self {
            path: path.to_owned(),
            file: BufReader::new(file),
            sum: Sha256::new(),
            rows: 0,
            line: 0,
        };
        let line = reader.next_line()?;
        let not_ours = || reader.damaged("it does not begin as a file of rollout-cli db export");
        let first: Value = serde_json::from_slice(&line).map_err(|_| not_ours())?;
        if first["format"] != FORMAT {
            return Err(not_ours());
        }
        if first["version"] != VERSION {
            return Err(MoveError::Version {
                path: path.to_owned(),
                found: first["version"].to_string(),
            });
        }
        let head = serde_json::from_value(first["head"].clone()).map_err(|_| not_ours())?;
        reader.sum.update(&line);
        Ok((reader, head))
    }

    /// The next row and its table; none at the end, when all that was read is what was written.
    pub(crate) fn row(&mut self) -> Result<Option<(String, Value)>, MoveError> {
        let text = self.next_line()?;
        let line: Line = serde_json::from_slice(&text).map_err(|error| self.damaged(error))?;
        match line {
            Line {
                table: Some(table),
                row: Some(row),
                end: None,
            } => {
                self.sum.update(&text);
                self.rows += 1;
                Ok(Some((table, row)))
            }
            Line {
                table: None,
                row: None,
                end: Some(end),
            } => {
                let found = End {
                    rows: self.rows,
                    sha256: hex(self.sum.clone()),
                };
                let mut more = [0];
                let more = self.file.read(&mut more);
                if end != found || more.map_err(|error| MoveError::file(&self.path, error))? != 0 {
                    return Err(self.damaged("the checksum at its end is that of another content"));
                }
                Ok(None)
            }
            _ => Err(self.damaged("neither a row nor the end")),
        }
    }

    /// What is wrong at the line that was read last.
    pub(crate) fn damaged(&self, cause: impl ToString) -> MoveError {
        MoveError::Damaged {
            path: self.path.clone(),
            line: self.line,
            cause: cause.to_string(),
        }
    }

    fn next_line(&mut self) -> Result<Vec<u8>, MoveError> {
        let mut line = Vec::new();
        self.line += 1;
        (&mut self.file)
            .take(LONGEST_LINE)
            .read_until(b'\n', &mut line)
            .map_err(|error| MoveError::file(&self.path, error))?;
        match line.last() {
            Some(b'\n') => Ok(line),
            _ => Err(self.damaged("it ends too early")),
        }
    }
}

fn hex(sum: Sha256) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(64);
    for byte in sum.finalize() {
        let _ = write!(text, "{byte:02x}");
    }
    text
}
