//! The command line.

use rollout_sim::Options;

pub(crate) const USAGE: &str = "\
rollout-sim [--seeds N] [--from F] [--threads T] [--twice EVERY]   seeds F to F+N-1
rollout-sim --seed S [--lines L]                                   one seed, with the end of its trace
rollout-sim --planted [--seeds N] [--from F]                       every planted mistake, until it is found
rollout-sim --without fencing|epochs|MISTAKE [--seeds N]           seeds with one rule taken out: it must fail";

#[derive(Clone, Debug)]
pub(crate) struct Arguments {
    pub(crate) seeds: u64,
    pub(crate) from: u64,
    pub(crate) seed: Option<u64>,
    pub(crate) threads: usize,
    /// Every so-manieth seed is run again and compared; 0 for none.
    pub(crate) twice: u64,
    pub(crate) lines: usize,
    pub(crate) loud: bool,
    pub(crate) planted: bool,
    /// The rule that is taken out.
    pub(crate) without: Option<String>,
}

impl Arguments {
    pub(crate) fn parse(arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let mut parsed = Self {
            seeds: 1000,
            from: 0,
            seed: None,
            threads: cores,
            twice: 20,
            lines: 60,
            loud: false,
            planted: false,
            without: None,
        };
        let mut rest = arguments;
        while let Some(name) = rest.next() {
            if name == "--loud" {
                parsed.loud = true;
                continue;
            }
            if name == "--planted" {
                parsed.planted = true;
                continue;
            }
            let value = rest
                .next()
                .ok_or_else(|| format!("{name} needs a value, or is not known"))?;
            if name == "--without" {
                parsed.without = Some(value);
                continue;
            }
            let number: u64 = value
                .parse()
                .map_err(|_| format!("{name}: {value} is not a number"))?;
            let small = usize::try_from(number).map_err(|_| format!("{name}: too large"))?;
            match name.as_str() {
                "--seeds" => parsed.seeds = number,
                "--from" => parsed.from = number,
                "--seed" => parsed.seed = Some(number),
                "--threads" => parsed.threads = small.max(1),
                "--twice" => parsed.twice = number,
                "--lines" => parsed.lines = small,
                _ => return Err(format!("{name} is not known")),
            }
        }
        Ok(parsed)
    }

    /// How every seed is run.
    #[cfg(not(feature = "planted"))]
    pub(crate) fn options(&self) -> Options {
        Options::default()
    }

    /// How every seed is run.
    #[cfg(feature = "planted")]
    pub(crate) fn options(&self) -> Options {
        Options {
            planted: self.without.as_deref().and_then(mistake),
            ..Options::default()
        }
    }

    /// Why the rule that is to be taken out cannot be.
    pub(crate) fn misunderstood(&self) -> Option<String> {
        let rule = self.without.as_deref()?;
        #[cfg(feature = "planted")]
        if mistake(rule).is_some() {
            return None;
        }
        Some(format!("--without {rule} is not known in this build"))
    }
}

#[cfg(feature = "planted")]
fn mistake(name: &str) -> Option<fleet_types::Planted> {
    use fleet_types::Planted;
    match name {
        "fencing" => Some(Planted::NoHostLock),
        "epochs" => Some(Planted::OldEpochs),
        _ => Planted::ALL
            .iter()
            .copied()
            .find(|mistake| format!("{mistake:?}") == name),
    }
}
