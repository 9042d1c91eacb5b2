//! The command line.

pub(crate) const USAGE: &str = "\
rollout-sim [--seeds N] [--from F] [--threads T] [--twice EVERY]   seeds F to F+N-1
rollout-sim --seed S [--lines L]                                   one seed, with the end of its trace
rollout-sim --planted [--seeds N] [--from F]                       every planted mistake, until it is found";

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
}
