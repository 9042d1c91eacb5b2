//! The project's own tasks, run as `cargo xtask TASK`.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for the terminal, not a library"
)]

mod bench;
mod crashes;
mod fresh;
mod graph;
mod ldd;
mod lint;
mod machine;
mod metadata;
mod msrv;
mod process;
mod sim;
mod soak;
mod summary;

mod test;
mod tools;
mod version;

use std::process::ExitCode;

use anyhow::bail;

const USAGE: &str = "\
cargo xtask test [--without TOOL]... [-- ARGUMENTS OF CARGO TEST]
    Runs every test. Finds the outside tools that tests need, and installs what is missing
    when it runs as root on Debian or Ubuntu.
cargo xtask lint
    Format, clippy, documentation, graph, msrv.
cargo xtask ci [ARGUMENTS OF TEST]
    test, then the seeds of the day, then lint.
cargo xtask graph [--write]
    Compares who depends on whom in the workspace with docs/graph.txt.
cargo xtask msrv
    Finds the newest Rust that a dependency asks for; fails when the workspace promises less.
cargo xtask ldd
    Builds the release programs; fails when they are linked with more than the C library.
cargo xtask bench [--hosts 200] [--concurrency 50] [--settle 0s]
    Updates local SSH hosts with the release build; prints wall time, CPU and peak memory.
cargo xtask crashes [--all | --slice K/8 | --cells WORDS] [--jobs 4]
    Real processes and OpenSSH servers: a fault at every moment of every step, and a table of what
    came of it. An eighth by default, another one each day, as in every run of the tests. WORDS are
    words of the names of cells, with commas between one choice and another.
cargo xtask sim --daily | [--seeds N] [--from F] [--seed S] [--planted] [--without fencing|epochs]
    Simulates rollouts, their processes and hosts by a seed each, and checks what must always hold.
    Known mistakes are planted one by one, or a rule is taken out: then it has to fail.
cargo xtask soak [--minutes 20] [--seed S]
    Three servers, PostgreSQL and 20 OpenSSH hosts that are killed, stopped and cut off while
    rollouts are started again and again; then the hosts are asked. Evidence of what is wrong stays.
cargo xtask fresh [--run COMMAND]... [--keep FOLDER] [--suite NAME] [--mirror URL]
    Runs the README's two commands, or the ones named, on a bare Debian in a folder. Needs root.";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> anyhow::Result<ExitCode> {
    let Some((task, rest)) = arguments.split_first() else {
        bail!("name a task\n{USAGE}");
    };
    match task.as_str() {
        "test" => test::run(rest),
        "lint" => lint::run(rest),
        "ci" => ci(rest),
        "graph" => graph::run(rest),
        "msrv" => msrv::run(rest),
        "ldd" => ldd::run(rest),
        "bench" => bench::run(rest),
        "crashes" => crashes::run(rest),
        "sim" if rest == ["--daily"] => sim::daily(),
        "sim" => sim::run(rest),
        "soak" => soak::run(rest),
        "fresh" => fresh::run(rest),
        "fresh-inside" => fresh::run_inside(rest),
        "help" | "-h" | "--help" => {
            println!("{USAGE}");
            Ok(ExitCode::SUCCESS)
        }
        other => bail!("there is no task {other:?}\n{USAGE}"),
    }
}

/// Everything that has to pass before a change lands, up to the first that fails.
fn ci(arguments: &[String]) -> anyhow::Result<ExitCode> {
    let mut code = test::run(arguments)?;
    if code == ExitCode::SUCCESS {
        code = sim::daily()?;
    }
    if code == ExitCode::SUCCESS {
        code = lint::run(&[])?;
    }
    Ok(code)
}
