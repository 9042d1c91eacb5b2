use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::names::Invalid;
use crate::planted::{Planted, planted};
use crate::policy::Percent;

/// Cumulative stage percentages: ascending, from 1 to 100, the last one 100.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<u32>", into = "Vec<u32>")]
pub struct StagePercents(Vec<u32>);

impl StagePercents {
    /// The percentages.
    #[must_use]
    pub fn percents(&self) -> &[u32] {
        &self.0
    }

    /// How many of `hosts` each stage has: the cumulative `ceil(n·p/100)` less what the stages before it hold. A stage
    /// may be empty.
    #[must_use]
    pub fn sizes(&self, hosts: u32) -> Vec<u32> {
        let mut before = 0;
        self.0
            .iter()
            .map(|percent| {
                let hundredths = u64::from(hosts) * u64::from(*percent);
                let upto = if planted(Planted::StageSizeRounded) {
                    (hundredths + 50) / 100
                } else {
                    hundredths.div_ceil(100)
                };
                let upto = u32::try_from(upto).expect("at most 100 % of a u32");
                let size = upto - before;
                before = upto;
                size
            })
            .collect()
    }
}

impl Default for StagePercents {
    fn default() -> Self {
        Self(vec![10, 50, 100])
    }
}

impl TryFrom<Vec<u32>> for StagePercents {
    type Error = Invalid;

    fn try_from(percents: Vec<u32>) -> Result<Self, Invalid> {
        let shown = percents
            .iter()
            .map(u32::to_string)
            .collect::<Vec<_>>()
            .join(",");
        let refuse = |why: &str| Err(Invalid::new("stages", &shown, why));
        if percents.len() > 100 {
            return refuse("has more than 100 stages");
        }
        if percents.first().is_none_or(|first| *first < 1) {
            return refuse("must start at 1 % or more");
        }
        if !percents.windows(2).all(|pair| pair[0] < pair[1]) {
            return refuse("must ascend: each stage larger than the one before");
        }
        if percents.last() != Some(&100) {
            return refuse("must end at 100");
        }
        Ok(Self(percents))
    }
}

impl From<StagePercents> for Vec<u32> {
    fn from(value: StagePercents) -> Self {
        value.0
    }
}

impl FromStr for StagePercents {
    type Err = Invalid;

    /// `10,50,100`, each with or without `%`.
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let parts: Result<Vec<u32>, Invalid> = text
            .split(',')
            .map(|part| part.trim().parse::<Percent>().map(u32::from))
            .collect();
        let parts = parts
            .map_err(|_| Invalid::new("stages", text, "must be percentages like 10,50,100"))?;
        Self::try_from(parts)
    }
}

impl fmt::Display for StagePercents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<String> = self.0.iter().map(u32::to_string).collect();
        f.write_str(&parts.join(","))
    }
}

/// What is known of one stage, as the gate sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GateCounts {
    /// Hosts of the stage in the plan.
    pub size: u32,
    /// Updated and proven on the target.
    pub good: u32,
    /// Rolled back or failed, for whatever reason.
    pub bad: u32,
    /// Were on the target already.
    pub unchanged: u32,
    /// Never started: removed or aborted.
    pub skipped: u32,
}

/// The gate's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Not all hosts have ended and halting isn't certain.
    Open,
    /// All ended, at most the threshold failed.
    Pass,
    /// More than the threshold failed, or will have failed whatever the rest does: no further host is started.
    Halt,
}

impl GateCounts {
    /// Judges the stage, in integers: halt when `bad·100 > threshold·den`, `den` = size − unchanged − skipped. Exactly the
    /// threshold goes on. `den` can only shrink, so a halt once certain stays certain.
    #[must_use]
    pub fn verdict(&self, threshold: Percent) -> Verdict {
        let settled = self.good + self.bad + self.unchanged + self.skipped;
        let denominator = self
            .size
            .saturating_sub(self.unchanged)
            .saturating_sub(self.skipped);
        let (bad, may) = (
            u64::from(self.bad) * 100,
            threshold.get() * u64::from(denominator),
        );
        let rounded = may.next_multiple_of(100);
        let may = if planted(Planted::GateRoundsUp) {
            rounded
        } else {
            may
        };
        if bad > may || (planted(Planted::GateAtThreshold) && bad == may && bad > 0) {
            Verdict::Halt
        } else if settled >= self.size {
            Verdict::Pass
        } else {
            Verdict::Open
        }
    }

