//! From the bytes that came back to what the command said.

use std::collections::BTreeMap;

use crate::command::{CAPTURE_LIMIT, Captured, CommandOutput};
use crate::transport::SessionError;

/// More facts than any command reports; what comes beyond is dropped.
const FACTS_LIMIT: usize = 256;
/// A directive longer than this is cut.
const DIRECTIVE_LIMIT: usize = CAPTURE_LIMIT + 256;
/// How much of what came instead of the begin marker is kept for the message.
const NOISE_LIMIT: usize = 200;

/// Takes the two streams apart, in pieces of any size, in bounded memory.
///
/// Holds at most 64 KiB of each stream's end, 256 facts of 64 KiB each, and counts the rest.
#[derive(Debug)]
pub struct FrameReader {
    stdout: Stream,
    stderr: Stream,
    facts: BTreeMap<String, String>,
}

/// How the streams ended without the end marker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamEnd {
    /// The channel was closed in order, after this exit code.
    Exit(u32),
    /// The channel was closed in order, after the process was killed by this signal.
    Signal(String),
    /// The channel was closed in order, and nothing was said about the process.
    Silent,
    /// The connection is gone.
    Cut(String),
}

impl FrameReader {
    /// A reader for the run with this marker.
    #[must_use]
    pub fn new(marker: &str) -> Self {
        Self {
            stdout: Stream::new(marker),
            stderr: Stream::new(marker),
            facts: BTreeMap::new(),
        }
    }

    /// Takes a piece of standard output.
    pub fn stdout(&mut self, bytes: &[u8]) {
        let facts = &mut self.facts;
        let mut omitted = [0_u64; 2];
        self.stdout.push(bytes, |directive| match directive {
            Directive::Fact(name, value) => {
                if facts.len() < FACTS_LIMIT || facts.contains_key(&name) {
                    facts.insert(name, value);
                }
            }
            Directive::Omitted(stream, bytes) => {
                if let Some(count) = omitted.get_mut(stream) {
                    *count = count.saturating_add(bytes);
                }
            }
        });
        self.stdout.tail.total = self.stdout.tail.total.saturating_add(omitted[0]);
        self.stderr.tail.total = self.stderr.tail.total.saturating_add(omitted[1]);
    }

    /// Takes a piece of standard error. Facts do not come here.
    pub fn stderr(&mut self, bytes: &[u8]) {
        self.stderr.push(bytes, |_| {});
    }

    /// The begin marker came on standard output: the host runs the command.
    #[cfg(feature = "crash-points")]
    pub(crate) fn begun(&self) -> bool {
        self.stdout.begun
    }

    /// The end marker came on standard output: the command is over, whoever may still hold the stream.
    #[must_use]
    pub fn ended(&self) -> bool {
        self.stdout.code.is_some()
    }

    /// The end markers came on both streams: nothing of the command's own output is still on its way.
    #[must_use]
    pub fn complete(&self) -> bool {
        self.ended() && self.stderr.code.is_some()
    }

    /// What the command said; or why that is not known, for streams that ended this way before the end marker.
    ///
    /// # Errors
    ///
    /// An orderly end without even a begin marker means that something else ran in place of the script; after the
    /// begin marker it means that the shell was killed, and how far it came is as unknown as after a lost connection.
    pub fn result(
        self,
        command: &'static str,
        end: &StreamEnd,
    ) -> Result<CommandOutput, SessionError> {
        match self.stdout.code {
            Some(exit) => Ok(CommandOutput {
                exit,
                facts: self.facts,
                stdout: self.stdout.finish(),
                stderr: self.stderr.finish(),
            }),
            None => Err(self.failure(command, end)),
        }
    }

    fn failure(&self, command: &'static str, end: &StreamEnd) -> SessionError {
        let how = match end {
            StreamEnd::Cut(cause) => {
                return SessionError::Lost {
                    command,
                    cause: cause.clone(),
                };
            }
            StreamEnd::Exit(code) => format!("exit code {code}"),
            StreamEnd::Signal(signal) => format!("signal {signal}"),
            StreamEnd::Silent => "no exit code".to_owned(),
        };
        if self.stdout.begun || self.stderr.begun {
            return SessionError::Lost {
                command,
                cause: format!("its shell ended early with {how}"),
            };
        }
        let said: Vec<String> = [&self.stdout, &self.stderr]
            .into_iter()
            .filter_map(Stream::instead)
            .collect();
        let said = if said.is_empty() {
            "nothing".to_owned()
        } else {
            said.join(" / ")
        };
        SessionError::ShellBroken {
            command,
            cause: format!("{how}, and instead of its output came: {said}"),
        }
    }
}

