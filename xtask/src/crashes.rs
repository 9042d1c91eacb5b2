//! `cargo xtask crashes`: the crash matrix of the command line, whole or in part, and its table.

use std::process::ExitCode;

use anyhow::{Context, bail};

use crate::process;

/// Which cells; see `bins/rollout-cli/tests/openssh/crashes`.
const CELLS_VARIABLE: &str = "ROLLOUT_TEST_CRASHES";
/// How many at once.
const JOBS_VARIABLE: &str = "ROLLOUT_TEST_CRASH_JOBS";

pub(crate) fn run(arguments: &[String]) -> anyhow::Result<ExitCode> {
    let options = Options::parse(arguments)?;
    let mut command = process::cargo();
    command.args(["test", "--locked", "--all-features", "-p", "rollout-cli"]);
    command.args(["--test", "openssh", "--", "crashes::", "--nocapture"]);
    command.env(CELLS_VARIABLE, options.cells);
    if let Some(jobs) = options.jobs {
        command.env(JOBS_VARIABLE, jobs);
    }
    Ok(match command.status()?.success() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Options {
    /// Empty for the slice of the day.
    cells: String,
    jobs: Option<String>,
}

impl Options {
    fn parse(arguments: &[String]) -> anyhow::Result<Self> {
        let mut options = Self::default();
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            let mut value = || {
                rest.next()
                    .with_context(|| format!("{argument} needs a value"))
            };
            match argument.as_str() {
                "--all" => "all".clone_into(&mut options.cells),
                "--slice" | "--cells" => options.cells.clone_from(value()?),
                "--jobs" => options.jobs = Some(value()?.parse::<usize>()?.to_string()),
                _ => bail!("crashes knows --all, --slice K/8, --cells WORDS and --jobs N"),
            }
        }
        Ok(options)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::Options;

    #[test]
    fn what_can_be_said() {
        let parse = |text: &str| {
            let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
            Options::parse(&words)
        };
        let check = |text: &str, cells: &str, jobs: Option<&str>| {
            let jobs = jobs.map(str::to_owned);
            let cells = cells.to_owned();
            assert_eq!(parse(text).unwrap(), Options { cells, jobs }, "{text}");
        };
        check("", "", None);
        check("--all --jobs 6", "all", Some("6"));
        check("--slice 3/8", "3/8", None);
        check("--cells stop", "stop", None);
        for wrong in ["all", "--slice", "--jobs many"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
