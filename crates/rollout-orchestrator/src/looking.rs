//! Looking at hosts outside of rollouts: which keys they show, whether they could be updated, and which commit a plan
//! goes to. Changes nothing on them.

use std::path::PathBuf;
use std::time::Duration;

use fleet_store::HostRecord;
use fleet_types::view::{self, HealthCheck, HostCheck, HostProblem, HostSeen};
use fleet_types::{CommitHash, Invalid, Reason, TargetRef, printable};
use ssh_exec::{ConnectError, HostKey, Identity, Transport};
use tokio::time::timeout;
use update_engine::{HostLook, LookError, ResolveError, look, resolve_target};

use crate::endpoint::{EndpointError, endpoint};
use crate::health::{CheckDone, Checked};
use crate::planning::Plan;
use crate::settings::SshDefaults;
use crate::slots::SlotTransport;

/// How long hosts are asked for a plan's target. A plan is worth something without it.
const PATIENCE: Duration = Duration::from_secs(15);
/// So many hosts are asked for it, one after the other.
const ASKED: usize = 3;

/// Why the keys of a host are not known.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeysError {
    /// It cannot even be tried.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// It could not be asked.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// It answered, and showed none.
    #[error("the host showed no key")]
    NoKey,
}

/// The keys that a host shows now. No credential is offered to it.
///
/// # Errors
///
/// As [`KeysError`] says.
pub async fn host_keys(
    transport: &SlotTransport,
    host: &HostRecord,
    defaults: &SshDefaults,
) -> Result<Vec<HostKey>, KeysError> {
    let mut defaults = defaults.clone();
    // No credential is offered to the host itself, so it does not matter that there is none.
    defaults
        .identity
        .get_or_insert(Identity::Agent(PathBuf::new()));
    let endpoint = endpoint(&host.name, &host.spec, &host.host_keys, &defaults)?;
    let keys = transport.host_keys(&endpoint).await?;
    if keys.is_empty() {
        return Err(KeysError::NoKey);
    }
    Ok(keys)
}

/// Looks whether a host could be updated as it is. A host that cannot be asked is an answer as well.
pub async fn check_host(
    transport: &SlotTransport,
    host: &HostRecord,
    defaults: &SshDefaults,
) -> HostCheck {
    let name = host.name.to_string();
    let nothing = |reason: Reason, message: String| HostCheck {
        name: name.clone(),
        reachable: false,
        seen: None,
        problems: vec![problem(reason, &message)],
    };
    let endpoint = match endpoint(&host.name, &host.spec, &host.host_keys, defaults) {
        Ok(endpoint) => endpoint,
        Err(error) => return nothing(Reason::NoCredential, error.to_string()),
    };
    match look(transport, &endpoint, &host.spec.app).await {
        Ok(look) => seen(name, look),
        Err(LookError::Unanswered { reason, message }) => nothing(reason, message),
        Err(error) => nothing(Reason::Internal, error.to_string()),
    }
}

fn seen(name: String, look: HostLook) -> HostCheck {
    let problems = look
        .problems
        .iter()
        .map(|found| problem(found.reason, &found.message));
    HostCheck {
        name,
        reachable: true,
        problems: problems.collect(),
        seen: Some(HostSeen {
            version: look.version.map(String::from),
            branch: look.branch,
            active: look.active,
            service: look.service,
            dirty_files: look.dirty_files,
        }),
    }
}

fn problem(reason: Reason, message: &str) -> HostProblem {
    let lines = message.lines().map(str::trim);
    let line: Vec<&str> = lines.filter(|line| !line.is_empty()).collect();
    HostProblem {
        reason: reason.to_string(),
        message: printable(&line.join("; ")),
    }
}

impl From<Checked> for HealthCheck {
    fn from(checked: Checked) -> Self {
        Self {
            name: checked.host.to_string(),
            health: checked.health,
            message: checked.message,
            done: match checked.done {
                CheckDone::Looked => view::CheckDone::Looked,
                CheckDone::Restarted => view::CheckDone::Restarted,
                CheckDone::UsedUp => view::CheckDone::UsedUp,
                CheckDone::LeftAlone => view::CheckDone::LeftAlone,
            },
        }
    }
}

/// What hosts said about a plan's target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetAnswer {
    /// It is this commit.
    Commit(CommitHash),
    /// There is no such branch or commit, and why that is sure.
    Missing(String),
    /// No host could be asked, and why.
    Nothing(String),
}

/// Asks the first hosts of a plan which commit its target is.
///
/// # Errors
///
/// The plan's target is no commit and no branch.
pub async fn ask_target(
    transport: &SlotTransport,
    plan: &Plan,
    defaults: &SshDefaults,
) -> Result<TargetAnswer, Invalid> {
    let target: TargetRef = plan.rollout.target_ref.parse()?;
    let asking = ask_in_turn(transport, plan, defaults, &target);
    Ok(timeout(PATIENCE, asking).await.unwrap_or_else(|_| {
        TargetAnswer::Nothing(format!(
            "there was no answer within {} s",
            PATIENCE.as_secs()
        ))
    }))
}

async fn ask_in_turn(
    transport: &SlotTransport,
    plan: &Plan,
    defaults: &SshDefaults,
    target: &TargetRef,
) -> TargetAnswer {
    let (mut missing, mut unasked) = (Vec::new(), Vec::new());
    for host in plan.hosts.iter().take(ASKED) {
        let endpoint = match endpoint(&host.name, &host.spec, &host.host_keys, defaults) {
            Ok(endpoint) => endpoint,
            Err(error) => {
                unasked.push(error.to_string());
                continue;
            }
        };
        match resolve_target(transport, &endpoint, &host.spec.app, target).await {
            Ok(commit) => return TargetAnswer::Commit(commit),
            Err(ResolveError::Missing { message }) => missing.push(message),
            Err(error) => unasked.push(error.to_string()),
        }
    }
    without_commit(missing, unasked)
}

/// One host that cannot see the target proves nothing, for its clone may be of another remote; all that were asked do.
fn without_commit(missing: Vec<String>, unasked: Vec<String>) -> TargetAnswer {
    match (missing.into_iter().next(), unasked.into_iter().next_back()) {
        (Some(why), None) => TargetAnswer::Missing(why),
        (_, Some(why)) => TargetAnswer::Nothing(why),
        (None, None) => TargetAnswer::Nothing("the plan has no hosts".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_missing_when_all_that_were_asked_say_so() {
        let words = |count: usize, word: &str| vec![word.to_owned(); count];
        let missing = TargetAnswer::Missing("no".to_owned());
        let nothing = |why: &str| TargetAnswer::Nothing(why.to_owned());
        for (no, unasked, answer) in [
            (3, 0, missing.clone()),
            (1, 0, missing),
            (2, 1, nothing("down")),
            (0, 3, nothing("down")),
            (0, 0, nothing("the plan has no hosts")),
        ] {
            let seen = without_commit(words(no, "no"), words(unasked, "down"));
            assert_eq!(seen, answer, "{no} {unasked}");
        }
    }
}
