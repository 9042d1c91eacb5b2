//! Updates a fleet of servers over SSH, a few at a time, and takes a host back by itself when its update breaks.

mod ask;
mod cli;
mod commands;
mod display;
mod environment;
mod exit;
mod failure;
mod fleet;
mod fleet_file;
mod follow;
mod output;
mod run;
mod signals;
mod stopping;

use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;

use crate::cli::{Cli, Global};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::Output;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return wrong_usage(&error),
    };
    cli.global.color.apply();
    output::remember_place(environment::typed_place(&cli.global));
    let out = Output {
        json: cli.global.json,
        quiet: cli.global.quiet,
        no_input: cli.global.no_input,
        logs: environment::log_filter(&cli.global).is_some(),
    };
    #[cfg(feature = "crash-points")]
    if let Err(wrong) = environment::arm_crash_point() {
        return wrong_crash_point(&wrong, out);
    }
    let exit = log(&cli.global)
        .and_then(|()| run(cli, out))
        .unwrap_or_else(|failure| {
            out.failure(&failure);
            failure.exit
        });
    ExitCode::from(exit.code())
}

#[cfg(feature = "crash-points")]
fn wrong_crash_point(wrong: &str, out: Output) -> ExitCode {
    out.failure(&Failure::usage("the crash point cannot be set").why(wrong));
    ExitCode::from(Exit::Usage.code())
}

/// Help and version are what was asked for; anything else is wrong usage, said in three lines like every other failure.
fn wrong_usage(error: &clap::Error) -> ExitCode {
    use clap::error::ErrorKind as K;
    let asked_for = matches!(
        error.kind(),
        K::DisplayHelp | K::DisplayVersion | K::DisplayHelpOnMissingArgumentOrSubcommand
    );
    if asked_for {
        let _ = error.print();
        return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(Exit::Usage.code()));
    }
    let out = Output {
        json: false,
        quiet: false,
        no_input: true,
        logs: false,
    };
    out.failure(&usage_failure(&error.render().to_string()));
    ExitCode::from(Exit::Usage.code())
}

/// Clap's message: a paragraph on what is wrong, perhaps a tip, the usage.
fn usage_failure(text: &str) -> Failure {
    let paragraphs: Vec<&str> = text.split("\n\n").collect();
    let what = paragraphs
        .first()
        .map_or(text, |first| first.trim_start_matches("error:"));
    let what: Vec<&str> = what
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    let starting = |head: &str| {
        paragraphs
            .iter()
            .map(|text| text.trim())
            .find(|text| text.starts_with(head))
    };
    let failure = Failure::usage(what.join(" "));
    let failure = match starting("tip:") {
        Some(tip) => failure.why(tip),
        None => failure,
    };
    match starting("Usage:") {
        Some(usage) => failure.help(usage),
        None => failure.help("--help shows what can be said"),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_usage_takes_three_lines() {
        for (arguments, what) in [
            (vec!["update"], "--all"),
            (vec!["update", "--all", "--forse"], "--forse"),
            (vec!["update", "--all", "--stages", "50,10,100"], "ascend"),
            (vec!["update", "--all", "--concurrency", "0"], "concurrency"),
            (vec!["nonsense"], "nonsense"),
            (vec!["demo", "--break", "101%"], "0 to 100"),
        ] {
            let arguments = std::iter::once("rollout-cli").chain(arguments);
            let lines = match Cli::try_parse_from(arguments.clone()) {
                Ok(_) => panic!("{:?} was taken", arguments.collect::<Vec<_>>()),
                Err(error) => usage_failure(&error.render().to_string()).lines(),
            };
            assert!(lines.len() <= 3 && lines[0].contains(what), "{lines:?}");
        }
    }

    #[test]
    fn the_commands_are_put_together_right() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }
}
