//! Rollouts: frozen plans, stages, the gate, and ends that stay.

use std::collections::BTreeMap;
use std::time::Duration;

use fleet_store::{AttemptRecord, Claimed, RequestKey, RolloutRecord, TriggerError};
use fleet_types::{
    AttemptStatus, CommitHash, HostId, Policy, Reason, RolloutId, RolloutKind, RolloutState,
};
use tokio::time::Instant;

use super::{Checker, LEASE};

/// A rollout as it was frozen, and what became of it.
#[derive(Debug)]
pub(super) struct Frozen {
    policy: Policy,
    target: Option<CommitHash>,
    state: RolloutState,
    stage: u32,
    hosts: BTreeMap<HostId, Planned>,
}

#[derive(Debug, PartialEq, Eq)]
struct Planned {
    position: usize,
    stage: u32,
    spec: fleet_store::HostSpec,
    target: Option<CommitHash>,
}

/// Where a rollout stands, for as long as nobody begins or ends a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    rollout: RolloutId,
    stage: u32,
    updating: usize,
    pending: usize,
}

impl Frozen {
    /// Where the host goes: its own version, or the one of all.
    pub(super) fn target_of(&self, host: HostId) -> Option<CommitHash> {
        let own = self.hosts.get(&host).and_then(|host| host.target.clone());
        own.or_else(|| self.target.clone())
    }
}

fn planned(attempts: &[AttemptRecord]) -> BTreeMap<HostId, Planned> {
    let each = attempts.iter().enumerate().map(|(position, attempt)| {
        let planned = Planned {
            position,
            stage: attempt.stage,
            spec: attempt.spec.clone(),
            target: attempt.target.clone(),
        };
        (attempt.host, planned)
    });
    each.collect()
}

impl Checker {
    /// At most one rollout is active.
    pub(crate) fn active(&mut self, all: &[RolloutRecord]) {
        let count = all.iter().filter(|record| record.state.is_active()).count();
        if count > 1 {
            self.violate("I1", format!("{count} rollouts are active"));
        }
    }

    /// A request is carried out once, however often it is made.
    pub(crate) fn asked(&mut self, request: &RequestKey, answer: &Result<RolloutId, TriggerError>) {
        let known = self.requests.get(&request.key).copied();
        let now = match answer {
            Ok(id) => *id,
            Err(TriggerError::Repeated { rollout }) => *rollout,
            Err(_) => return,
        };
        let as_before = known.map_or(answer.is_ok(), |known| known == now && answer.is_err());
        if !as_before {
            let text = format!(
                "{} was carried out as {known:?}, then as {now}",
                request.key
            );
            self.violate("I18", text);
        }
        self.requests.insert(request.key.clone(), now);
    }

    pub(crate) fn frozen(&mut self, record: &RolloutRecord, attempts: &[AttemptRecord]) {
        self.stages_have_their_sizes(&record.policy, attempts);
        let frozen = Frozen {
            policy: record.policy.clone(),
            target: record.target.clone(),
            state: record.state,
            stage: record.stage,
            hosts: planned(attempts),
        };
        self.rollouts.insert(record.id, frozen);
    }

    /// Up to the end of each stage there are as many hosts as its percent takes, rounded up; stages without any are left
    /// out.
    fn stages_have_their_sizes(&mut self, policy: &Policy, attempts: &[AttemptRecord]) {
        let all = attempts.len() as u64;
        let percents = policy.stages.percents().iter();
        let mut ends: Vec<u64> = percents
            .map(|percent| (u64::from(*percent) * all).div_ceil(100))
            .collect();
        ends.dedup();
        for (number, end) in (1..).zip(ends.into_iter().filter(|end| *end > 0)) {
            let upto = attempts.iter().filter(|one| one.stage <= number).count() as u64;
            if upto != end {
                let text = format!("{upto} of {all} hosts up to stage {number}, and {end} are due");
                self.violate("E1", text);
            }
        }
    }

