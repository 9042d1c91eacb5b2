use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::gate::StagePercents;
use crate::names::Invalid;

/// A whole percentage, 0 to 100.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct Percent(u8);

impl Percent {
    /// The number.
    #[must_use]
    pub fn get(self) -> u64 {
        u64::from(self.0)
    }
}

impl TryFrom<u32> for Percent {
    type Error = Invalid;

    fn try_from(value: u32) -> Result<Self, Invalid> {
        u8::try_from(value)
            .ok()
            .filter(|p| *p <= 100)
            .map(Self)
            .ok_or_else(|| {
                Invalid::new(
                    "percentage",
                    &value.to_string(),
                    "must be a whole number from 0 to 100",
                )
            })
    }
}

impl From<Percent> for u32 {
    fn from(value: Percent) -> u32 {
        u32::from(value.0)
    }
}

impl FromStr for Percent {
    type Err = Invalid;

    /// `30` or `30%`.
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let digits = text.strip_suffix('%').unwrap_or(text);
        let plain =
            !digits.is_empty() && digits.len() <= 3 && digits.bytes().all(|b| b.is_ascii_digit());
        plain
            .then(|| digits.parse::<u32>().ok())
            .flatten()
            .and_then(|value| Self::try_from(value).ok())
            .ok_or_else(|| {
                Invalid::new(
                    "percentage",
                    text,
                    "must be a whole number from 0 to 100, with or without %",
                )
            })
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.0)
    }
}

/// In which order the hosts of a rollout have their turn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HostOrder {
    /// By name.
    #[default]
    Name,
    /// Shuffled by this seed, which is kept, so that the first stage isn't always the same hosts.
    Random(u64),
}

/// How a rollout goes about it. Frozen at the trigger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// Cumulative percentages, ascending, ending at 100.
    pub stages: StagePercents,
    /// A stage halts the rollout when *more* than this share of it fails.
    pub max_failure_percent: Percent,
    /// SSH connections open at once for this rollout, over all processes on the store; at least 1.
    pub concurrency: u32,
    /// Hosts in `updating` at once, those in their settle wait included; at least 1.
    pub max_in_flight: u32,
    /// How long a restarted service is watched before it is judged.
    #[serde(with = "seconds", rename = "settle_seconds")]
    pub settle: Duration,
    /// Order of the hosts.
    pub order: HostOrder,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            stages: StagePercents::default(),
            max_failure_percent: Percent(30),
            concurrency: 5,
            max_in_flight: 20,
            settle: Duration::from_secs(5),
            order: HostOrder::Name,
        }
    }
}

impl Policy {
    /// Refuses what would run nothing, or more than anyone means.
    pub fn check(&self) -> Result<(), Invalid> {
        let range = |what, value: u32, most: u32| {
            if (1..=most).contains(&value) {
                Ok(())
            } else {
                Err(Invalid::new(
                    what,
                    &value.to_string(),
                    format!("must be from 1 to {most}"),
                ))
            }
        };
        range("concurrency", self.concurrency, 10_000)?;
        range("max-in-flight", self.max_in_flight, 100_000)?;
        if self.settle > Duration::from_secs(3600) {
            return Err(Invalid::new(
                "settle",
                &format!("{:?}", self.settle),
                "must be at most one hour",
            ));
        }
        Ok(())
    }
}

pub(crate) mod seconds {
    //! Durations as seconds with a fraction.
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(
        value: &Duration,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(value.as_secs_f64())
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Duration, D::Error> {
        let value = f64::deserialize(deserializer)?;
        Duration::try_from_secs_f64(value).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::Percent;

    #[test]
    fn a_threshold_that_does_not_parse_is_refused() {
        for bad in [
            "",
            "%",
            "-1",
            "101",
            "30.5",
            "1e1",
            "+3",
            " 30",
            "30 %",
            "0x1",
            "9999999999",
        ] {
            assert!(bad.parse::<Percent>().is_err(), "{bad:?}");
        }
        for (good, value) in [("0", 0), ("30%", 30), ("100", 100), ("007", 7)] {
            assert_eq!(good.parse::<Percent>().map(Percent::get), Ok(value));
        }
    }
}
