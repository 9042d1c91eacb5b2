//! `cargo xtask sim`: hands the arguments on to the simulator.

use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::process::{self, cargo};
use crate::{metadata, test};

/// So many seeds are run for every change.
const DAILY: u64 = 2000;

/// The seeds of the day: every day others. They have a clock of their own, so they can take what the tests beside them leave of the
/// processors. With the simulator as the tests have it: to build an optimised one takes longer
/// than so few seeds save by it.
pub(crate) fn daily() -> anyhow::Result<ExitCode> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let from = since.as_secs() / 86_400 * DAILY;
    process::run(test::command().args(["--workspace", "--no-run", "--quiet"]))?;
    let metadata = metadata::read(&["--no-deps"])?;
    let target = Path::new(metadata::text(&metadata, "target_directory")?);
    let program = target.join("debug/rollout-sim");
    let mut simulator = process::command("nice");
    simulator.args(["-n", "19"]).arg(program);
    end(simulator.args(["--seeds", &DAILY.to_string(), "--from", &from.to_string()]))
}

/// Builds it, optimised.
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<ExitCode> {
    let mut command = cargo();
    command.args([
        "run",
        "--quiet",
        "--locked",
        "--profile",
        "sim",
        "--package",
        "rollout-sim",
    ]);
    // Mistakes are in no other build.
    if arguments
        .iter()
        .any(|argument| argument == "--planted" || argument == "--without")
    {
        command.args(["--features", "planted"]);
    }
    end(command.arg("--").args(arguments))
}

fn end(command: &mut Command) -> anyhow::Result<ExitCode> {
    Ok(match command.status()?.success() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}
