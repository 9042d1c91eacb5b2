//! `cargo xtask sim`: builds the simulator, optimised, and hands the arguments on.

use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::process::cargo;

/// So many seeds are run for every change.
const DAILY: u64 = 2000;

/// The seeds of the day: every day others.
pub(crate) fn daily() -> anyhow::Result<ExitCode> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let from = since.as_secs() / 86_400 * DAILY;
    run(&[
        "--seeds".to_owned(),
        DAILY.to_string(),
        "--from".to_owned(),
        from.to_string(),
    ])
}

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
    let status = command.arg("--").args(arguments).status()?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
