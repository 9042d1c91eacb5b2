//! Commands: in order, one at a time, and not without a record of them.

use std::time::Duration;

use ssh_exec::RemoteCommand;

use super::Checker;
use super::truth::Entry;
use crate::gate::Gate;
use crate::host::changes;

/// How old a renewal may be.
const FENCE: Duration = Duration::from_secs(20);

/// A changing command that a host is doing now.
#[derive(Debug)]
pub(super) struct Underway {
    host: String,
    machine: String,
    name: &'static str,
}

impl Checker {
    /// A connection is open: its number.
    pub(crate) fn opened(&mut self, gate: &Gate) -> u64 {
        let number = self.number();
        self.sessions
            .insert(number, (gate.clone(), gate.troubles()));
        // The kernel closes those of a process that is gone; one that stands still cannot close its own.
        let open = self.sessions.values();
        let count = open
            .filter(|(gate, then)| !gate.is_dead() && gate.troubles() == *then)
            .count();
        if count > self.limit {
            let text = format!("{count} connections are open, {} are allowed", self.limit);
            self.violate("I16", text);
        }
        number
    }

    pub(crate) fn closed(&mut self, number: u64) {
        self.sessions.remove(&number);
    }

    /// A process sends a command: a number for its place in the order of all.
    pub(crate) fn sent(&mut self, host: &str, command: &RemoteCommand, gate: &Gate) -> u64 {
        self.may_be_sent(host, command, gate);
        self.number()
    }

    fn may_be_sent(&mut self, host: &str, command: &RemoteCommand, gate: &Gate) {
        let name = command.name();
        if !changes(name) {
            return;
        }
        self.is_fresh(gate, host);
        let what = format!("p{} sent {name} to {host}", gate.number());
        let Some(guard) = command.guard() else {
            return self.violate("I6", format!("{what} without the host's lock"));
        };
        let Some(id) = self.ids.get(host) else {
            let removed = self.removed.get(host).copied();
            // Who stood still since then cannot know yet.
            if removed.is_none_or(|at| !gate.stood_still_since(at)) {
                self.violate("I17", format!("{what}, which is in no fleet"));
            }
            return;
        };
        let Some(seen) = self.hosts.get(id) else {
            return self.violate("I5", format!("{what}, which nobody claimed"));
        };
        if guard.epoch < seen.epoch {
            // Out of date; the host refuses it, or has done it before anybody else came.
            return;
        }
        if name == "health_restart" {
            if seen.restart_counted != Some(guard.epoch) {
                self.violate("I5", format!("{what}, and it was not counted"));
            }
            return;
        }
        let Some(attempt) = self.attempt_of(host) else {
            return self.violate("I5", format!("{what} outside of any attempt"));
        };
        if attempt.previous.is_none() {
            self.violate(
                "I3",
                format!("{what} before its previous version was known"),
            );
        } else if attempt.step.map(fleet_types::StepId::as_str) != Some(name) {
            let step = attempt.step;
            self.violate("I5", format!("{what}, on record is {step:?}"));
        }
    }

    /// A process that could not renew its lease for long sends nothing, unless it stood still meanwhile.
    fn is_fresh(&mut self, gate: &Gate, host: &str) {
        let Some((at, troubles)) = self.renewed.get(&gate.number()) else {
            return;
        };
        let age = at.elapsed();
        if age > FENCE && *troubles == gate.troubles() {
            let text = format!("p{} sent to {host} {age:?} after a renewal", gate.number());
            self.violate("I8", text);
        }
    }

    /// A host begins with a command: a number for its end.
    pub(crate) fn begins(&mut self, host: &str, command: &RemoteCommand, from: u32) -> u64 {
        let number = self.number();
        let name = command.name();
        if !changes(name) || self.is_fenced(host, command) {
            return number;
        }
        let unknown = host.to_owned();
        let machine = self.machines.get(host).unwrap_or(&unknown).clone();
        let other = self
            .underway
            .values()
            .find(|other| other.machine == machine);
        if let Some(other) = other {
            let text = format!(
                "{name} of p{from} on {host} while {} on {} is under way",
                other.name, other.host
            );
            self.violate("I6", text);
        }
        let host = host.to_owned();
        let underway = Underway {
            host,
            machine,
            name,
        };
        self.underway.insert(number, underway);
        number
    }

    /// The highest epoch of a command that ran on this host.
    pub(crate) fn let_in(&self, host: &str) -> i64 {
        self.let_in.get(host).copied().unwrap_or_default()
    }

    fn is_fenced(&self, host: &str, command: &RemoteCommand) -> bool {
        let (Some(truth), Some(guard)) = (self.fleet.host(host), command.guard()) else {
            return false;
        };
        truth.fence.is_some_and(|seen| {
            let outranked = seen.0 != guard.store || seen.1 > guard.epoch;
            outranked && guard.replace.as_ref() != Some(&seen)
        })
    }

    /// A command took effect, or was refused by the host.
    pub(crate) fn applied(&mut self, host: &str, command: &RemoteCommand, from: u32, order: u64) {
        let Some(truth) = self.fleet.host(host) else {
            return;
        };
        let Some(done) = truth.received.last() else {
            return;
        };
        let (ran, epoch) = (done.ran, done.epoch);
        let entry = Entry::of(&truth, command.name(), done);
        self.log(host, entry);
        if !ran {
            return;
        }
        let what = format!("{} of p{from} ran on {host}", command.name());
        if let (Some(epoch), Some(guard)) = (epoch, command.guard()) {
            let highest = self.let_in.entry(host.to_owned()).or_default();
            let before = *highest;
            *highest = before.max(epoch);
            if epoch < before && guard.replace.is_none() {
                self.violate("I7", format!("{what} under epoch {epoch} after {before}"));
            }
            let last = self.ran_last.entry(host.to_owned()).or_default();
            let later = order < *last && guard.replace.is_none();
            *last = order.max(*last);
            if later && changes(command.name()) {
                self.violate("I6", format!("{what} after one that was sent later"));
            }
        }
        if command.name() == "health_restart" {
            self.restart_has_its_time(host, &what);
        }
    }

    /// A restart by the health checker may come late, but not in the middle of an update.
    fn restart_has_its_time(&mut self, host: &str, what: &str) {
        let Some(attempt) = self.attempt_of(host) else {
            return;
        };
        let (since, from) = (attempt.since, attempt.from);
        let log = self.logs.get(host).map(Vec::as_slice).unwrap_or_default();
        let in_it = |entry: &Entry| entry.ran && entry.epoch.is_some_and(|epoch| epoch >= since);
        if log.iter().skip(from).any(in_it) {
            self.violate("I17", format!("{what} in the middle of its update"));
        }
    }

    pub(crate) fn ends(&mut self, number: u64) {
        self.underway.remove(&number);
    }

    /// Whether a changing command is under way there.
    pub(super) fn is_busy(&self, host: &str) -> bool {
        self.underway.values().any(|other| other.host == host)
    }
}
