//! How a step can end badly, and how that is put to people.

use fleet_types::{Reason, StepId, printable};
use ssh_exec::CommandOutput;

use crate::journal::Stopped;

/// A step that did not do its work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) step: StepId,
    pub(crate) reason: Reason,
    /// One printable line, the cause first.
    pub(crate) message: String,
    pub(crate) effect: Effect,
}

/// What a failed step left on the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// It did not run: the host refused, or there was no connection to send it over.
    NotRun,
    /// It ran, and HEAD, index and tree are proven to be as before.
    ProvenUnchanged,
    /// It may have changed anything that it can change.
    Possible,
    /// Somebody else moved HEAD while we were at work: nothing may be forced now.
    Foreign,
    /// The host cannot be asked any more.
    HostLost,
}

/// Why a step's function returns early.
#[derive(Debug)]
pub(crate) enum Broken {
    Failed(Failure),
    Stopped(Stopped),
}

impl From<Failure> for Broken {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<Stopped> for Broken {
    fn from(stopped: Stopped) -> Self {
        Self::Stopped(stopped)
    }
}

impl Failure {
    /// A failure that may have left anything.
    pub(crate) fn new(step: StepId, reason: Reason, message: impl AsRef<str>) -> Self {
        Self {
            step,
            reason,
            message: one_line(message.as_ref()),
            effect: Effect::Possible,
        }
    }

    pub(crate) fn with(mut self, effect: Effect) -> Self {
        self.effect = effect;
        self
    }
}

const LINE_LIMIT: usize = 400;

/// Makes one printable line of bounded length.
pub(crate) fn one_line(text: &str) -> String {
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let shown = without_passwords(&printable(&words));
    match shown.char_indices().nth(LINE_LIMIT) {
        Some((end, _)) => format!("{}…", &shown[..end]),
        None => shown,
    }
}

/// Hides who signs in, and with what, in web addresses: tools print the addresses that they were configured with.
pub(crate) fn without_passwords(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        shown.push_str(before);
        let authority = after
            .find(|c: char| c.is_whitespace() || "/?#'\"<>`".contains(c))
            .unwrap_or(after.len());
        let scheme = before[..at].to_ascii_lowercase();
        let web = scheme.ends_with("http") || scheme.ends_with("https");
        rest = match after[..authority].rfind('@') {
            Some(end) if web || after[..end].contains(':') => {
                shown.push_str("***");
                &after[end..]
            }
            _ => after,
        };
    }
    shown.push_str(rest);
    shown
}

/// The line of a command's output that most likely tells the cause: the first that calls itself an error, or else the
/// last one, of standard error before standard output. Empty when it said nothing.
pub(crate) fn telling_line(output: &CommandOutput) -> String {
    let streams = [output.stderr.text(), output.stdout.text()];
    let lines = || {
        streams
            .iter()
            .flat_map(|stream| stream.lines())
            .map(str::trim)
    };
    let is_error = |line: &&str| {
        let lower = line.to_ascii_lowercase();
        ["error", "fatal", "panic"]
            .iter()
            .any(|word| lower.starts_with(word))
    };
    let last = || {
        streams
            .iter()
            .find_map(|stream| stream.lines().map(str::trim).rfind(|line| !line.is_empty()))
    };
    let Some(line) = lines().find(is_error).or_else(last) else {
        return String::new();
    };
    // `error: The following files would be overwritten:` says nothing without the line after it.
    let detail = line
        .ends_with(':')
        .then(|| lines().skip_while(|l| *l != line).nth(1))
        .flatten();
    one_line(&format!("{line} {}", detail.unwrap_or_default()))
}

/// `cause`, and after a colon what the command said, if it said anything.
pub(crate) fn with_detail(cause: &str, detail: &str) -> String {
    if detail.is_empty() {
        cause.to_owned()
    } else {
        format!("{cause}: {detail}")
    }
}

#[cfg(test)]
mod tests {
    use ssh_exec::Captured;

    use super::*;

    fn output(stdout: &str, stderr: &str) -> CommandOutput {
        let captured = |text: &str| Captured {
            tail: text.as_bytes().to_vec(),
            total: text.len() as u64,
        };
        CommandOutput {
            stdout: captured(stdout),
            stderr: captured(stderr),
            ..CommandOutput::default()
        }
    }

    #[test]
    fn the_telling_line() {
        for (stdout, stderr, expected) in [
            ("", "", ""),
            (
                "bun install v1\nerror: no network\nbye\n",
                "",
                "error: no network",
            ),
            (
                "done\n",
                "hint: x\nfatal: bad object\nhint: y\n",
                "fatal: bad object",
            ),
            ("first\nlast\n\n", "\n", "last"),
            (
                "",
                "error: Untracked files would be overwritten by merge:\n\tnew.txt\nAborting\n",
                "error: Untracked files would be overwritten by merge: new.txt",
            ),
            ("", "error: \u{1b}[31mred\n", "error: \\x1b[31mred"),
        ] {
            assert_eq!(telling_line(&output(stdout, stderr)), expected);
        }
    }

    #[test]
    fn passwords_in_addresses_are_hidden() {
        for (text, shown) in [
            (
                "https://bob:s3cret@example.org/x",
                "https://***@example.org/x",
            ),
            (
                "at 'https://token@example.org': no",
                "at 'https://***@example.org': no",
            ),
            ("https://a:p@ss@example.org/", "https://***@example.org/"),
            (
                "http://u:p@a/ and https://v:q@b",
                "http://***@a/ and https://***@b",
            ),
            ("ssh://git@example.org/x", "ssh://git@example.org/x"),
            ("postgres://u:p@db/x", "postgres://***@db/x"),
            (
                "https://example.org/@scope/pkg",
                "https://example.org/@scope/pkg",
            ),
            ("https://ü:ä@ö/", "https://***@ö/"),
            ("HTTPS://token@example.org/", "HTTPS://***@example.org/"),
            ("nothing ://", "nothing ://"),
        ] {
            assert_eq!(without_passwords(text), shown);
        }
    }

    #[test]
    fn a_line_is_bounded() {
        let line = one_line(&"ä b\n".repeat(1000));
        assert!(
            line.ends_with('…') && line.chars().count() == LINE_LIMIT + 1 && !line.contains('\n')
        );
    }
}
