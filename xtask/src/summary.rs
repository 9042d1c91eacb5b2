//! Adds up what `cargo test` prints.

/// The sum over all test programs, fed with their output in pieces of any size.
#[derive(Debug, Default)]
pub(crate) struct Summary {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) ignored: u64,
    /// How many `test result:` lines came; none means that no test program ran at all.
    pub(crate) programs: u64,
    /// The names of failed tests, in the order in which they were printed.
    pub(crate) failures: Vec<String>,
    unfinished: Vec<u8>,
}

impl Summary {
    /// Takes the next piece of output.
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.unfinished.extend_from_slice(piece);
            if piece.ends_with(b"\n") {
                let line = std::mem::take(&mut self.unfinished);
                self.line(String::from_utf8_lossy(&line).trim_end());
            }
        }
    }

    /// The output has ended; what came after the last line break counts as a line.
    pub(crate) fn end(&mut self) {
        self.feed(b"\n");
    }

    fn line(&mut self, line: &str) {
        if let Some(result) = line.strip_prefix("test result: ") {
            self.programs += 1;
            self.passed += count(result, "passed");
            self.failed += count(result, "failed");
            self.ignored += count(result, "ignored");
        } else if let Some(name) = line
            .strip_prefix("test ")
            .and_then(|rest| rest.strip_suffix(" ... FAILED"))
        {
            self.failures.push(name.to_owned());
        }
    }
}

/// The number before a word of the result line: `ok. 5 passed; 0 failed` has 5 before `passed`.
fn count(result: &str, word: &str) -> u64 {
    result
        .split(';')
        .filter_map(|part| part.trim().strip_suffix(word))
        .find_map(|part| part.split_whitespace().last()?.parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::Summary;

    const OUTPUT: &str = "\
running 3 tests
test gate::exactly_thirty_percent_goes_on ... ok
test stages::sizes - should panic ... FAILED
test slow ... ignored, needs an hour

test result: FAILED. 1 passed; 1 failed; 1 ignored; 0 measured; 7 filtered out; finished in 0.02s

     Running tests/integration/main.rs (target/debug/deps/integration-0123)
test result: ok. 12 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.50s
   Doc-tests fleet_types
test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.10s
";

    fn check(output: &[u8], piece: usize, expected: (u64, u64, u64, u64), failures: &[&str]) {
        let mut summary = Summary::default();
        for bytes in output.chunks(piece) {
            summary.feed(bytes);
        }
        summary.end();
        let Summary {
            passed,
            failed,
            ignored,
            programs,
            ..
        } = summary;
        assert_eq!(
            (passed, failed, ignored, programs),
            expected,
            "pieces of {piece}"
        );
        assert_eq!(summary.failures, failures, "pieces of {piece}");
    }

    #[test]
    fn results_are_added_up_whatever_the_pieces() {
        for piece in [1, 2, 3, 7, 64, 100_000] {
            check(
                OUTPUT.as_bytes(),
                piece,
                (15, 1, 1, 3),
                &["stages::sizes - should panic"],
            );
        }
    }

    #[test]
    fn a_last_line_without_a_break_counts() {
        check(
            b"test result: ok. 4 passed; 0 failed; 0 ignored",
            5,
            (4, 0, 0, 1),
            &[],
        );
    }

    #[test]
    fn colours_do_not_hide_a_result() {
        let line =
            b"test result: \x1b[32mok\x1b(B\x1b[m. 4 passed; 2 failed; 1 ignored; 0 measured\n";
        check(line, 9, (4, 2, 1, 1), &[]);
    }

    #[test]
    fn other_output_counts_for_nothing() {
        check(
            b"5 passed; 3 failed\n  test result: ok. 9 passed\n\xff\xfe\n",
            4,
            (0, 0, 0, 0),
            &[],
        );
        check(b"", 1, (0, 0, 0, 0), &[]);
    }
}
