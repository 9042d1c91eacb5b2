//! A look at a host that changes nothing.

use fleet_types::{AppSettings, CommitHash, Reason, StepId};
use ssh_exec::{CommandOutput, ConnectError, Endpoint, SessionError, Transport};

use crate::facts::Inspection;
use crate::failure::one_line;
use crate::journal::Stopped;
use crate::judge;
use crate::link::{Link, reason_of};
use crate::steps::{self, Work};

/// What a host is like, seen from outside an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostLook {
    /// HEAD; none when the repository cannot be used.
    pub version: Option<CommitHash>,
    /// The branch HEAD is attached to.
    pub branch: Option<String>,
    /// Tracked files with changes that are not the install command's, at most 20.
    pub dirty_files: Vec<String>,
    /// Whether systemd calls the service active.
    pub active: bool,
    /// What systemd says of it: `active (running)`.
    pub service: String,
    /// All that keeps the host from being updated, the most basic first. Empty: it is ready.
    pub problems: Vec<Problem>,
}

/// Something that keeps a host from being updated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Why, for programs: the reason that an attempt would end with.
    pub reason: Reason,
    /// Why, for people: one printable line.
    pub message: String,
}

/// Why a host could not be looked at.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LookError {
    /// It gave no answer that can be trusted.
    #[error("{message}")]
    Unanswered {
        /// Why, for programs.
        reason: Reason,
        /// Why, for people: one printable line.
        message: String,
    },
    /// This program may not ask now.
    #[error(transparent)]
    Withheld(#[from] Stopped),
}

/// Looks at a host on one connection, without its lock, and changes nothing.
///
/// # Errors
///
/// [`LookError::Unanswered`] when no connection came about (two more tries after a network error) or no answer in time.
pub async fn look(
    transport: &dyn Transport,
    endpoint: &Endpoint,
    app: &AppSettings,
) -> Result<HostLook, LookError> {
    let output = ask(transport, endpoint, &steps::inspect(app, None)).await?;
    let seen = Inspection::of(&output);
    judge::judge_exit(&output, StepId::Inspect).map_err(|failure| LookError::Unanswered {
        reason: failure.reason,
        message: failure.message,
    })?;
    let problems = judge::problems(&seen, app)
        .into_iter()
        .map(|(reason, message)| Problem { reason, message })
        .collect();
    Ok(HostLook {
        version: seen.head().cloned(),
        branch: seen.tree.branch.map(|branch| one_line(&branch)),
        dirty_files: seen
            .tree
            .dirty_files
            .iter()
            .map(|file| one_line(file))
            .collect(),
        active: seen.unit.is_active(),
        service: one_line(&seen.unit.shown()),
        problems,
    })
}

/// Sends one command that changes nothing, on a connection of its own.
pub(crate) async fn ask(
    transport: &dyn Transport,
    endpoint: &Endpoint,
    work: &Work,
) -> Result<CommandOutput, LookError> {
    let mut link = Link::new(transport, endpoint);
    link.open().await.map_err(|error| no_connection(&error))?;
    let answer = link.run(&work.command(None, false)).await;
    link.close().await;
    answer.map_err(|error| no_answer(&error))
}

fn no_connection(error: &ConnectError) -> LookError {
    let message = one_line(&error.to_string());
    match reason_of(error) {
        Some(reason) => LookError::Unanswered { reason, message },
        None => Stopped(message).into(),
    }
}

fn no_answer(error: &SessionError) -> LookError {
    let message = one_line(&error.to_string());
    let reason = match error {
        SessionError::Withheld { .. } => return Stopped(message).into(),
        SessionError::ShellBroken { .. } => Reason::ShellBroken,
        SessionError::Deadline { .. } => Reason::Timeout,
        SessionError::Unsendable { .. } => Reason::Internal,
        _ => Reason::Unreachable,
    };
    LookError::Unanswered { reason, message }
}
