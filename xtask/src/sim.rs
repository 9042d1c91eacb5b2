//! `cargo xtask sim`: builds the simulator, optimised a little, and hands the arguments on.

use std::process::ExitCode;

use crate::process::cargo;

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
