//! Which hosts, in which order, in which stages. Pure: the same fleet and request always give the same plan.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt::Write as _;

use fleet_store::{Actor, HostRecord, NewRollout, PlannedHost, StoreError};
use fleet_types::{
    GateCounts, HostName, HostOrder, Invalid, Policy, RolloutId, RolloutKind, RolloutState,
    Selection, TargetRef, view,
};

use crate::endpoint::EndpointError;

/// What a person asks for.
#[derive(Clone, Debug)]
pub struct PlanRequest {
    /// Which hosts.
    pub selection: Selection,
    /// Where to; none means the branch that the hosts follow.
    pub to: Option<TargetRef>,
    /// How.
    pub policy: Policy,
    /// What they say about it.
    pub message: Option<String>,
    /// Who asks.
    pub actor: Actor,
    /// Start although the commit halted a rollout before.
    pub force: bool,
}

/// What would be done: to show, and to hand to [`Orchestrator::trigger`](crate::Orchestrator::trigger).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// What is frozen.
    pub rollout: NewRollout,
    /// Its hosts as they are in the inventory now, in the order of their turn.
    pub hosts: Vec<HostRecord>,
    /// Its stages; those without hosts are left out.
    pub stages: Vec<PlannedStage>,
    /// Hosts that a retry or rollback would have taken in, but which are no longer in the fleet.
    pub gone: Vec<HostName>,
}

impl Plan {
    /// The plan as people and programs see it.
    #[must_use]
    pub fn view(&self) -> view::Plan {
        let policy = &self.rollout.policy;
        view::Plan {
            kind: self.rollout.kind,
            target: view::Target {
                version: self.rollout.target.clone().map(String::from),
                reference: self.rollout.target_ref.clone(),
            },
            policy: view::PolicyView {
                stages: policy.stages.percents().to_vec(),
                max_failure_percent: policy.max_failure_percent.into(),
                concurrency: policy.concurrency,
                max_in_flight: policy.max_in_flight,
                settle_seconds: policy.settle.as_secs_f64(),
            },
            seed: self.seed(),
            hosts: count(self.hosts.len()),
            stages: self.stages.iter().map(PlannedStage::view).collect(),
            gone: self.gone.iter().map(ToString::to_string).collect(),
            versions: self.versions(),
        }
    }

    /// What a random order was drawn by, as it is shown and sent back.
    #[must_use]
    pub fn seed(&self) -> Option<String> {
        match self.rollout.policy.order {
            HostOrder::Name => None,
            HostOrder::Random(seed) => Some(seed.to_string()),
        }
    }

    /// What its hosts run as last seen, most first.
    fn versions(&self) -> Vec<view::VersionCount> {
        let mut counts = BTreeMap::<Option<&str>, u32>::new();
        for host in &self.hosts {
            let version = host
                .current_version
                .as_ref()
                .map(|version| version.as_str());
            *counts.entry(version).or_default() += 1;
        }
        let mut counts: Vec<_> = counts.into_iter().collect();
        counts.sort_by_key(|(version, hosts)| (Reverse(*hosts), *version));
        let shown = |(version, hosts): (Option<&str>, u32)| view::VersionCount {
            version: version.map(str::to_owned),
            hosts,
        };
        counts.into_iter().map(shown).collect()
    }
}

impl PlannedStage {
    fn view(&self) -> view::PlannedStage {
        view::PlannedStage {
            index: self.index,
            percent: self.percent,
            hosts: self.hosts.iter().map(ToString::to_string).collect(),
            may_fail: self.may_fail,
        }
    }
}

fn count(hosts: usize) -> u32 {
    u32::try_from(hosts).unwrap_or(u32::MAX)
}

/// One stage of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedStage {
    /// From 1.
    pub index: u32,
    /// Cumulative percentage.
    pub percent: u32,
    /// Its hosts, in the order of their turn.
    pub hosts: Vec<HostName>,
    /// How many may fail; one more halts.
    pub may_fail: u32,
}

