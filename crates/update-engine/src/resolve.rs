//! From what was asked for to the one commit that a rollout brings its hosts to.

use fleet_types::{AppSettings, CommitHash, Reason, TargetRef};
use ssh_exec::{Endpoint, Transport};

use crate::failure::{one_line, telling_line};
use crate::journal::Stopped;
use crate::look::{LookError, ask};
use crate::steps;

/// Why there is no commit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// The remote answered: it has no such branch or commit. Another host of the same remote would say the same.
    #[error("{message}")]
    Missing {
        /// What does not exist: one printable line.
        message: String,
    },
    /// This host could not ask. Another one may.
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

/// Finds the commit through one host, for the remote may not be reachable from here: a branch by `git ls-remote`, a
/// commit by looking for it in the host's clone, then fetching. HEAD, branches and files of the host stay as they are.
///
/// # Errors
///
/// [`ResolveError::Missing`] is an answer; [`ResolveError::Unanswered`] is none.
pub async fn resolve_target(
    transport: &dyn Transport,
    endpoint: &Endpoint,
    app: &AppSettings,
    target: &TargetRef,
) -> Result<CommitHash, ResolveError> {
    let work = match target {
        TargetRef::Branch(branch) => steps::resolve(app, branch, None),
        TargetRef::Commit(commit) => steps::resolve(app, &app.branch, Some(commit)),
    };
    let output = ask(transport, endpoint, &work).await?;
    let said = telling_line(&output);
    let message = one_line(output.fact("why").unwrap_or(&said));
    let unanswered = |reason| {
        Err(ResolveError::Unanswered {
            reason,
            message: message.clone(),
        })
    };
    match (output.exit, output.fact("failed")) {
        (0, None) => match output.fact("commit").and_then(|commit| commit.parse().ok()) {
            // One host must not choose for all: what it may say of a commit is that it is there.
            Some(commit) if matches!(target, TargetRef::Commit(asked) if commit != *asked) => {
                Err(ResolveError::Unanswered {
                    reason: Reason::FetchFailed,
                    message: format!("the answer for {target} names another commit: {commit}"),
                })
            }
            Some(commit) => Ok(commit),
            None => Err(ResolveError::Unanswered {
                reason: Reason::FetchFailed,
                message: format!("the answer names no commit for {target}"),
            }),
        },
        (_, Some("target_gone")) => Err(ResolveError::Missing { message }),
        (_, Some("no_repo")) => unanswered(Reason::NoRepo),
        _ => unanswered(Reason::FetchFailed),
    }
}

impl From<LookError> for ResolveError {
    fn from(error: LookError) -> Self {
        match error {
            LookError::Unanswered { reason, message } => Self::Unanswered { reason, message },
            LookError::Withheld(stopped) => Self::Withheld(stopped),
        }
    }
}
