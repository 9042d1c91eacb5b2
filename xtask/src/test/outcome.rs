//! Running the test programs, and what came of it.

use std::io::{self, Read, Write};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::Context;

use crate::summary::Summary;
use crate::tools::Tool;

/// How the tests ended.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) summary: Summary,
    status: ExitStatus,
    /// Whether the output was still open long after `cargo test` had ended.
    left_behind: bool,
}

impl Outcome {
    /// Runs the command and lets its output through as it comes, while counting. Output that stays open and
    /// silent for longer than the grace after the command has ended is not waited for.
    pub(super) fn of(
        command: &mut Command,
        grace: Duration,
        to: &mut dyn Write,
    ) -> anyhow::Result<Self> {
        let mut child = command
            .stdout(Stdio::piped())
            .spawn()
            .context("could not start cargo")?;
        let mut output = child.stdout.take().context("cargo has no output")?;
        let (pieces, received) = mpsc::channel();
        // Not joined: a process that outlives the tests may keep the output open for ever.
        thread::spawn(move || {
            let mut buffer = vec![0; 16 * 1024];
            while let Ok(length @ 1..) = output.read(&mut buffer) {
                if pieces.send(buffer[..length].to_vec()).is_err() {
                    return;
                }
            }
        });
        let (ended, ending) = mpsc::channel();
        thread::spawn(move || {
            // The receiver is only gone when nobody asks any more.
            let _ = ended.send(child.wait());
        });
        collect(&received, &ending, grace, to)
    }

    /// Why this is a failure, or `None`.
    pub(super) fn problem(&self) -> Option<String> {
        if !self.status.success() && self.summary.failed == 0 {
            Some(format!("cargo test ended with {}", self.status))
        } else if !self.status.success() {
            Some("tests failed".to_owned())
        } else if self.summary.programs == 0 {
            Some("no test program ran".to_owned())
        } else if self.left_behind {
            Some("a test left a process running".to_owned())
        } else {
            None
        }
    }

    /// The line that sums up.
    pub(super) fn last_line(&self, without: &[&Tool]) -> String {
        let problem = self
            .problem()
            .map(|problem| format!("FAILED ({problem}): "))
            .unwrap_or_default();
        let Summary {
            passed,
            failed,
            ignored,
            ..
        } = &self.summary;
        let ignored = if *ignored > 0 {
            format!(", {ignored} ignored")
        } else {
            String::new()
        };
        let left_out = if without.is_empty() {
            "nothing".to_owned()
        } else {
            super::names(without).join(", ")
        };
        format!(
            "xtask test: {problem}{passed} passed, {failed} failed{ignored}, left out: {left_out}"
        )
    }
}

fn collect(
    received: &mpsc::Receiver<Vec<u8>>,
    ending: &mpsc::Receiver<io::Result<ExitStatus>>,
    grace: Duration,
    to: &mut dyn Write,
) -> anyhow::Result<Outcome> {
    let mut summary = Summary::default();
    let mut status = None;
    let left_behind = loop {
        match received.recv_timeout(grace) {
            Ok(piece) => {
                // A reader that closed our output still gets the exit status.
                let _ = to.write_all(&piece).and_then(|()| to.flush());
                summary.feed(&piece);
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => break false,
            Err(mpsc::RecvTimeoutError::Timeout) if status.is_some() => break true,
            // Silence is nothing to judge by while cargo runs; from here on the grace counts.
            Err(mpsc::RecvTimeoutError::Timeout) => status = ending.try_recv().ok(),
        }
    };
    summary.end();
    let status = match status {
        Some(status) => status,
        None => ending.recv().context("nobody waited for cargo")?,
    };
    Ok(Outcome {
        summary,
        status: status.context("could not wait for cargo")?,
        left_behind,
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::time::Duration;

    use super::Outcome;
    use crate::process;
    use crate::tools::Tool;

    const PASSED: &str = "test result: ok. 5 passed; 0 failed; 0 ignored";
    const FAILED: &str = "test result: FAILED. 3 passed; 2 failed; 1 ignored";

    fn check(printed: &[&str], exit: u8, without: &[&str], expected: &str) {
        let text: String = printed.iter().flat_map(|line| [line, "\n"]).collect();
        let tools: Vec<_> = without
            .iter()
            .map(|name| Tool::named(name).unwrap())
            .collect();
        let mut output = Vec::new();
        let outcome = Outcome::of(
            process::command("sh")
                .args(["-c", "printf %s \"$TEXT\"; exit \"$EXIT\""])
                .env("TEXT", &text)
                .env("EXIT", exit.to_string()),
            Duration::from_secs(60),
            &mut output,
        )
        .unwrap();
        assert_eq!(
            outcome.last_line(&tools),
            format!("xtask test: {expected}"),
            "{text}"
        );
        assert_eq!(
            outcome.problem().is_some(),
            expected.starts_with("FAILED"),
            "{text}"
        );
        assert_eq!(
            String::from_utf8(output).unwrap(),
            text,
            "the output is let through"
        );
    }

    #[test]
    fn the_last_line_tells_how_it_went() {
        check(
            &[PASSED, "running 5 tests", PASSED],
            0,
            &[],
            "10 passed, 0 failed, left out: nothing",
        );
        check(
            &[PASSED],
            0,
            &["sshd"],
            "5 passed, 0 failed, left out: sshd",
        );
        check(
            &[PASSED, FAILED],
            101,
            &[],
            "FAILED (tests failed): 8 passed, 2 failed, 1 ignored, left out: nothing",
        );
    }

    #[test]
    fn what_has_no_result_line_is_not_passed() {
        // A test program that was killed has none, and one that does not compile never starts.
        check(
            &[PASSED],
            101,
            &[],
            "FAILED (cargo test ended with exit status: 101): 5 passed, 0 failed, left out: nothing",
        );
        check(
            &[],
            0,
            &[],
            "FAILED (no test program ran): 0 passed, 0 failed, left out: nothing",
        );
    }

    #[test]
    fn a_process_left_behind_is_a_failure_and_not_waited_for() {
        let (held, holding) = std::io::pipe().unwrap();
        // The child ends when nobody holds the other end of the pipe any more.
        let script = format!("echo '{PASSED}'; exec 3<&0; cat <&3 & exit 0");
        let mut command = process::command("sh");
        command.args(["-c", &script]).stdin(held);
        let mut output = Vec::new();
        let outcome = Outcome::of(&mut command, Duration::from_millis(500), &mut output).unwrap();
        drop(holding);
        let expected = "xtask test: FAILED (a test left a process running): 5 passed, 0 failed, left out: nothing";
        assert_eq!(outcome.last_line(&[]), expected);
    }
}
