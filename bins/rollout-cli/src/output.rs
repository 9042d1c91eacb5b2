//! The only place that writes: data on standard output, talk and progress on standard error.

use std::io::{self, BufRead, IsTerminal, Write};
use std::sync::OnceLock;

use anstream::ColorChoice;
use serde::Serialize;

use crate::failure::Failure;

/// How much is said, and how.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    /// Data as JSON.
    pub json: bool,
    /// No talk but errors.
    pub quiet: bool,
    /// Never ask.
    pub no_input: bool,
    /// There is a log on standard error, which a live display would be torn by.
    pub logs: bool,
}

/// What may be seen on a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Paint {
    /// Good.
    Green,
    /// Bad.
    Red,
    /// Worth a look.
    Yellow,
    /// Of less weight.
    Dim,
    /// Of more weight.
    Bold,
}

impl Paint {
    /// The text in this colour. The streams take the codes out again where no colour is wanted.
    pub(crate) fn on(self, text: impl AsRef<str>) -> String {
        let code = match self {
            Self::Green => "32",
            Self::Red => "31",
            Self::Yellow => "33",
            Self::Dim => "2",
            Self::Bold => "1",
        };
        format!("\x1b[{code}m{}\x1b[0m", text.as_ref())
    }
}

impl Output {
    /// Writes data as it is. A reader that has gone away is no error.
    pub(crate) fn data(&self, text: &str) -> Result<(), Failure> {
        let mut stdout = anstream::stdout().lock();
        match stdout
            .write_all(text.as_bytes())
            .and_then(|()| stdout.flush())
        {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                Err(Failure::unexpected("standard output cannot be written").why(error))
            }
            _ => Ok(()),
        }
    }

    /// Writes one line of data.
    pub(crate) fn line(&self, text: impl AsRef<str>) -> Result<(), Failure> {
        self.data(&format!("{}\n", text.as_ref()))
    }

    /// Writes one object as a line of JSON.
    pub(crate) fn object(&self, value: &impl Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string(value).map_err(|error| {
            Failure::unexpected("the answer cannot be written as JSON").why(error)
        })?;
        self.line(text)
    }

    /// Says something to a person. Losing it is no reason to stop.
    pub(crate) fn say(&self, text: impl AsRef<str>) {
        if !self.quiet {
            self.shout(text);
        }
    }

    /// Says what must be said even when quiet.
    pub(crate) fn shout(&self, text: impl AsRef<str>) {
        let _ = writeln!(anstream::stderr().lock(), "{}", text.as_ref());
    }

    /// The commands to type next, each with what it does.
    pub(crate) fn next(&self, commands: &[(String, &str)]) {
        if !commands.is_empty() {
            self.say(next_lines(commands));
        }
    }

    /// Whether a person can be asked.
    pub(crate) fn can_ask(&self) -> bool {
        !self.no_input && !self.json && io::stdin().is_terminal() && io::stderr().is_terminal()
    }

    /// Whether a live display can be drawn.
    pub(crate) fn is_live(&self) -> bool {
        !self.logs && io::stderr().is_terminal() && !crate::environment::is_dumb_terminal()
    }

    /// Asks, and waits for a line. No answer, or anything but yes, is a no.
    pub(crate) fn ask(&self, question: &str) -> bool {
        matches!(
            self.prompt(&format!("{question} [y/N] ")).as_deref(),
            Some("y" | "Y" | "yes" | "Yes")
        )
    }

    /// Asks for a text; none when there is no answer.
    pub(crate) fn prompt(&self, question: &str) -> Option<String> {
        {
            // Not kept while waiting: a signal may end the wait, and then something has to be said.
            let mut stderr = anstream::stderr().lock();
            let _ = write!(stderr, "{question}");
            let _ = stderr.flush();
        }
        let mut answer = String::new();
        match io::stdin().lock().read_line(&mut answer) {
            Ok(read) if read > 0 => Some(answer.trim().to_owned()),
            _ => None,
        }
    }

    /// Writes a failure, at most three lines.
    pub(crate) fn failure(&self, failure: &Failure) {
        let mut lines = failure.lines();
        if let Some(first) = lines.first_mut()
            && let Some(rest) = first.strip_prefix("error:")
        {
            *first = format!("{}{rest}", Paint::Red.on("error:"));
        }
        self.shout(lines.join("\n"));
    }
}

/// The words of this command line that say which fleet it is about, for the commands to type next.
static PLACE: OnceLock<Vec<(&'static str, String)>> = OnceLock::new();

/// From now on, commands to type next name the fleet as this command line did. Only the first call counts.
pub(crate) fn remember_place(place: Vec<(&'static str, String)>) {
    let _ = PLACE.set(place);
}

/// A command to type next, about the same fleet. What it says of this itself stands.
fn placed(command: &str, place: &[(&'static str, String)]) -> String {
    const PROGRAM: &str = "rollout-cli";
    let Some(rest) = command.strip_prefix(PROGRAM) else {
        return command.to_owned();
    };
    let says = |flag: &str| {
        let with_value = format!("{flag}=");
        rest.split(' ')
            .any(|word| word == flag || word.starts_with(&with_value))
    };
    let words: String = place
        .iter()
        .filter(|(flag, _)| !says(flag))
        .map(|(flag, value)| format!(" {flag} {value}"))
        .collect();
    format!("{PROGRAM}{words}{rest}")
}

/// `Next:` and the commands under each other.
pub(crate) fn next_lines(commands: &[(String, &str)]) -> String {
    let place = PLACE.get().map(Vec::as_slice).unwrap_or_default();
    let commands: Vec<(String, &str)> = commands
        .iter()
        .map(|(command, what)| (placed(command, place), *what))
        .collect();
    let width = commands
        .iter()
        .map(|(command, _)| command.chars().count())
        .max()
        .unwrap_or(0);
    let line = |(at, (command, what)): (usize, &(String, &str))| {
        let head = if at == 0 { "Next:" } else { "     " };
        format!("{head}  {command:width$}   {what}")
            .trim_end()
            .to_owned()
    };
    commands
        .iter()
        .enumerate()
        .map(line)
        .collect::<Vec<_>>()
        .join("\n")
}

/// When to colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Color {
    /// On a terminal, unless `NO_COLOR` is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

impl Color {
    /// Makes it hold for both streams.
    pub(crate) fn apply(self) {
        match self {
            Self::Auto => ColorChoice::Auto,
            Self::Always => ColorChoice::Always,
            Self::Never => ColorChoice::Never,
        }
        .write_global();
    }
}

#[cfg(test)]
mod tests {
    use super::{next_lines, placed};

    #[test]
    fn the_next_command_is_about_the_same_fleet() {
        let place = [
            ("--server", "https://fleet".to_owned()),
            ("--token-file", "'my token'".to_owned()),
        ];
        for (command, shown) in [
            (
                "rollout-cli status",
                "rollout-cli --server https://fleet --token-file 'my token' status",
            ),
            (
                "rollout-cli update --server=https://other web1",
                "rollout-cli --token-file 'my token' update --server=https://other web1",
            ),
            ("ssh-keygen -l", "ssh-keygen -l"),
        ] {
            assert_eq!(placed(command, &place), shown);
            assert_eq!(placed(command, &[]), command);
        }
    }

    #[test]
    fn the_next_commands_stand_under_each_other() {
        let commands = [("a b".to_owned(), "one"), ("abcdef".to_owned(), "two")];
        assert_eq!(
            next_lines(&commands),
            "Next:  a b      one\n       abcdef   two"
        );
    }
}
