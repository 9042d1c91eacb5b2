//! What must always hold, checked against the hosts as they really are. The names are those of the failure catalogue.
//!
//! The checker learns of every effect on the store at the moment it is durable, whatever the process that caused it is
//! told, and of every command at the moment the host does it. It keeps its own books and never asks the product.

mod commands;
mod plans;
mod truth;

use std::collections::BTreeMap;
use std::time::Duration;

use fleet_store::{Claimed, HostLease, HostRecord};
use fleet_types::{
    AttemptStatus, Epoch, HostEvent, HostId, Previous, Reason, RolloutId, StepId, WorkerId,
};
use tokio::time::Instant;
use update_engine::testing::SimFleet;

use self::commands::Underway;
use self::plans::{Frozen, Place};
use self::truth::Entry;
use crate::gate::Gate;
use crate::schedule::Schedule;

/// How long a lease lasts, to the millisecond that clocks may differ by.
const LEASE: Duration = Duration::from_millis(29_999);

/// One host as the checker knows it.
#[derive(Debug, Default)]
struct HostSeen {
    /// The highest epoch that the store gave out.
    epoch: i64,
    /// The attempt that has it in `updating`.
    attempt: Option<RolloutId>,
    /// Whether a health check has it, or had it until its process died.
    checked: bool,
    /// The health lease that has a restart counted.
    restart_counted: Option<i64>,
}

/// One attempt as the checker knows it.
#[derive(Debug)]
struct AttemptSeen {
    name: String,
    previous: Option<Previous>,
    /// The step that was begun last.
    step: Option<StepId>,
    /// What was written last.
    last: Option<HostEvent>,
    takeovers: u32,
    /// The first epoch of it.
    since: i64,
    /// Where the log of its host stood at the claim.
    from: usize,
    /// How often the host had been disturbed by then, and what was to be expected of it.
    disturbed: u64,
    expected: Option<AttemptStatus>,
    settled: Option<(AttemptStatus, Reason)>,
}

/// The books.
#[derive(Debug)]
pub(crate) struct Checker {
    fleet: SimFleet,
    limit: usize,
    violation: Option<String>,
    hosts: BTreeMap<HostId, HostSeen>,
    /// The hosts of the fleet, and when others left it.
    ids: BTreeMap<String, HostId>,
    removed: BTreeMap<String, Instant>,
    machines: BTreeMap<String, String>,
    attempts: BTreeMap<(RolloutId, HostId), AttemptSeen>,
    /// How attempts ended, in that order.
    ended: Vec<String>,
    rollouts: BTreeMap<RolloutId, Frozen>,
    logs: BTreeMap<String, Vec<Entry>>,
    disturbed: BTreeMap<String, u64>,
    underway: BTreeMap<u64, Underway>,
    /// The last changing command that ran on each host, by the order in which they were sent.
    ran_last: BTreeMap<String, u64>,
    /// The highest epoch that each host let in.
    let_in: BTreeMap<String, i64>,
    sessions: BTreeMap<u64, (Gate, u64)>,
    /// When each process last renewed its lease, and how often it had stood still by then.
    renewed: BTreeMap<u32, (Instant, u64)>,
    /// When each worker last renewed its lease; none once it let go of it.
    leases: BTreeMap<WorkerId, Option<Instant>>,
    /// Who has each host, and which process that is.
    holders: BTreeMap<HostId, (WorkerId, Gate)>,
    /// Hosts in `updating` that nobody has, and since when that was seen.
    alone: BTreeMap<HostId, Instant>,
    /// Since when no host was begun although there was room, and where the rollout stood.
    idle: Option<(Instant, Place)>,
    /// What each request with a key was carried out as.
    requests: BTreeMap<String, RolloutId>,
    numbers: u64,
}

impl Checker {
    pub(crate) fn new(fleet: SimFleet, schedule: &Schedule) -> Self {
        Self {
            fleet,
            limit: usize::try_from(schedule.concurrency).unwrap_or(usize::MAX),
            violation: None,
            hosts: BTreeMap::new(),
            ids: BTreeMap::new(),
            removed: BTreeMap::new(),
            machines: BTreeMap::new(),
            attempts: BTreeMap::new(),
            ended: Vec::new(),
            rollouts: BTreeMap::new(),
            logs: BTreeMap::new(),
            disturbed: BTreeMap::new(),
            underway: BTreeMap::new(),
            ran_last: BTreeMap::new(),
            let_in: BTreeMap::new(),
            sessions: BTreeMap::new(),
            renewed: BTreeMap::new(),
            leases: BTreeMap::new(),
            holders: BTreeMap::new(),
            alone: BTreeMap::new(),
            idle: None,
            requests: BTreeMap::new(),
            numbers: 0,
        }
    }

    pub(crate) fn ends_of_all(&self) -> Vec<String> {
        self.ended.clone()
    }

    pub(crate) fn violation(&self) -> &Option<String> {
        &self.violation
    }