/// What a marked line says beside begin and end.
enum Directive {
    Fact(String, String),
    Omitted(usize, u64),
}

/// One stream. A marked line is `NEWLINE MARKER SPACE text NEWLINE`, both newlines its own.
#[derive(Debug)]
struct Stream {
    needle: Vec<u8>,
    begun: bool,
    code: Option<i32>,
    /// What came before the begin marker, its beginning alone.
    noise: Vec<u8>,
    tail: Tail,
    /// Either the beginning of a possible marker, or the text of a marked line so far.
    held: Vec<u8>,
    in_line: bool,
}

impl Stream {
    fn new(marker: &str) -> Self {
        Self {
            needle: format!("\n{marker} ").into_bytes(),
            begun: false,
            code: None,
            noise: Vec::new(),
            tail: Tail::default(),
            held: Vec::new(),
            in_line: false,
        }
    }

    fn push(&mut self, mut bytes: &[u8], mut directive: impl FnMut(Directive)) {
        while !bytes.is_empty() && self.code.is_none() {
            bytes = if self.in_line {
                self.push_line(bytes, &mut directive)
            } else if self.held.is_empty() {
                self.push_plain(bytes)
            } else {
                self.push_match(bytes)
            };
        }
    }

    /// Plain bytes up to the next newline, with which a marker may begin.
    fn push_plain<'b>(&mut self, bytes: &'b [u8]) -> &'b [u8] {
        let Some(at) = bytes.iter().position(|byte| *byte == b'\n') else {
            self.emit(bytes);
            return &[];
        };
        self.emit(&bytes[..at]);
        self.held.push(b'\n');
        &bytes[at + 1..]
    }

    /// Bytes that may go on with a marker whose beginning is held.
    fn push_match<'b>(&mut self, bytes: &'b [u8]) -> &'b [u8] {
        let wanted = &self.needle[self.held.len()..];
        let same = wanted.iter().zip(bytes).take_while(|(a, b)| a == b).count();
        if same == wanted.len() {
            self.held.clear();
            self.in_line = true;
        } else if same == bytes.len() {
            self.held.extend_from_slice(bytes);
        } else {
            // No marker. Only its first byte is a newline, so none can begin inside what was held.
            let held = std::mem::take(&mut self.held);
            self.emit(&held);
            self.emit(&bytes[..same]);
        }
        &bytes[same..]
    }

    /// Bytes of a marked line.
    fn push_line<'b>(
        &mut self,
        bytes: &'b [u8],
        directive: &mut impl FnMut(Directive),
    ) -> &'b [u8] {
        let end = bytes.iter().position(|byte| *byte == b'\n');
        let text = &bytes[..end.unwrap_or(bytes.len())];
        let room = DIRECTIVE_LIMIT.saturating_sub(self.held.len());
        self.held.extend_from_slice(&text[..text.len().min(room)]);
        let Some(end) = end else { return &[] };
        let line = std::mem::take(&mut self.held);
        self.in_line = false;
        self.obey(&String::from_utf8_lossy(&line), directive);
        &bytes[end + 1..]
    }

    fn obey(&mut self, line: &str, directive: &mut impl FnMut(Directive)) {
        let (kind, rest) = line.split_once(' ').unwrap_or((line, ""));
        match kind {
            "begin" => self.begun = true,
            "end" if self.begun => self.code = rest.parse().ok(),
            "fact" => {
                if let Some((name, value)) = rest.split_once('=') {
                    directive(Directive::Fact(name.to_owned(), cut(value).to_owned()));
                }
            }
            "omitted" => {
                if let Some((stream, bytes)) = rest.split_once(' ')
                    && let (Ok(stream @ 1..=2), Ok(bytes)) =
                        (stream.parse::<usize>(), bytes.parse())
                {
                    directive(Directive::Omitted(stream - 1, bytes));
                }
            }
            _ => {}
        }
    }

    fn emit(&mut self, bytes: &[u8]) {
        if self.begun {
            self.tail.push(bytes);
        } else {
            let room = NOISE_LIMIT.saturating_sub(self.noise.len());
            self.noise
                .extend_from_slice(&bytes[..bytes.len().min(room)]);
        }
    }

    /// The first printable words of what came before a begin marker.
    fn instead(&self) -> Option<String> {
        let words = String::from_utf8_lossy(&self.noise);
        let words = words.split_whitespace().collect::<Vec<_>>().join(" ");
        (!words.is_empty()).then(|| fleet_types::printable(&words))
    }

    fn finish(self) -> Captured {
        let mut tail = self.tail;
        if self.code.is_none() {
            // The beginning of a marker that did not come is output after all.
            tail.push(if self.in_line { &[] } else { &self.held });
        }
        tail.finish()
    }
}

