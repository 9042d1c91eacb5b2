//! Which hosts are broken, and what must come of it. Pure: the same numbers always give the same demo.

use std::collections::BTreeSet;

use fleet_types::view::{Host, Rollout};
use fleet_types::{AttemptStatus, GateCounts, Percent, Policy, RolloutState, Verdict};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

/// The name of a host by its number from 0.
pub(super) fn name(number: usize, width: usize) -> String {
    format!("demo-{:0width$}", number + 1)
}

/// What the demo announces and then has to show.
#[derive(Clone, Debug)]
pub struct Script {
    hosts: u32,
    seed: u64,
    /// Broken hosts by stage, the first stage first.
    stages: Vec<Stage>,
}

#[derive(Clone, Debug)]
struct Stage {
    hosts: Vec<String>,
    broken: BTreeSet<String>,
}

impl Stage {
    fn verdict(&self, bad: usize) -> Verdict {
        let size = u32::try_from(self.hosts.len()).unwrap_or(u32::MAX);
        let bad = u32::try_from(bad).unwrap_or(u32::MAX);
        let gate = GateCounts {
            size,
            bad,
            good: size - bad.min(size),
            ..GateCounts::default()
        };
        gate.verdict(threshold())
    }

    /// The fewest broken hosts that halt here; none when even all do not.
    fn fatal(&self) -> Option<usize> {
        (0..=self.hosts.len()).find(|bad| self.verdict(*bad) == Verdict::Halt)
    }

    fn healthy(&self) -> usize {
        self.hosts.len() - self.broken.len()
    }

    fn break_some(&mut self, count: usize, random: &mut StdRng) -> usize {
        let mut healthy: Vec<&String> = self
            .hosts
            .iter()
            .filter(|host| !self.broken.contains(*host))
            .collect();
        healthy.shuffle(random);
        let chosen: Vec<String> = healthy.into_iter().take(count).cloned().collect();
        self.broken.extend(chosen.iter().cloned());
        chosen.len()
    }
}

fn threshold() -> Percent {
    Policy::default().max_failure_percent
}

impl Script {
    /// Without a share: one broken host, after stage 1. With one: as many broken hosts, placed so that the rollout halts
    /// by stage 2; more than that share when it would not be enough to halt anything.
    #[must_use]
    pub fn new(hosts: u32, share: Option<Percent>, seed: u64) -> Self {
        let mut script = Self {
            hosts,
            seed,
            stages: stages(hosts),
        };
        let mut random = StdRng::seed_from_u64(seed);
        match share {
            None => script.break_one(&mut random),
            Some(share) if share.get() == 0 => {}
            Some(share) => {
                let count = (u64::from(hosts) * share.get()).div_ceil(100);
                script.break_share(usize::try_from(count).unwrap_or(usize::MAX), &mut random);
            }
        }
        script
    }

    /// A host after stage 1, where one failure is allowed if there is such a stage.
    fn break_one(&mut self, random: &mut StdRng) {
        let later = self.stages.get_mut(1..).unwrap_or_default();
        let allowed = later.iter().any(|stage| stage.verdict(1) != Verdict::Halt);
        let mut fitting: Vec<&mut Stage> = later
            .iter_mut()
            .filter(|stage| !allowed || stage.verdict(1) != Verdict::Halt)
            .collect();
        fitting.shuffle(random);
        if let Some(stage) = fitting.into_iter().next() {
            stage.break_some(1, random);
        }
    }

    /// Stage 1 stays whole when the second can halt by itself: that shows more.
    fn break_share(&mut self, count: usize, random: &mut StdRng) {
        let fatal = |stage: Option<&Stage>| stage.and_then(Stage::fatal);
        let (first, second) = (fatal(self.stages.first()), fatal(self.stages.get(1)));
        let (at, needed) = match (first, second) {
            (_, Some(second)) if count >= second => (1, second),
            (Some(first), Some(second)) if second < first => (1, second),
            (Some(first), _) => (0, first),
            (None, Some(second)) => (1, second),
            (None, None) => return,
        };
        let mut left = count.max(needed);
        // The share itself where the rollout halts, the rest in the stages that it will not come to.
        let size = self.stages[at].hosts.len();
        let fair = (size * count)
            .div_ceil(self.hosts.max(1) as usize)
            .clamp(needed, size.max(needed));
        left -= self.stages[at].break_some(fair.min(left), random);
        for stage in self.stages.iter_mut().skip(at + 1) {
            let room = stage.healthy();
            left -= stage.break_some(left.min(room), random);
        }
        for stage in self.stages.iter_mut().rev() {
            left -= stage.break_some(left, random);
        }
    }

    /// How many hosts.
    pub fn hosts(&self) -> u32 {
        self.hosts
    }

    /// The number that everything follows from.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The broken hosts.
    pub fn broken(&self) -> BTreeSet<String> {
        self.stages
            .iter()
            .flat_map(|stage| stage.broken.iter().cloned())
            .collect()
    }

    /// The stage that halts, from 1.
    fn halting_stage(&self) -> Option<usize> {
        let halts = |stage: &Stage| stage.verdict(stage.broken.len()) == Verdict::Halt;
        self.stages.iter().position(halts).map(|at| at + 1)
    }

    /// Whether the rollout halts.
    pub fn halts(&self) -> bool {
        self.halting_stage().is_some()
    }

