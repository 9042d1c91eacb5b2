//! `cargo xtask crashes`: the crash matrix of the built programs, whole or in part, and its table; with `--calls`, what
//! comes of it when the database fails at any one call.

use std::process::{Command, ExitCode};

use anyhow::{Context, bail};

use crate::process;

/// Which cells; see `bins/rollout-cli/tests/openssh/crashes`.
const CELLS_VARIABLE: &str = "ROLLOUT_TEST_CRASHES";
/// How many at once.
const JOBS_VARIABLE: &str = "ROLLOUT_TEST_CRASH_JOBS";
/// Which calls; see `crates/rollout-orchestrator/tests/integration/calls.rs`.
const CALLS_VARIABLE: &str = "ROLLOUT_TEST_CALLS";
/// Tells the tests that both programs were built with them.
const BUILT_VARIABLE: &str = "ROLLOUT_TEST_BUILT";
/// Both, so that they are built with the same features.
const PROGRAMS: [&str; 4] = ["-p", "rollout-cli", "-p", "rollout-server"];

pub(crate) fn run(arguments: &[String]) -> anyhow::Result<ExitCode> {
    let options = Options::parse(arguments)?;
    if options.calls {
        return run_calls();
    }
    // A test of each program's package, for those bring the programs with them.
    let mut build = test();
    build.args(PROGRAMS).args(["--no-run", "-q"]);
    build.args(["--test", "openssh", "--test", "browser"]);
    if !build.status()?.success() {
        return Ok(ExitCode::FAILURE);
    }
    let mut command = test();
    command.args(PROGRAMS);
    command.args(["--test", "openssh", "--", "crashes::", "--nocapture"]);
    command.env(BUILT_VARIABLE, "both");
    command.env(CELLS_VARIABLE, options.cells);
    if let Some(jobs) = options.jobs {
        command.env(JOBS_VARIABLE, jobs);
    }
    end(&mut command)
}

fn run_calls() -> anyhow::Result<ExitCode> {
    let mut command = test();
    command.args(["-p", "rollout-orchestrator", "--test", "integration"]);
    command.args(["--", "calls::", "--nocapture"]);
    end(command.env(CALLS_VARIABLE, "all"))
}

fn test() -> Command {
    let mut command = process::cargo();
    command.args(["test", "--locked", "--all-features"]);
    command
}

fn end(command: &mut Command) -> anyhow::Result<ExitCode> {
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
    /// Each call of the store, instead of cells.
    calls: bool,
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
                "--calls" => options.calls = true,
                "--all" => "all".clone_into(&mut options.cells),
                "--slice" | "--cells" => options.cells.clone_from(value()?),
                "--jobs" => options.jobs = Some(value()?.parse::<usize>()?.to_string()),
                _ => bail!("crashes knows --all, --slice K/8, --cells WORDS, --jobs N and --calls"),
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
            let calls = text == "--calls";
            let expected = Options { cells, jobs, calls };
            assert_eq!(parse(text).unwrap(), expected, "{text}");
        };
        check("--calls", "", None);
        check("", "", None);
        check("--all --jobs 6", "all", Some("6"));
        check("--slice 3/8", "3/8", None);
        check("--cells stop", "stop", None);
        for wrong in ["all", "--slice", "--jobs many"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
