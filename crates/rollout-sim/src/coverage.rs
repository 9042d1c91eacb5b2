//! What was reached: which fault met which step in which state, and how attempts ended.

use std::collections::BTreeMap;

/// A fault, the step that it met, and in which state.
pub type Cell = (&'static str, &'static str, &'static str);

const FIRST: &str = "first owner";
const LATER: &str = "taken over";

/// What the engine asks of hosts, and whether it changes them.
const STEPS: [(&str, bool); 9] = [
    ("inspect", false),
    ("pull", true),
    ("install", true),
    ("restart", true),
    ("verify", false),
    ("rollback_checkout", true),
    ("rollback_install", true),
    ("rollback_restart", true),
    ("rollback_verify", false),
];

/// The writes of the store that updates rest on.
const CALLS: [&str; 12] = [
    "rollout_create",
    "rollout_resolve",
    "rollout_advance",
    "rollout_verb",
    "attempt_claim",
    "attempt_take_over",
    "attempt_record",
    "attempt_raise",
    "worker_register",
    "worker_renew",
    "slot_acquire",
    "slot_release",
];

/// What happens to processes anywhere.
const OF_PROCESSES: [&str; 4] = [
    "killed before",
    "killed after",
    "stands still before",
    "stands still after",
];

const OF_CALLS: [&str; 2] = ["store fails before", "store fails after"];

const OF_COMMANDS: [&str; 6] = [
    "lost before",
    "lost after",
    "lost meanwhile",
    "no answer",
    "host: starts anew",
    "host: no shell",
];

const OF_CHANGES: [&str; 5] = [
    "host: fails",
    "host: fails halfway",
    "host: takes too long",
    "host: lock is taken",
    "host: refuses the epoch",
];

/// Steps and calls that a seed may dwell on.
pub(crate) const PLACES: [&str; 21] = places();

const fn places() -> [&'static str; 21] {
    let mut all = [""; 21];
    let mut at = 0;
    while at < all.len() {
        all[at] = if at < STEPS.len() {
            STEPS[at].0
        } else {
            CALLS[at - STEPS.len()]
        };
        at += 1;
    }
    all
}

/// Counts, over one run or many.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    /// How often each fault met each step in each state.
    pub faults: BTreeMap<Cell, u64>,
    /// How attempts ended: status and reason.
    pub reasons: BTreeMap<String, u64>,
    /// How rollouts ended.
    pub states: BTreeMap<String, u64>,
    /// What happened from outside.
    pub happenings: BTreeMap<&'static str, u64>,
    /// Hosts, processes, commands, calls of the store, and the like.
    pub totals: BTreeMap<&'static str, u64>,
}

impl Coverage {
    /// Every fault with every step, or call, and state in which it can come.
    #[must_use]
    pub fn cells() -> Vec<Cell> {
        let mut cells = Vec::new();
        for (step, changes) in STEPS {
            let own: &[&str] = if changes { &OF_CHANGES } else { &[] };
            for fault in OF_PROCESSES.iter().chain(&OF_COMMANDS).chain(own) {
                cells.extend([FIRST, LATER].map(|state| (*fault, step, state)));
            }
        }
        for call in CALLS {
            for fault in OF_PROCESSES.iter().chain(&OF_CALLS) {
                cells.push((*fault, call, "store"));
            }
        }
        cells
    }

    /// Adds what another run reached.
    pub fn merge(&mut self, other: &Coverage) {
        add(&mut self.faults, &other.faults);
        add(&mut self.reasons, &other.reasons);
        add(&mut self.states, &other.states);
        add(&mut self.happenings, &other.happenings);
        add(&mut self.totals, &other.totals);
    }

    pub(crate) fn fault(&mut self, fault: &'static str, step: &'static str, state: &'static str) {
        *self.faults.entry((fault, step, state)).or_default() += 1;
    }

    pub(crate) fn total(&mut self, what: &'static str) -> u64 {
        let count = self.totals.entry(what).or_default();
        *count += 1;
        *count
    }
}

fn add<K: Clone + Ord>(own: &mut BTreeMap<K, u64>, theirs: &BTreeMap<K, u64>) {
    for (key, count) in theirs {
        *own.entry(key.clone()).or_default() += count;
    }
}