    /// What is wrong with the release.
    pub fn breakage(&self) -> String {
        let where_broken = |(at, stage): (usize, &Stage)| {
            let names: Vec<&str> = stage.broken.iter().map(String::as_str).collect();
            match names.as_slice() {
                [] => None,
                [name] => Some(format!("{name} (stage {})", at + 1)),
                names if names.len() <= 2 => {
                    Some(format!("{} (stage {})", names.join(", "), at + 1))
                }
                names => Some(format!("{} hosts of stage {}", names.len(), at + 1)),
            }
        };
        let parts: Vec<String> = self
            .stages
            .iter()
            .enumerate()
            .filter_map(where_broken)
            .collect();
        if parts.is_empty() {
            return "it is good everywhere".to_owned();
        }
        format!("its service crash-loops on {}", parts.join(" and "))
    }

    /// What must come of it.
    pub fn expectation(&self) -> String {
        let Some(stage) = self.halting_stage() else {
            let broken = self.broken();
            let updated = self.hosts as usize - broken.len();
            return match broken.first() {
                None => format!("all {updated} updated"),
                Some(name) if broken.len() == 1 => {
                    format!("{updated} updated, {name} taken back to the release before")
                }
                Some(_) => format!("{updated} updated, {} taken back", broken.len()),
            };
        };
        let later: usize = self
            .stages
            .iter()
            .skip(stage)
            .map(|stage| stage.hosts.len())
            .sum();
        let first = if stage > 1 { "stage 1 passes, " } else { "" };
        format!("{first}stage {stage} halts, {later} later hosts are never touched")
    }

    /// What differs between the announcement and what is on record.
    pub fn differences(&self, rollout: &Rollout, hosts: &[Host]) -> Vec<String> {
        let mut differences = Vec::new();
        let halting = self.halting_stage();
        let state = match (halting, self.broken().is_empty()) {
            (Some(_), _) => RolloutState::Halted,
            (None, true) => RolloutState::Completed,
            (None, false) => RolloutState::CompletedWithFailures,
        };
        if rollout.state != state {
            differences.push(format!("the rollout is {}, not {state}", rollout.state));
        }
        if halting.is_some_and(|stage| rollout.stage as usize != stage) {
            differences.push(format!("it ended in stage {}", rollout.stage));
        }
        for (at, stage) in self.stages.iter().enumerate() {
            for name in &stage.hosts {
                let status = hosts
                    .iter()
                    .find(|host| host.name == *name)
                    .and_then(|host| host.update_status);
                if !self.allows(at + 1, stage.broken.contains(name), status) {
                    let status = status.map_or("not there", AttemptStatus::as_str);
                    differences.push(format!("{name} is {status}"));
                }
            }
        }
        differences
    }

    /// Whether this is what may have become of a host. In the stage that halts, hosts may have had no turn.
    fn allows(&self, stage: usize, broken: bool, status: Option<AttemptStatus>) -> bool {
        let ended = if broken {
            AttemptStatus::RolledBack
        } else {
            AttemptStatus::Success
        };
        match self.halting_stage() {
            Some(halting) if stage > halting => status == Some(AttemptStatus::Skipped),
            Some(halting) if stage == halting => {
                status == Some(ended) || status == Some(AttemptStatus::Skipped)
            }
            _ => status == Some(ended),
        }
    }
}

/// The stages of the default policy that have hosts, by name.
fn stages(hosts: u32) -> Vec<Stage> {
    let width = hosts.to_string().len().max(2);
    let mut names = (0..hosts as usize).map(|number| name(number, width));
    let sizes = Policy::default().stages.sizes(hosts);
    let stage = |size: u32| Stage {
        hosts: names.by_ref().take(size as usize).collect(),
        broken: BTreeSet::new(),
    };
    sizes
        .into_iter()
        .filter(|size| *size > 0)
        .map(stage)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_broken_host_is_never_in_stage_one_and_does_not_halt_twenty() {
        for hosts in 1..=200 {
            for seed in 0..5 {
                let script = Script::new(hosts, None, seed);
                assert!(script.stages[0].broken.is_empty(), "{hosts} hosts");
                assert_eq!(
                    script.broken().len(),
                    usize::from(hosts > 1),
                    "{hosts} hosts"
                );
                if hosts >= 8 {
                    assert!(!script.halts(), "{hosts} hosts");
                }
            }
        }
    }

    #[test]
    fn any_share_halts_by_stage_two() {
        for hosts in [1, 2, 3, 5, 10, 20, 99, 100, 500] {
            for share in [1, 5, 10, 40, 60, 99, 100] {
                let percent = Percent::try_from(share).ok();
                let script = Script::new(hosts, percent, 7);
                assert!(
                    matches!(script.halting_stage(), Some(1 | 2)),
                    "{hosts} hosts, {share} %"
                );
                let asked = (hosts * share).div_ceil(100) as usize;
                assert!(script.broken().len() >= asked, "{hosts} hosts, {share} %");
                assert!(script.broken().len() <= hosts as usize);
            }
        }
        let script = Script::new(20, Percent::try_from(40).ok(), 7);
        assert_eq!(
            (script.broken().len(), script.halting_stage()),
            (8, Some(2))
        );
        assert!(!Script::new(20, Percent::try_from(0).ok(), 7).halts());
    }

    #[test]
    fn the_same_seed_gives_the_same_demo() {
        let broken = |seed| Script::new(20, None, seed).broken();
        assert_eq!(broken(3), broken(3));
        assert!((0..20).any(|seed| broken(seed) != broken(3)));
    }
}
