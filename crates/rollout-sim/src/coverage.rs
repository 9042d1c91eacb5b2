//! What was reached: which fault met which step in which state, and how attempts ended.

use std::collections::BTreeMap;

/// Counts, over one run or many.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    /// How often each fault met each step in each state.
    pub faults: BTreeMap<(String, String, String), u64>,
    /// How attempts ended: status and reason.
    pub reasons: BTreeMap<String, u64>,
    /// How rollouts ended.
    pub states: BTreeMap<String, u64>,
    /// What happened from outside.
    pub happenings: BTreeMap<String, u64>,
    /// Hosts, processes, commands, calls of the store, and the like.
    pub totals: BTreeMap<String, u64>,
}

impl Coverage {
    /// Adds what another run reached.
    pub fn merge(&mut self, other: &Coverage) {
        for (key, count) in &other.faults {
            *self.faults.entry(key.clone()).or_default() += count;
        }
        let pairs = [
            (&mut self.reasons, &other.reasons),
            (&mut self.states, &other.states),
            (&mut self.happenings, &other.happenings),
            (&mut self.totals, &other.totals),
        ];
        for (own, theirs) in pairs {
            for (key, count) in theirs {
                *own.entry(key.clone()).or_default() += count;
            }
        }
    }

    pub(crate) fn fault(&mut self, fault: &str, step: &str, state: &str) {
        let key = (fault.to_owned(), step.to_owned(), state.to_owned());
        *self.faults.entry(key).or_default() += 1;
    }

    pub(crate) fn total(&mut self, what: &str) -> u64 {
        let count = self.totals.entry(what.to_owned()).or_default();
        *count += 1;
        *count
    }
}
