//! Which commit a rollout goes to: asked of its hosts, once, and durable before the first of them is touched.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use fleet_store::{AttemptRecord, Resolution, RolloutRecord, Store, StoreError};
use fleet_types::{CommitHash, HostId, HostName, Reason, TargetRef};
use tokio::task::JoinSet;
use tokio::time::sleep;
use update_engine::{ResolveError, resolve_target};

use crate::desk::RolloutDesk;
use crate::endpoint::endpoint;

/// So many hosts that could ask the remote and were told that there is no such thing are believed: a misspelt branch
/// must not be asked for on every host of a large fleet.
const ENOUGH: usize = 5;
/// Before the worker tries again what could not be done now.
const PAUSE: Duration = Duration::from_secs(1);

/// Asks for the target of a rollout.
#[derive(Debug)]
pub(crate) struct Resolver {
    pub(crate) desk: Arc<RolloutDesk>,
    pub(crate) record: RolloutRecord,
    /// Hosts that this process cannot sign in to, while another one may. None: there is no other one.
    pub(crate) left_to_others: Option<Vec<HostId>>,
}

/// What one host said.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Answer {
    Commit(CommitHash),
    /// The remote was asked, and has no such branch or commit.
    NoSuchThing(String),
    /// It could not be asked.
    Unasked(String),
    /// It could not be asked from here, for want of a key.
    NoKey(String),
    /// This process may not ask now.
    Withheld(String),
}

impl Resolver {
    /// Asks, and makes the answer durable. Returns what kept it from that, if anything did; the worker then asks anew.
    pub(crate) async fn run(self) -> Option<String> {
        let trouble = match self.ask_all().await {
            Ok(Some(resolution)) => self.record_for_good(resolution).await.err(),
            Ok(None) => Some(format!(
                "{} cannot be asked for: no host of the rollout can be signed in to from here",
                self.record.target_ref
            )),
            Err(trouble) => Some(trouble),
        };
        if trouble.is_some() {
            sleep(PAUSE).await;
        }
        trouble
    }

    async fn record_for_good(&self, resolution: Resolution) -> Result<(), String> {
        let store = self.store();
        let answer = store.rollout_resolve(self.record.id, resolution).await;
        answer.map(|_| ()).map_err(|error| error.to_string())
    }

    /// `None`: there is nobody to ask, now and here.
    async fn ask_all(&self) -> Result<Option<Resolution>, String> {
        let target: TargetRef = match self.record.target_ref.parse() {
            Ok(target) => target,
            Err(invalid) => return Ok(Some(Resolution::Impossible(invalid.to_string()))),
        };
        let (mut waiting, keys) = self.hosts().await.map_err(|error| error.to_string())?;
        if waiting.is_empty() {
            return Ok(None);
        }
        let mut asking = JoinSet::new();
        let mut names = HashMap::new();
        let mut answers: Vec<(HostName, Answer)> = Vec::new();
        loop {
            while asking.len() < self.desk.limit() as usize {
                let Some(attempt) = waiting.pop_front() else {
                    break;
                };
                let pinned = keys.get(&attempt.host).cloned().unwrap_or_default();
                let name = attempt.name.clone();
                let ask = ask(Arc::clone(&self.desk), attempt, pinned, target.clone());
                names.insert(asking.spawn(ask).id(), name);
            }
            let Some(ended) = asking.join_next_with_id().await else {
                break;
            };
            let (id, answer) = ended.unwrap_or_else(|error| {
                tracing::error!(%error, "asking for the target failed by a fault of this program");
                (
                    error.id(),
                    Answer::Unasked("the program failed; its log says how".to_owned()),
                )
            });
            match answer {
                Answer::Commit(commit) => return Ok(Some(Resolution::Commit(commit))),
                Answer::Withheld(why) => return Err(why),
                // Another process may ask it, or this one may again.
                Answer::NoKey(_) if self.left_to_others.is_some() => {}
                answer => answers.extend(names.remove(&id).map(|name| (name, answer))),
            }
            if definite(&answers) >= ENOUGH {
                break;
            }
        }
        let asked = !answers.is_empty();
        Ok(asked.then(|| Resolution::Impossible(explain(&target, &answers))))
    }

