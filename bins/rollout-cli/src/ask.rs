//! Questions that Ctrl-C answers too.

use tokio::task::spawn_blocking;

use crate::failure::Failure;
use crate::output::Output;
use crate::signals::Signals;

/// What a person said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Yes.
    Yes,
    /// Anything else, or nothing.
    No,
    /// A signal came first.
    Interrupted,
}

/// What is done to more hosts than this is severe.
const MANY: u32 = 50;

/// What a person is asked before something starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Question {
    text: String,
    /// What has to be typed; where there is nothing, yes does.
    typed: Option<String>,
}

impl Question {
    /// A question about so many hosts: of many, and of a whole fleet, their number has to be typed, so that nobody says yes to
    /// more than they think.
    pub(crate) fn about(text: impl Into<String>, hosts: u32, whole: bool) -> Self {
        Self {
            text: text.into(),
            typed: (whole || hosts > MANY).then(|| hosts.to_string()),
        }
    }

    /// Asks, and waits for a line. No answer, or another one, is a no.
    pub(crate) fn ask(&self, out: Output) -> bool {
        match &self.typed {
            None => out.ask(&self.text),
            Some(typed) => {
                let question = format!("{} Type the number of hosts, {typed}: ", self.text);
                out.prompt(&question).as_deref() == Some(typed)
            }
        }
    }
}

impl From<String> for Question {
    fn from(text: String) -> Self {
        Self { text, typed: None }
    }
}

/// Asks, and heeds signals meanwhile. Once work has listened to signals they end no process by themselves any more.
pub(crate) async fn ask(out: Output, question: impl Into<Question>) -> Result<Answer, Failure> {
    let mut signals = Signals::new(out)?;
    let question = question.into();
    let asking = spawn_blocking(move || question.ask(out));
    Ok(tokio::select! {
        yes = asking => match yes {
            Ok(true) => Answer::Yes,
            Ok(false) | Err(_) => Answer::No,
        },
        _ = signals.next() => Answer::Interrupted,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_hosts_and_a_whole_fleet_take_their_number_typed() {
        for (hosts, whole, typed) in [
            (50, false, None),
            (51, false, Some("51")),
            (1, true, Some("1")),
        ] {
            let question = Question::about("Update?", hosts, whole);
            assert_eq!(question.typed.as_deref(), typed);
        }
    }
}
