//! What a status promises, compared with the host.

use fleet_store::Claimed;
use fleet_types::{
    AttemptStatus, CommitHash, HostId, Outcome, Previous, Reason, RolloutId, RolloutKind,
};
use update_engine::testing::{SimCommand, SimHost, SimRelease};

use super::Checker;
use crate::host::changes;

/// One thing that happened to a host, and how it was afterwards.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    what: String,
    pub(super) ran: bool,
    pub(super) changed: bool,
    pub(super) epoch: Option<i64>,
    outside: bool,
    truth: Option<Truth>,
}

/// What matters of a host.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Truth {
    head: CommitHash,
    tree: Option<CommitHash>,
    installed: Option<CommitHash>,
    running: Option<CommitHash>,
    edited: bool,
}

impl Truth {
    fn of(host: &SimHost) -> Self {
        Self {
            head: host.head.clone(),
            tree: host.tree.clone(),
            installed: host.installed.clone(),
            running: host.running.clone(),
            edited: !host.edited.is_empty(),
        }
    }

    fn is_wholly_on(&self, commit: &CommitHash) -> bool {
        let parts = [
            Some(&self.head),
            self.tree.as_ref(),
            self.installed.as_ref(),
        ];
        self.runs(commit) && parts.iter().all(|part| *part == Some(commit)) && !self.edited
    }

    fn runs(&self, commit: &CommitHash) -> bool {
        self.running.as_ref() == Some(commit)
    }
}

impl Entry {
    pub(super) fn outside(what: &str) -> Self {
        Self {
            what: what.to_owned(),
            ran: true,
            changed: true,
            epoch: None,
            outside: true,
            truth: None,
        }
    }

    pub(super) fn of(host: &SimHost, what: &str, done: &SimCommand) -> Self {
        Self {
            what: what.to_owned(),
            ran: done.ran,
            changed: done.changed,
            epoch: done.epoch,
            outside: false,
            truth: Some(Truth::of(host)),
        }
    }

    /// Whether an update did something here.
    fn is_work(&self) -> bool {
        // A machine may start anew while it is only looked at, and a bad release dies then.
        !self.outside && self.changed && changes(&self.what) && !self.what.starts_with("health")
    }
}

impl Checker {
    pub(super) fn log(&mut self, host: &str, mut entry: Entry) {
        if entry.truth.is_none() {
            entry.truth = self.fleet.host(host).as_ref().map(Truth::of);
        }
        self.logs.entry(host.to_owned()).or_default().push(entry);
    }

    /// The commit that a rollback goes to is the one that the host was on before anything was changed.
    pub(super) fn previous_is_true(&mut self, name: &str, previous: &Previous) {
        let Some(attempt) = self.attempt_of(name) else {
            return;
        };
        let log = self.logs.get(name).map(Vec::as_slice).unwrap_or_default();
        let since = log.get(attempt.from..).unwrap_or_default();
        if since.iter().any(|entry| entry.outside) {
            return;
        }
        if since.iter().any(Entry::is_work) {
            let text = format!("{name}: previous was written after the host was changed");
            return self.violate("I3", text);
        }
        let head = self.fleet.host(name).map(|host| host.head);
        if head.as_ref() != Some(&previous.version) {
            let text = format!("{name} is on {head:?}, on record is {}", previous.version);
            self.violate("I3", text);
        }
    }