/// The beginning of a value, as much of it as is kept.
fn cut(value: &str) -> &str {
    let mut end = value.len().min(CAPTURE_LIMIT);
    while !value.is_char_boundary(end) {
        end -= 1;
    }
    &value[..end]
}

/// The last bytes of a stream, and the count of all.
#[derive(Debug, Default)]
struct Tail {
    bytes: Vec<u8>,
    total: u64,
}

impl Tail {
    fn push(&mut self, bytes: &[u8]) {
        self.total = self.total.saturating_add(bytes.len() as u64);
        if bytes.len() >= CAPTURE_LIMIT {
            self.bytes.clear();
            self.bytes
                .extend_from_slice(&bytes[bytes.len() - CAPTURE_LIMIT..]);
            return;
        }
        self.bytes.extend_from_slice(bytes);
        // Cut in large pieces: moving the tail for every small one would cost its whole length each time.
        if self.bytes.len() > 2 * CAPTURE_LIMIT {
            self.bytes.drain(..self.bytes.len() - CAPTURE_LIMIT);
        }
    }

    fn finish(mut self) -> Captured {
        if self.bytes.len() > CAPTURE_LIMIT {
            self.bytes.drain(..self.bytes.len() - CAPTURE_LIMIT);
        }
        Captured {
            tail: self.bytes,
            total: self.total,
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MARK: &str = "0123456789abcdef0123456789abcdef";

    fn begun() -> FrameReader {
        let mut reader = FrameReader::new(MARK);
        reader.stdout(format!("noise from a start-up file\n{MARK} begin\n").as_bytes());
        reader.stderr(format!("a banner\n\n{MARK} begin\n").as_bytes());
        reader
    }

    fn ended(mut reader: FrameReader, code: i32) -> CommandOutput {
        reader.stdout(format!("\n{MARK} end {code}\n").as_bytes());
        reader.result("probe", &StreamEnd::Silent).unwrap()
    }

    #[test]
    fn markers_and_facts_are_taken_out_and_nothing_else() {
        let mut reader = begun();
        reader.stdout(format!("abc\n{MARK} fact head=1 2=3\ndef\n\n{MARK} fact x=\n").as_bytes());
        reader.stderr(b"warning\n");
        let output = ended(reader, 3);
        assert_eq!(output.exit, 3);
        assert_eq!(output.stdout.tail, b"abcdef\n");
        assert_eq!(output.stderr.tail, b"warning\n");
        assert_eq!(output.fact("head"), Some("1 2=3"));
        assert_eq!(output.fact("x"), Some(""));
    }

    #[test]
    fn what_comes_after_the_end_is_not_the_commands() {
        let mut reader = begun();
        reader
            .stdout(format!("a\n{MARK} end 0\nfrom a background child\n{MARK} end 7\n").as_bytes());
        let output = reader.result("probe", &StreamEnd::Silent).unwrap();
        assert_eq!(
            (output.exit, output.stdout.tail.as_slice()),
            (0, b"a".as_slice())
        );
    }

    #[test]
    fn complete_means_both_ends() {
        let mut reader = begun();
        reader.stdout(format!("\n{MARK} end 0\n").as_bytes());
        assert!(reader.ended() && !reader.complete());
        reader.stderr(format!("\n{MARK} end 0\n").as_bytes());
        assert!(reader.complete());
    }

    #[test]
    fn memory_is_bounded() {
        let mut reader = begun();
        for _ in 0..2000 {
            reader.stdout(&[b'\n'; 1000]);
            reader.stderr(&[b'x'; 1000]);
        }
        reader.stdout(format!("\n{MARK} fact long=").as_bytes());
        for _ in 0..100 {
            reader.stdout(&[b'v'; 4096]);
        }
        reader.stdout(b"\n");
        for name in 0..1000 {
            reader.stdout(format!("\n{MARK} fact n{name}=v\n").as_bytes());
        }
        assert!(reader.stdout.tail.bytes.capacity() < 5 * CAPTURE_LIMIT);
        assert!(reader.stdout.held.capacity() < 3 * CAPTURE_LIMIT);
        let output = ended(reader, 0);
        assert_eq!(output.facts.len(), FACTS_LIMIT);
        assert_eq!(output.fact("long").unwrap().len(), CAPTURE_LIMIT);
        assert_eq!(
            (output.stdout.tail.len(), output.stdout.total),
            (CAPTURE_LIMIT, 2_000_000)
        );
        assert_eq!(
            (output.stderr.tail.len(), output.stderr.total),
            (CAPTURE_LIMIT, 2_000_000)
        );
    }

    #[test]
    fn omitted_bytes_are_counted() {
        let mut reader = begun();
        reader.stdout(
            format!("tail\n{MARK} omitted 1 100\n\n{MARK} omitted 2 7\n\n{MARK} omitted 9 7\n")
                .as_bytes(),
        );
        let output = ended(reader, 0);
        assert_eq!((output.stdout.total, output.stderr.total), (104, 7));
    }

    #[track_caller]
    fn check_failure(stdout: &str, end: &StreamEnd, expected: &SessionError) {
        let mut reader = FrameReader::new(MARK);
        reader.stdout(stdout.as_bytes());
        assert_eq!(&reader.result("probe", end).unwrap_err(), expected);
    }

    #[test]
    fn a_missing_end_has_three_meanings() {
        let broken = |cause: &str| SessionError::ShellBroken {
            command: "probe",
            cause: cause.to_owned(),
        };
        let lost = |cause: &str| SessionError::Lost {
            command: "probe",
            cause: cause.to_owned(),
        };
        let begun = format!("\n{MARK} begin\nhalf an ans");
        check_failure(
            "",
            &StreamEnd::Exit(0),
            &broken("exit code 0, and instead of its output came: nothing"),
        );
        check_failure(
            "FORCED\n\u{1b}[1m",
            &StreamEnd::Exit(7),
            &broken("exit code 7, and instead of its output came: FORCED \\x1b[1m"),
        );
        check_failure(
            "",
            &StreamEnd::Signal("KILL".into()),
            &broken("signal KILL, and instead of its output came: nothing"),
        );
        check_failure(
            &begun,
            &StreamEnd::Signal("TERM".into()),
            &lost("its shell ended early with signal TERM"),
        );
        check_failure(
            &begun,
            &StreamEnd::Cut("connection reset".into()),
            &lost("connection reset"),
        );
        check_failure(
            "",
            &StreamEnd::Cut("connection reset".into()),
            &lost("connection reset"),
        );
    }

    #[test]
    fn a_forged_marker_is_plain_output() {
        let mut reader = begun();
        let forged = MARK.replace('f', "e");
        reader.stdout(format!("\n{forged} end 0\n").as_bytes());
        assert!(!reader.ended());
        assert_eq!(
            ended(reader, 1).stdout.tail,
            format!("\n{forged} end 0\n").into_bytes()
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// However the stream is cut into pieces, the answer is the same, and the output is what went in.
        #[test]
        fn pieces_do_not_matter(
            texts in prop::collection::vec("[\n0-3 a]{0,20}", 1..6),
            cuts in prop::collection::vec(1_usize..9, 1..40),
        ) {
            let mut wire = Vec::new();
            for text in &texts {
                wire.extend_from_slice(text.as_bytes());
                wire.extend_from_slice(format!("\n{MARK} fact f={}\n", text.len()).as_bytes());
            }
            wire.extend_from_slice(format!("\n{MARK} end 5\n").as_bytes());
            let mut reader = begun();
            let mut rest = wire.as_slice();
            for cut in cuts.iter().cycle() {
                if rest.is_empty() { break; }
                let (piece, next) = rest.split_at((*cut).min(rest.len()));
                reader.stdout(piece);
                rest = next;
            }
            let output = reader.result("probe", &StreamEnd::Silent).unwrap();
            let all = texts.concat();
            prop_assert_eq!(output.exit, 5);
            prop_assert_eq!(output.stdout.tail, all.as_bytes());
            prop_assert_eq!(output.stdout.total, all.len() as u64);
            let last = texts.last().unwrap().len().to_string();
            prop_assert_eq!(output.facts.get("f"), Some(&last));
        }

        /// A host may send anything.
        #[test]
        fn arbitrary_bytes_never_panic(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 0..20)) {
            let mut reader = begun();
            for piece in &pieces {
                reader.stdout(piece);
                reader.stderr(piece);
                reader.stdout(format!("\n{MARK} ").as_bytes());
            }
            let _ = reader.result("fuzz", &StreamEnd::Silent);
        }
    }
}
