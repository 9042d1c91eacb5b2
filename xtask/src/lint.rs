//! `cargo xtask lint`: everything that is checked and is not a test.

use std::process::ExitCode;

use anyhow::bail;

use crate::graph;
use crate::msrv;
use crate::process;

/// Runs every check and stops at the first that fails.
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<ExitCode> {
    if let Some(argument) = arguments.first() {
        bail!("lint takes no arguments, not {argument:?}");
    }
    step("format");
    process::run(process::cargo().args(["fmt", "--all", "--check"]))?;
    step("clippy");
    process::run(process::cargo().args([
        "clippy",
        "--workspace",
        "--all-targets",
        "--all-features",
        "--locked",
        "--",
        "-D",
        "warnings",
    ]))?;
    step("documentation");
    process::run(
        process::cargo()
            .args([
                "doc",
                "--workspace",
                "--no-deps",
                "--all-features",
                "--locked",
            ])
            .env("RUSTDOCFLAGS", "-D warnings"),
    )?;
    for (name, check) in [
        (
            "graph",
            graph::run as fn(&[String]) -> anyhow::Result<ExitCode>,
        ),
        ("msrv", msrv::run),
    ] {
        step(name);
        if check(&[])? != ExitCode::SUCCESS {
            bail!("lint stopped at {name}");
        }
    }
    println!("xtask lint: all checks passed");
    Ok(ExitCode::SUCCESS)
}

fn step(name: &str) {
    println!("xtask lint: {name}");
}
