//! What processes say of hosts that they leave to others.

use fleet_types::{HostName, view};
use serde::{Deserialize, Serialize};

/// So many hosts are named.
const NAMED: usize = 10;

/// Hosts that a worker leaves to others, because it cannot load their credential. Why not is for its log: it may name files
/// of its machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftToOthers {
    /// How many.
    pub hosts: u32,
    /// The first of them by name; ten at most.
    pub first: Vec<HostName>,
}

impl LeftToOthers {
    /// Of a bounded size however many hosts there are; none when there are none.
    #[must_use]
    pub fn of(hosts: impl IntoIterator<Item = HostName>) -> Option<Self> {
        let mut hosts: Vec<HostName> = hosts.into_iter().collect();
        hosts.sort();
        let count = u32::try_from(hosts.len()).unwrap_or(u32::MAX);
        hosts.truncate(NAMED);
        (count > 0).then_some(Self {
            hosts: count,
            first: hosts,
        })
    }

    pub(crate) fn shown(self, process: &str) -> view::LeftToOthers {
        view::LeftToOthers {
            process: process.to_owned(),
            hosts: self.hosts,
            first: self.first.iter().map(ToString::to_string).collect(),
        }
    }
}