/// Why there is no plan. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// The fleet has no hosts.
    #[error("there are no hosts in the fleet")]
    EmptyFleet,
    /// Words of the selection that mean no host, so most likely misspelt.
    #[error("no host matches {}", quoted(words))]
    UnknownWords {
        /// Each as given.
        words: Vec<String>,
    },
    /// Every word means a host, but together they leave none.
    #[error("the selection leaves no host")]
    NothingSelected,
    /// The hosts follow different branches or remotes.
    #[error(
        "hosts of one rollout share one remote and branch; these differ: {}",
        groups(followed)
    )]
    DifferentBranches {
        /// `remote/branch`, and the hosts that follow it.
        followed: BTreeMap<String, Vec<HostName>>,
    },
    /// A host cannot even be tried.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// A value of the policy is not allowed.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// No such rollout.
    #[error("there is no rollout {id}")]
    UnknownRollout {
        /// As asked for.
        id: RolloutId,
    },
    /// The rollout to retry or take back is not over.
    #[error("rollout {id} is {state}; it can be retried or taken back once it is over")]
    NotOver {
        /// Which.
        id: RolloutId,
        /// Its state.
        state: RolloutState,
    },
    /// The rollout leaves nothing to retry or to take back.
    #[error("rollout {id} has no host to {what}")]
    NothingLeft {
        /// Which.
        id: RolloutId,
        /// `retry` or `take back`.
        what: &'static str,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Plans an update of a fleet.
pub(crate) fn plan_update(
    fleet: Vec<HostRecord>,
    request: &PlanRequest,
) -> Result<Plan, PlanError> {
    request.policy.check()?;
    let chosen = choose(fleet, &request.selection)?;
    let followed = followed_branch(&chosen)?;
    let target = request.to.clone().unwrap_or(followed);
    let hosts = arrange(chosen, request.policy.order);
    let rollout = NewRollout {
        kind: RolloutKind::Update,
        hosts: hosts
            .iter()
            .map(|host| PlannedHost {
                host: host.id,
                from: None,
                to: None,
            })
            .collect(),
        // A commit given in full is looked for as well, so that a misspelt one is refused before any host is touched.
        target: None,
        target_ref: target.to_string(),
        policy: request.policy.clone(),
        source: None,
        actor: request.actor.clone(),
        message: request.message.clone(),
        force: request.force,
        request: None,
    };
    let stages = cut(&hosts, &request.policy);
    Ok(Plan {
        rollout,
        hosts,
        stages,
        gone: Vec::new(),
    })
}

fn choose(fleet: Vec<HostRecord>, selection: &Selection) -> Result<Vec<HostRecord>, PlanError> {
    if fleet.is_empty() {
        return Err(PlanError::EmptyFleet);
    }
    let words = selection.without_hit(fleet.iter().map(|host| (host.name.as_str(), &host.labels)));
    if !words.is_empty() {
        return Err(PlanError::UnknownWords {
            words: words.into_iter().map(str::to_owned).collect(),
        });
    }
    let chosen: Vec<HostRecord> = fleet
        .into_iter()
        .filter(|host| selection.matches(host.name.as_str(), &host.labels))
        .collect();
    if chosen.is_empty() {
        Err(PlanError::NothingSelected)
    } else {
        Ok(chosen)
    }
}

/// The one branch that all of these hosts follow.
pub(crate) fn followed_branch(hosts: &[HostRecord]) -> Result<TargetRef, PlanError> {
    let mut followed: BTreeMap<String, Vec<HostName>> = BTreeMap::new();
    for host in hosts {
        let app = &host.spec.app;
        followed
            .entry(format!("{}/{}", app.remote, app.branch))
            .or_default()
            .push(host.name.clone());
    }
    match hosts.first() {
        Some(first) if followed.len() == 1 => Ok(TargetRef::Branch(first.spec.app.branch.clone())),
        Some(_) => Err(PlanError::DifferentBranches { followed }),
        None => Err(PlanError::NothingSelected),
    }
}

/// Puts the hosts in the order of their turn. A random order depends on names and seed alone.
pub(crate) fn arrange(mut hosts: Vec<HostRecord>, order: HostOrder) -> Vec<HostRecord> {
    hosts.sort_by(|a, b| a.name.cmp(&b.name));
    if let HostOrder::Random(seed) = order {
        shuffle(&mut hosts, seed);
    }
    hosts
}

/// Cuts the stages, as the store will when it freezes the plan.
pub(crate) fn cut(hosts: &[HostRecord], policy: &Policy) -> Vec<PlannedStage> {
    let count = u32::try_from(hosts.len()).unwrap_or(u32::MAX);
    let sizes = policy.stages.sizes(count);
    let mut rest = hosts;
    let mut stages = Vec::new();
    for (size, percent) in sizes
        .into_iter()
        .zip(policy.stages.percents())
        .filter(|(size, _)| *size > 0)
    {
        let (now, later) = rest.split_at((size as usize).min(rest.len()));
        rest = later;
        let gate = GateCounts {
            size,
            ..GateCounts::default()
        };
        stages.push(PlannedStage {
            index: u32::try_from(stages.len() + 1).unwrap_or(u32::MAX),
            percent: *percent,
            hosts: now.iter().map(|host| host.name.clone()).collect(),
            may_fail: gate.may_fail(policy.max_failure_percent),
        });
    }
    stages
}

/// Fisher and Yates, from the last place to the first.
fn shuffle<T>(items: &mut [T], seed: u64) {
    let mut random = SplitMix64(seed);
    for last in (1..items.len()).rev() {
        items.swap(last, random.below(last as u64 + 1));
    }
}

/// Steele, Lea and Flood's SplitMix64: a seed gives the same order on every machine and in every version.
struct SplitMix64(u64);

impl SplitMix64 {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A place below `bound`, each equally likely: numbers of the last, incomplete round are drawn again.
    fn below(&mut self, bound: u64) -> usize {
        let complete = u64::MAX - u64::MAX % bound;
        loop {
            let drawn = self.next();
            if drawn < complete {
                return usize::try_from(drawn % bound).unwrap_or(0);
            }
        }
    }
}

fn quoted(words: &[String]) -> String {
    words
        .iter()
        .map(|word| format!("{word:?}"))
        .collect::<Vec<_>>()
        .join(", ")
}

fn groups(followed: &BTreeMap<String, Vec<HostName>>) -> String {
    let mut text = String::new();
    for (branch, hosts) in followed {
        let some: Vec<&str> = hosts.iter().take(3).map(HostName::as_str).collect();
        let more = if hosts.len() > some.len() {
            ", …"
        } else {
            ""
        };
        let comma = if text.is_empty() { "" } else { "; " };
        let _ = write!(
            text,
            "{comma}{branch} ({}: {}{more})",
            hosts.len(),
            some.join(", ")
        );
    }
    text
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
pub(crate) mod tests;