    /// Hosts to ask, in the order of their turn, and the keys pinned for each.
    async fn hosts(
        &self,
    ) -> Result<(VecDeque<AttemptRecord>, HashMap<HostId, Vec<String>>), StoreError> {
        let mut attempts = self.store().attempt_list(self.record.id).await?;
        if let Some(left) = &self.left_to_others {
            attempts.retain(|attempt| !left.contains(&attempt.host));
        }
        let fleet = self.store().host_list().await?;
        let keys = fleet
            .into_iter()
            .map(|host| (host.id, host.host_keys))
            .collect();
        Ok((attempts.into(), keys))
    }

    fn store(&self) -> &dyn Store {
        &*self.desk.slots.store
    }
}

async fn ask(
    desk: Arc<RolloutDesk>,
    attempt: AttemptRecord,
    pinned: Vec<String>,
    target: TargetRef,
) -> Answer {
    match endpoint(&attempt.name, &attempt.spec, &pinned, &desk.ssh) {
        Err(error) => Answer::Unasked(error.to_string()),
        Ok(endpoint) => {
            let transport = desk.transport(Arc::default());
            match resolve_target(&transport, &endpoint, &attempt.spec.app, &target).await {
                Ok(commit) => Answer::Commit(commit),
                Err(ResolveError::Missing { message }) => Answer::NoSuchThing(message),
                Err(ResolveError::Unanswered {
                    reason: Reason::NoCredential,
                    message,
                }) => Answer::NoKey(message),
                Err(ResolveError::Unanswered { message, .. }) => Answer::Unasked(message),
                Err(ResolveError::Withheld(stopped)) => Answer::Withheld(stopped.to_string()),
            }
        }
    }
}

fn definite(answers: &[(HostName, Answer)]) -> usize {
    answers
        .iter()
        .filter(|(_, answer)| matches!(answer, Answer::NoSuchThing(_)))
        .count()
}

/// One line for people: equal causes together, those that name most hosts first.
fn explain(target: &TargetRef, answers: &[(HostName, Answer)]) -> String {
    let mut causes: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (host, answer) in answers {
        if let Answer::NoSuchThing(why) | Answer::Unasked(why) | Answer::NoKey(why) = answer {
            causes.entry(why).or_default().push(host.as_str());
        }
    }
    let mut causes: Vec<_> = causes.into_iter().collect();
    causes.sort_by_key(|(_, hosts)| std::cmp::Reverse(hosts.len()));
    let mut text = format!("{target} cannot be resolved");
    for (place, (why, hosts)) in causes.iter().take(3).enumerate() {
        let some = hosts.iter().take(3).copied().collect::<Vec<_>>().join(", ");
        let more = if hosts.len() > 3 {
            format!(" and {} more", hosts.len() - 3)
        } else {
            String::new()
        };
        let mark = if place == 0 { ": " } else { "; " };
        let _ = write!(text, "{mark}{why} (asked on {some}{more})");
    }
    if causes.len() > 3 {
        let _ = write!(text, "; and {} other causes", causes.len() - 3);
    }
    text
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn equal_causes_are_told_once() {
        let target: TargetRef = "relase".parse().unwrap();
        let no = || Answer::NoSuchThing("origin has no branch relase".into());
        let mut answers: Vec<(HostName, Answer)> = ["a", "b", "c", "d"]
            .map(|name| (name.parse().unwrap(), no()))
            .into();
        answers.insert(
            0,
            (
                "e".parse().unwrap(),
                Answer::Unasked("could not reach e".into()),
            ),
        );
        assert_eq!(definite(&answers), 4);
        assert_eq!(
            explain(&target, &answers),
            "relase cannot be resolved: origin has no branch relase (asked on a, b, c and 1 more); \
             could not reach e (asked on e)"
        );
    }
}