    /// A rollout stands there. Says whether it moved.
    pub(crate) fn seen(&mut self, record: &RolloutRecord) -> bool {
        let Some(known) = self.rollouts.get_mut(&record.id) else {
            return false;
        };
        let before = std::mem::replace(&mut known.state, record.state);
        let stage = std::mem::replace(&mut known.stage, record.stage);
        if known.target.is_none() {
            known.target.clone_from(&record.target);
        }
        let same = known.target == record.target && known.policy == record.policy;
        if !before.is_active() && before != record.state {
            let text = format!("a rollout that was {before} is {}", record.state);
            self.violate("I15", text);
        }
        if !same {
            self.violate("I19", "target or policy of a rollout changed".to_owned());
        }
        if stage > record.stage {
            self.violate("I9", format!("from stage {stage} back to {}", record.stage));
        }
        before != record.state || stage != record.stage
    }

    /// It is looked from now on whether hosts are begun.
    pub(crate) fn nobody_waited(&mut self) {
        self.idle = None;
    }

    /// While a process works without faults: as long as fewer hosts are under way than there are connections, the next of the
    /// stage is begun within a lease and a look around, however long those take.
    pub(crate) fn hosts_are_begun(
        &mut self,
        record: &RolloutRecord,
        attempts: &[AttemptRecord],
        poll: Duration,
    ) {
        let is = |status| move |one: &&AttemptRecord| one.status == status;
        let updating: Vec<_> = attempts
            .iter()
            .filter(is(AttemptStatus::Updating))
            .collect();
        // A restart of which nobody told the end keeps the machine for as long as it may take.
        let is_checked = |id: &HostId| self.hosts.get(id).is_some_and(|seen| seen.checked);
        let checked = self.ids.iter().filter(|(_, id)| is_checked(id));
        let checked: Vec<&str> = checked
            .filter_map(|(name, _)| self.machines.get(name))
            .map(String::as_str)
            .collect();
        let busy = |one: &AttemptRecord| {
            let address = one.spec.address.as_str();
            let mut hosts = updating.iter();
            is_checked(&one.host)
                || checked.contains(&address)
                || hosts.any(|other| other.spec.address.as_str() == address)
        };
        let pending = attempts.iter().filter(is(AttemptStatus::Pending));
        let pending = pending.filter(|one| one.stage == record.stage && !busy(one));
        let (updating, pending) = (updating.len(), pending.count());
        let room = self.limit.min(record.policy.max_in_flight as usize);
        let resolved = record.target.is_some() || record.kind == RolloutKind::Rollback;
        let due = record.state == RolloutState::Running && resolved && pending > 0;
        if !due || updating >= room {
            self.idle = None;
            return;
        }
        let now = Place {
            rollout: record.id,
            stage: record.stage,
            updating,
            pending,
        };
        let known = self.idle.filter(|(_, before)| *before == now);
        let (since, _) = *self.idle.insert(known.unwrap_or((Instant::now(), now)));
        if since.elapsed() > LEASE + poll {
            let text = format!(
                "{pending} hosts may begin beside {updating} of {room}, and none did for {:?}",
                since.elapsed()
            );
            self.violate("L6", text);
        }
    }

    /// Whether this host might be claimed, by the plan and everything that is on record.
    pub(crate) fn may_claim(
        &mut self,
        record: &RolloutRecord,
        claimed: &Claimed,
        attempts: &[AttemptRecord],
    ) {
        let (name, own) = (&claimed.attempt.name, claimed.attempt.stage);
        if record.state != RolloutState::Running {
            self.violate("I10", format!("{name} was claimed while {}", record.state));
        }
        for stage in 1..=own {
            let of_it = || attempts.iter().filter(|attempt| attempt.stage == stage);
            let count = |holds: &dyn Fn(&AttemptRecord) -> bool| {
                of_it().filter(|attempt| holds(attempt)).count() as u64
            };
            let open = count(&|attempt| !attempt.status.is_settled());
            if stage < own && open > 0 {
                let text = format!("{name} of stage {own} was claimed, {open} of {stage} are open");
                self.violate("I9", text);
            }
            let bad = count(&|attempt| {
                matches!(
                    attempt.status,
                    AttemptStatus::Failed | AttemptStatus::RolledBack
                )
            });
            let left_out = count(&|attempt| {
                attempt.status == AttemptStatus::Skipped
                    || attempt.reason == Some(Reason::Unchanged)
            });
            let counted = of_it().count() as u64 - left_out;
            let threshold = record.policy.max_failure_percent.get();
            if bad * 100 > threshold * counted {
                let text = format!(
                    "{name} was claimed though {bad} of {counted} in stage {stage} failed, \
                     {threshold} % may"
                );
                self.violate("I10", text);
            }
        }
        let updating = |attempt: &&AttemptRecord| attempt.status == AttemptStatus::Updating;
        let in_flight = attempts.iter().filter(updating).count();
        if in_flight as u64 > u64::from(record.policy.max_in_flight) {
            self.violate("I16", format!("{in_flight} hosts are in flight"));
        }
        let plan = self.rollouts.get(&record.id);
        let same = plan.and_then(|plan| plan.hosts.get(&claimed.attempt.host));
        if same.is_none_or(|same| same.spec != claimed.attempt.spec || same.stage != own) {
            self.violate("I19", format!("{name} is not as it was planned"));
        }
        if claimed.attempt.target.is_none() {
            self.violate("I14", format!("{name} was claimed without a target"));
        }
    }