    /// How many hosts of the stage may fail before it halts, if none turns out unchanged.
    #[must_use]
    pub fn may_fail(&self, threshold: Percent) -> u32 {
        let denominator = self
            .size
            .saturating_sub(self.unchanged)
            .saturating_sub(self.skipped);
        u32::try_from(u64::from(denominator) * threshold.get() / 100).expect("at most a u32")
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn stages_are_cumulative_and_rounded_up() {
        let stages = StagePercents::default();
        for (hosts, sizes) in [
            (1, [1, 0, 0]),
            (2, [1, 0, 1]),
            (3, [1, 1, 1]),
            (4, [1, 1, 2]),
            (5, [1, 2, 2]),
            (10, [1, 4, 5]),
            (11, [2, 4, 5]),
            (20, [2, 8, 10]),
            (99, [10, 40, 49]),
            (1000, [100, 400, 500]),
        ] {
            assert_eq!(stages.sizes(hosts), sizes, "{hosts} hosts");
        }
    }

    #[test]
    fn stages_that_make_no_sense_are_refused() {
        for bad in [
            "",
            "50",
            "100,50",
            "10,10,100",
            "0,100",
            "10,50,101",
            "10,,100",
            "x",
            "10;100",
            "-5,100",
            "10,50",
        ] {
            assert!(bad.parse::<StagePercents>().is_err(), "{bad:?}");
        }
        for good in ["100", "1,100", "10%,50%,100%", "10, 50, 100"] {
            assert!(good.parse::<StagePercents>().is_ok(), "{good:?}");
        }
    }

    #[test]
    fn every_fleet_size_up_to_2000_is_covered_exactly_once() {
        for percents in [
            "10,50,100",
            "100",
            "1,2,3,100",
            "33,66,99,100",
            "25,50,75,100",
        ] {
            let stages: StagePercents = percents.parse().unwrap();
            for hosts in 1..=2000_u32 {
                let sizes = stages.sizes(hosts);
                assert_eq!(sizes.iter().sum::<u32>(), hosts);
                assert!(sizes[0] >= 1);
                let mut upto = 0;
                for (size, percent) in sizes.iter().zip(stages.percents()) {
                    upto += size;
                    let exact = u64::from(hosts) * u64::from(*percent);
                    assert!(
                        u64::from(upto) * 100 >= exact && (u64::from(upto) * 100) < exact + 100
                    );
                }
            }
        }
    }

    #[test]
    fn the_gate_for_every_size_and_threshold() {
        for threshold in 0..=100_u32 {
            let percent = Percent::try_from(threshold).unwrap();
            for size in 1..=2000_u32 {
                // The smallest number of failures that halts, found by the definition in rationals.
                let may_fail = (size * threshold) / 100;
                let gate = |bad| GateCounts {
                    size,
                    bad,
                    good: size - bad,
                    ..GateCounts::default()
                };
                assert_eq!(
                    gate(may_fail).verdict(percent),
                    Verdict::Pass,
                    "{may_fail} of {size} at {threshold}"
                );
                if may_fail < size {
                    assert_eq!(
                        gate(may_fail + 1).verdict(percent),
                        Verdict::Halt,
                        "{} of {size} at {threshold}",
                        may_fail + 1
                    );
                }
                assert_eq!(gate(0).may_fail(percent), may_fail);
            }
        }
    }

    #[test]
    fn exactly_thirty_percent_goes_on() {
        let percent: Percent = "30%".parse().unwrap();
        let gate = |bad, size| GateCounts {
            size,
            bad,
            good: size - bad,
            ..GateCounts::default()
        };
        assert_eq!(gate(3, 10).verdict(percent), Verdict::Pass);
        assert_eq!(gate(4, 10).verdict(percent), Verdict::Halt);
        assert_eq!(gate(1, 3).verdict(percent), Verdict::Halt);
        let smallest: Vec<u32> = (1..=10)
            .map(|size| {
                (0..=size)
                    .find(|bad| gate(*bad, size).verdict(percent) == Verdict::Halt)
                    .unwrap()
            })
            .collect();
        assert_eq!(smallest, [1, 1, 1, 2, 2, 2, 3, 3, 3, 4]);
    }

    #[test]
    fn hosts_with_nothing_to_do_do_not_dilute_the_rate() {
        let percent: Percent = "30".parse().unwrap();
        let gate = GateCounts {
            size: 10,
            unchanged: 8,
            bad: 1,
            good: 1,
            skipped: 0,
        };
        assert_eq!(
            gate.verdict(percent),
            Verdict::Halt,
            "1 of the 2 that changed"
        );
        let idle = GateCounts {
            size: 10,
            unchanged: 9,
            skipped: 1,
            ..GateCounts::default()
        };
        assert_eq!(idle.verdict(percent), Verdict::Pass);
    }

    proptest! {
        /// Whatever order hosts end in: once it says halt it never takes that back, and it says so no later than needed.
        #[test]
        fn a_halt_is_certain_and_final(size in 1..200_u32, threshold in 0..=100_u32, ends in prop::collection::vec(0..4_u8, 200)) {
            let percent = Percent::try_from(threshold).unwrap();
            let mut gate = GateCounts { size, ..GateCounts::default() };
            let mut halted = false;
            for end in ends.iter().take(size as usize) {
                match end {
                    0 => gate.good += 1,
                    1 => gate.bad += 1,
                    2 => gate.unchanged += 1,
                    _ => gate.skipped += 1,
                }
                let verdict = gate.verdict(percent);
                prop_assert!(!halted || verdict == Verdict::Halt);
                halted |= verdict == Verdict::Halt;
            }
            prop_assert_ne!(gate.verdict(percent), Verdict::Open);
            let den = size - gate.unchanged - gate.skipped;
            prop_assert_eq!(halted, gate.bad * 100 > threshold * den);
        }
    }
}
