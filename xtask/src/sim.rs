//! `cargo xtask sim`: hands the arguments on to the simulator.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;

use crate::process::{self, cargo};
use crate::{metadata, test};

/// So many seeds are run for every change.
const DAILY: u64 = 2000;

/// The seeds of the day: every day others. With the simulator as the tests have it: to build an optimised one takes longer
/// than so few seeds save by it.
pub(crate) fn daily() -> anyhow::Result<ExitCode> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let from = since.as_secs() / 86_400 * DAILY;
    process::run(test::command().args(["--workspace", "--no-run", "--quiet"]))?;
    let metadata = metadata::read(&["--no-deps"])?;
    let target = Path::new(metadata::text(&metadata, "target_directory")?);
    let program = target.join("debug/rollout-sim");
    become_it(process::command(program).args([
        "--seeds",
        &DAILY.to_string(),
        "--from",
        &from.to_string(),
    ]))
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
    become_it(command.arg("--").args(arguments))
}

/// Becomes that program, so that who ends this ends it.
fn become_it(command: &mut Command) -> anyhow::Result<ExitCode> {
    Err(command.exec()).context("could not start the simulator")
}