    /// A rollout is halted by a stage of which more failed than may, or for want of a target.
    fn halted_for_a_reason(&mut self, record: &RolloutRecord, attempts: &[AttemptRecord]) {
        let reason = record.reason.as_deref().unwrap_or_default();
        if record.state != RolloutState::Halted || !reason.starts_with("stage") {
            return;
        }
        let threshold = record.policy.max_failure_percent.get();
        let crossed = |stage: u32| {
            let of_it = || attempts.iter().filter(|attempt| attempt.stage == stage);
            let bad = |attempt: &&AttemptRecord| {
                matches!(
                    attempt.status,
                    AttemptStatus::Failed | AttemptStatus::RolledBack
                )
            };
            // Those that were not started because it halted were still to come then.
            let left_out = [
                Some(Reason::Unchanged),
                Some(Reason::Removed),
                Some(Reason::MovedOn),
            ];
            let counts = |attempt: &&AttemptRecord| !left_out.contains(&attempt.reason);
            of_it().filter(bad).count() as u64 * 100
                > threshold * of_it().filter(counts).count() as u64
        };
        if !attempts.iter().any(|attempt| crossed(attempt.stage)) {
            self.violate("E2", format!("halted without need: {reason}"));
        }
    }

    /// A rollout that is over, compared with everything that was seen of it.
    pub(crate) fn over(&mut self, record: &RolloutRecord, attempts: &[AttemptRecord]) {
        let Some(frozen) = self.rollouts.get(&record.id) else {
            return self.violate("store", "a rollout that nobody created".to_owned());
        };
        let (mut now, target) = (planned(attempts), record.target.clone());
        for (host, planned) in &mut now {
            // A target of all is written into each row once it is known.
            if frozen
                .hosts
                .get(host)
                .is_some_and(|then| then.target.is_none())
            {
                if planned.target.is_some() && planned.target != target {
                    planned.position = usize::MAX;
                }
                planned.target = None;
            }
        }
        let same = now == frozen.hosts && frozen.policy == record.policy;
        if !same {
            self.violate("I19", "a plan changed after it was frozen".to_owned());
        }
        self.halted_for_a_reason(record, attempts);
        for attempt in attempts {
            let seen = self.attempts.get(&(record.id, attempt.host));
            let what = format!("{} is {}", attempt.name, attempt.status);
            let settled = seen.and_then(|seen| seen.settled);
            let previous = seen.and_then(|seen| seen.previous.clone());
            match (settled, attempt.status) {
                _ if !attempt.status.is_settled() => {
                    self.violate("L1", format!("{what} in a rollout that is over"));
                }
                (Some((status, reason)), now)
                    if status != now || Some(reason) != attempt.reason =>
                {
                    self.violate("I15", format!("{what}, and was {status}/{reason}"));
                }
                (None, AttemptStatus::Success | AttemptStatus::RolledBack) => {
                    self.violate("I11", format!("{what} and was never worked on"));
                }
                (None, _) if seen.is_some() => {
                    self.violate("I13", format!("{what}, and its end was not on record"));
                }
                _ => {}
            }
            if seen_previous_differs(&previous, attempt) {
                self.violate("I4", format!("{what}: its previous version changed"));
            }
        }
    }
}

fn seen_previous_differs(
    previous: &Option<fleet_types::Previous>,
    attempt: &AttemptRecord,
) -> bool {
    previous.is_some() && *previous != attempt.progress.previous
}
