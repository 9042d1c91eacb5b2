//! `rollout-sim`: runs seeds on all cores; `cargo xtask sim` starts it.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for the terminal"
)]

mod arguments;
mod many;
#[cfg(feature = "planted")]
mod planted;

use std::process::ExitCode;

use rollout_sim::{count_panics, run};

use crate::arguments::{Arguments, USAGE};

fn main() -> ExitCode {
    let arguments = match Arguments::parse(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(why) => {
            eprintln!("rollout-sim: {why}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    if let Some(why) = arguments.misunderstood() {
        eprintln!("rollout-sim: {why}");
        return ExitCode::from(2);
    }
    if !arguments.loud {
        std::panic::set_hook(Box::new(|_| {}));
    }
    count_panics();
    if arguments.planted {
        return planted(&arguments);
    }
    let good = match arguments.seed {
        Some(seed) => one(seed, &arguments),
        None => many::all(&arguments),
    };
    if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

#[cfg(feature = "planted")]
fn planted(arguments: &Arguments) -> ExitCode {
    match planted::all(arguments) {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

#[cfg(not(feature = "planted"))]
fn planted(_: &Arguments) -> ExitCode {
    eprintln!("rollout-sim: built without the mistakes; use cargo xtask sim --planted");
    ExitCode::from(2)
}

fn one(seed: u64, arguments: &Arguments) -> bool {
    let report = run(seed, arguments.options());
    many::show_trace(&report, arguments.lines);
    println!("{} lines, sum {:016x}", report.lines, report.sum);
    match &report.violation {
        None => println!("seed {seed}: all holds"),
        Some(violation) => println!("seed {seed}: VIOLATED {violation}"),
    }
    report.violation.is_none()
}