    /// What must come of an attempt if nothing but our own processes goes wrong from now on; none where that is open.
    pub(super) fn expects(&self, name: &str, claimed: &Claimed) -> Option<AttemptStatus> {
        let host = self.fleet.host(name)?;
        let target = claimed.attempt.target.as_ref()?;
        let sound = host.is_wholly_on(&host.head)
            && host.sudo
            && host.unit_loaded
            && !host.locked
            && !host.moving
            && !host.untracked_in_the_way
            && host.free_mib >= 1000
            && host.branch.as_deref() == Some("main")
            && !self.is_busy(name);
        if !sound || claimed.kind != RolloutKind::Update || *target < host.head {
            return None;
        }
        let release = |commit: &CommitHash| {
            let own = host.releases.get(commit).copied();
            own.unwrap_or_else(|| self.fleet.change_origin(|origin| origin.release(commit)))
        };
        match (release(target), release(&host.head)) {
            (SimRelease::Good, _) => Some(AttemptStatus::Success),
            (_, SimRelease::Good) if host.head != *target => Some(AttemptStatus::RolledBack),
            _ => None,
        }
    }

    pub(super) fn settled(&mut self, key: (RolloutId, HostId), outcome: &Outcome) {
        let Some(attempt) = self.attempts.get(&key) else {
            return;
        };
        let (name, previous) = (attempt.name.clone(), attempt.previous.clone());
        let target = self
            .rollouts
            .get(&key.0)
            .and_then(|frozen| frozen.target_of(key.1));
        let log = self.logs.get(&name).map(Vec::as_slice).unwrap_or_default();
        let before = attempt.from.checked_sub(1).and_then(|at| log.get(at));
        let since = log.get(attempt.from..).unwrap_or_default();
        let worked = since.iter().rposition(Entry::is_work);
        // From the last change on, there was a moment at which this held.
        let held = |holds: &dyn Fn(&Truth) -> bool| {
            let from = since.get(worked.unwrap_or(0)..).unwrap_or_default();
            let start = before.filter(|_| worked.is_none());
            let mut all = from
                .iter()
                .chain(start)
                .filter_map(|entry| entry.truth.as_ref());
            all.any(holds)
        };
        let what = format!("{name} is {}/{}", outcome.status, outcome.reason);
        // That a process lacks its key is no fault of the host, and others may have it. A command line that is alone with a
        // rollout ends it all the same, with the hosts untouched.
        let keyless = outcome.reason == Reason::NoCredential;
        let by_server = self
            .holders
            .get(&key.1)
            .is_some_and(|(_, gate)| gate.serves());
        let blamed = keyless && (by_server || worked.is_some());
        let undisturbed =
            attempt.disturbed == self.disturbed.get(&name).copied().unwrap_or_default();
        let expected = attempt.expected.filter(|_| undisturbed && !keyless);
        let wrong = match outcome.status {
            AttemptStatus::Success => {
                let on = |truth: &Truth| match (&target, outcome.reason) {
                    (Some(target), Reason::Unchanged) => {
                        truth.head == *target && truth.running.is_some()
                    }
                    (Some(target), _) => truth.is_wholly_on(target),
                    (None, _) => false,
                };
                let idle = outcome.reason == Reason::Unchanged && worked.is_some();
                (!held(&on))
                    .then_some(("I11", "is not on its target"))
                    .or_else(|| idle.then_some(("I13", "was changed")))
            }
            AttemptStatus::RolledBack => {
                let on = |truth: &Truth| {
                    previous
                        .as_ref()
                        .is_some_and(|known| truth.is_wholly_on(&known.version))
                };
                (!held(&on)).then_some(("I12", "is not back on its previous version"))
            }
            AttemptStatus::Failed if !outcome.touched && worked.is_some() => {
                Some(("I13", "was changed"))
            }
            _ => None,
        };
        if let Some((invariant, but)) = wrong {
            let now = self.fleet.host(&name).as_ref().map(Truth::of);
            self.violate(invariant, format!("{what}, and {but}: {now:?}"));
        } else if let Some(expected) = expected.filter(|expected| *expected != outcome.status) {
            let text = format!("{what} ({}), and {expected} was due", outcome.message);
            self.violate("D1", text);
        } else if blamed {
            self.violate("D5", format!("{what}: {}", outcome.message));
        } else if outcome.reason == Reason::Internal {
            self.violate("D2", format!("{what}: {}", outcome.message));
        }
    }
}
