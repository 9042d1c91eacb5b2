//! Updates a fleet of servers over SSH, a few at a time, and takes a host back by itself when its update breaks.

mod cli;
mod commands;
mod context;
mod display;
mod environment;
mod exit;
mod failure;
mod fleet_file;
mod follow;
mod output;
mod run;

use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;

use crate::cli::{Cli, Global};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::Output;

fn main() -> ExitCode {
    // Wrong usage ends here with exit code 2, and help with 0.
    let cli = Cli::parse();
    cli.global.color.apply();
    let out = Output {
        json: cli.global.json,
        quiet: cli.global.quiet,
        no_input: cli.global.no_input,
    };
    let exit = log(&cli.global)
        .and_then(|()| run(cli, out))
        .unwrap_or_else(|failure| {
            out.failure(&failure);
            failure.exit
        });
    ExitCode::from(exit.code())
}

fn run(cli: Cli, out: Output) -> Result<Exit, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::unexpected("the runtime cannot be started").why(error))?;
    let exit = runtime.block_on(commands::run(cli, out));
    // A blocking call that hangs must not keep the program from ending.
    runtime.shutdown_background();
    exit
}

/// Logs to standard error when asked to; the display and the log would interleave, so the default is silence.
fn log(global: &Global) -> Result<(), Failure> {
    let Some(filter) = environment::log_filter(global) else {
        return Ok(());
    };
    let filter = EnvFilter::try_new(&filter).map_err(|error| {
        Failure::usage(format!("{filter:?} is not a log filter"))
            .why(error)
            .help("use info, debug, or target=level")
    })?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    Ok(())
}