    /// Something does not hold. The first one counts.
    pub(crate) fn violate(&mut self, invariant: &str, text: String) {
        if self.violation.is_none() {
            self.violation = Some(format!("{invariant}: {text}"));
        }
    }

    fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    /// Something went wrong with the host or on the way to it: how its attempt ends is no longer certain.
    pub(crate) fn disturb(&mut self, host: &str) {
        *self.disturbed.entry(host.to_owned()).or_default() += 1;
    }

    /// The host was changed from outside.
    pub(crate) fn interfered(&mut self, host: &str, what: &str) {
        self.disturb(host);
        self.log(host, Entry::outside(what));
    }

    /// Entries of the inventory were made: one that comes back is another host.
    pub(crate) fn entered(&mut self, entries: &[HostRecord]) {
        for host in entries {
            let name = host.name.as_str().to_owned();
            let machine = host.spec.address.as_str().to_owned();
            self.ids.insert(name.clone(), host.id);
            self.machines.insert(name, machine);
        }
    }

    /// An entry left the inventory.
    pub(crate) fn removed(&mut self, name: &str) {
        self.ids.remove(name);
        self.removed.insert(name.to_owned(), Instant::now());
    }

    /// For the count of what was reached.
    pub(crate) fn state_of(&self, host: &str) -> &'static str {
        match self.attempt_of(host) {
            None => "no update",
            Some(attempt) if attempt.takeovers > 0 => "taken over",
            Some(_) => "first owner",
        }
    }

    fn attempt_of(&self, host: &str) -> Option<&AttemptSeen> {
        let id = self.ids.get(host)?;
        let rollout = self.hosts.get(id)?.attempt?;
        self.attempts.get(&(rollout, *id))
    }

    pub(crate) fn renewed(&mut self, worker: WorkerId, gate: &Gate) {
        let now = (Instant::now(), gate.troubles());
        self.renewed.insert(gate.number(), now);
        self.leases.insert(worker, Some(now.0));
    }

    pub(crate) fn let_go(&mut self, worker: WorkerId) {
        self.leases.insert(worker, None);
    }

    pub(crate) fn claimed(&mut self, claimed: &Claimed, gate: &Gate) {
        let holder = (claimed.lease.worker, gate.clone());
        self.holders.insert(claimed.lease.host, holder);
        let name = claimed.attempt.name.as_str().to_owned();
        let host = claimed.lease.host;
        self.ids.insert(name.clone(), host);
        self.grow(host, claimed.lease.epoch, "a claim");
        let seen = self.hosts.entry(host).or_default();
        seen.checked = false;
        if let Some(other) = seen.attempt.replace(claimed.lease.rollout) {
            let text = format!("{name} was claimed while rollout {other} has it");
            self.violate("I2", text);
        }
        let attempt = AttemptSeen {
            previous: None,
            step: None,
            last: None,
            takeovers: 0,
            since: claimed.lease.epoch.0,
            from: self.logs.get(&name).map_or(0, Vec::len),
            disturbed: self.disturbed.get(&name).copied().unwrap_or_default(),
            expected: self.expects(&name, claimed),
            settled: None,
            name: name.clone(),
        };
        let key = (claimed.lease.rollout, host);
        if self.attempts.insert(key, attempt).is_some() {
            self.violate("I15", format!("{name} was claimed twice in one rollout"));
        }
    }

    pub(crate) fn taken_over(&mut self, claimed: &Claimed, gate: &Gate) {
        let host = claimed.lease.host;
        let holder = (claimed.lease.worker, gate.clone());
        if let Some((worker, before)) = self.holders.insert(host, holder) {
            self.has_no_lease(worker, &before, claimed.attempt.name.as_str());
        }
        self.grow(host, claimed.lease.epoch, "a takeover");
        let text = format!("{} was taken over", claimed.attempt.name);
        match self.attempts.get_mut(&(claimed.lease.rollout, host)) {
            Some(attempt) if attempt.settled.is_none() => attempt.takeovers += 1,
            Some(_) => self.violate("I15", format!("{text} after it was settled")),
            None => self.violate("I2", format!("{text} without a claim")),
        }
    }

    /// While a process works without faults: no host stays in `updating` with nobody at work on it for longer than two leases
    /// and a look around.
    pub(crate) fn nobody_is_left_alone(&mut self, poll: Duration) {
        let mut alone = std::mem::take(&mut self.alone);
        alone.retain(|host, _| self.is_alone(*host));
        let now = Instant::now();
        let hosts = self.hosts.keys().copied();
        let all: Vec<HostId> = hosts.filter(|host| self.is_alone(*host)).collect();
        for host in all {
            let since = *alone.entry(host).or_insert(now);
            if since.elapsed() > LEASE * 2 + poll {
                let text = format!(
                    "{host} is updating, and nobody has it for {:?}",
                    since.elapsed()
                );
                self.violate("L5", text);
            }
        }
        self.alone = alone;
    }

    fn is_alone(&self, host: HostId) -> bool {
        let updating = |seen: &HostSeen| seen.attempt.is_some();
        let renewed = |(worker, _): &(WorkerId, Gate)| self.leases.get(worker).copied().flatten();
        self.hosts.get(&host).is_some_and(updating)
            && self
                .holders
                .get(&host)
                .and_then(renewed)
                .is_none_or(|at| at.elapsed() > LEASE)
    }

    /// A host may be taken from a process that is gone, that let go of its lease, or whose lease ran out.
    fn has_no_lease(&mut self, worker: WorkerId, gate: &Gate, host: &str) {
        let renewed = self.leases.get(&worker).copied().flatten();
        let age = renewed.map_or(LEASE, |at| at.elapsed());
        if !gate.is_dead() && age < LEASE {
            let text = format!(
                "{host} was taken from p{}, alive for {age:?}",
                gate.number()
            );
            self.violate("I2", text);
        }
    }

    /// The host's epoch became this one.
    fn grow(&mut self, host: HostId, to: Epoch, by: &str) {
        let seen = self.hosts.entry(host).or_default();
        let before = std::mem::replace(&mut seen.epoch, to.0);
        seen.restart_counted = None;
        if to.0 <= before {
            self.violate("I7", format!("by {by} an epoch went from {before} to {to}"));
        }
    }

    pub(crate) fn raised(&mut self, host: HostId, from: Epoch, to: Epoch) {
        self.current(host, from, "an epoch was raised");
        let counted = self.hosts.get(&host).and_then(|seen| seen.restart_counted);
        self.grow(host, to, "a raise");
        if let Some(seen) = self.hosts.get_mut(&host) {
            seen.restart_counted = counted.map(|_| to.0);
        }
    }

    /// A write of this epoch took effect.
    fn current(&mut self, host: HostId, epoch: Epoch, what: &str) {
        let known = self.hosts.get(&host).map_or(0, |seen| seen.epoch);
        if epoch.0 != known {
            let text = format!("{what} under epoch {epoch} of a host that is at {known}");
            self.violate("I8", text);
        }
    }

    /// An event of an attempt is durable. Says the host's name.
    pub(crate) fn recorded(&mut self, lease: &HostLease, event: &HostEvent) -> String {
        self.current(lease.host, lease.epoch, "an event was written");
        let key = (lease.rollout, lease.host);
        let Some(attempt) = self.attempts.get_mut(&key) else {
            self.violate("I2", "an event of a host that was not claimed".to_owned());
            return String::new();
        };
        let name = attempt.name.clone();
        if attempt.settled.is_some() {
            self.violate("I15", format!("an event of {name} after it was settled"));
            return name;
        }
        attempt.last = Some(event.clone());
        match event {
            HostEvent::StepStarted { step, .. } => attempt.step = Some(*step),
            HostEvent::PreviousKnown { previous } => match &attempt.previous {
                Some(known) if known != previous => {
                    let text = format!("{name}: previous was {known:?}, and became {previous:?}");
                    self.violate("I4", text);
                }
                Some(_) => {}
                None => {
                    attempt.previous = Some(previous.clone());
                    self.previous_is_true(&name, previous);
                }
            },
            HostEvent::Settled { outcome } => {
                attempt.settled = Some((outcome.status, outcome.reason));
                if let Some(seen) = self.hosts.get_mut(&lease.host) {
                    seen.attempt = None;
                }
                let end = format!("{name} {}/{}", outcome.status, outcome.reason);
                self.ended.push(end);
                self.settled(key, outcome);
            }
            _ => {}
        }
        name
    }

    /// An event was refused as one that cannot come now. Whoever lost the answer may say the same thing twice.
    pub(crate) fn illegal(&mut self, lease: &HostLease, event: &HostEvent, why: &str) {
        // Who is no owner any more must be told so, whatever it says.
        self.current(lease.host, lease.epoch, "an event was judged");
        let known = self.attempts.get(&(lease.rollout, lease.host));
        if known.and_then(|attempt| attempt.last.as_ref()) != Some(event) {
            self.violate("D4", format!("an event out of order: {why}"));
        }
    }

    pub(crate) fn health_claimed(&mut self, host: HostId, epoch: Epoch) {
        self.grow(host, epoch, "a health check");
        if self
            .hosts
            .get(&host)
            .is_some_and(|seen| seen.attempt.is_some())
        {
            self.violate("I17", "a health check took a host in updating".to_owned());
        }
        if let Some(seen) = self.hosts.get_mut(&host) {
            seen.checked = true;
        }
    }

    pub(crate) fn restart_counted(&mut self, host: HostId, epoch: Epoch) {
        self.current(host, epoch, "a restart was counted");
        if let Some(seen) = self.hosts.get_mut(&host) {
            seen.restart_counted = Some(epoch.0);
        }
    }

    pub(crate) fn health_settled(&mut self, host: HostId, epoch: Epoch) {
        self.current(host, epoch, "a check was settled");
        if let Some(seen) = self.hosts.get_mut(&host) {
            seen.checked = false;
        }
    }
}
