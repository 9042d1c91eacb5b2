//! Updates a fleet of servers over SSH, driven over HTTP, with live pages to watch it.

mod cli;
mod compose;
mod demo;
mod environment;
mod http;
mod lifetime;
mod metrics;
mod process;
mod pulse;
mod setup;
mod shutdown;
mod systemd;
mod talk;

use std::fmt;
use std::process::ExitCode;

#[cfg(feature = "crash-points")]
use anyhow::Context as _;
use clap::Parser;

use crate::cli::Cli;
use crate::talk::Talk;

/// Something went wrong that is not said below.
const UNEXPECTED: u8 = 1;
/// Wrong usage or configuration; nothing was done.
const USAGE: u8 = 2;

/// What was said on the command line, in the environment or in the file cannot be done; nothing was.
#[derive(Debug)]
pub(crate) struct WrongSettings;

impl fmt::Display for WrongSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the settings cannot be used")
    }
}

fn main() -> ExitCode {
    // Clap ends the program with 2 for wrong usage, and 0 for help.
    let cli = Cli::parse();
    let talk = Talk::new(cli.log);
    match talk
        .start_log(cli.demo, environment::log_filter())
        .and_then(|()| run(&cli, talk))
    {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            talk.failure(&error);
            let usage = error.downcast_ref::<WrongSettings>().is_some();
            ExitCode::from(if usage { USAGE } else { UNEXPECTED })
        }
    }
}

fn run(cli: &Cli, talk: Talk) -> anyhow::Result<()> {
    raise_descriptor_limit();
    #[cfg(feature = "crash-points")]
    {
        environment::arm_crash_point().context(WrongSettings)?;
        environment::know_more_migrations();
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let ended = runtime.block_on(lifetime::live(cli, talk));
    // A blocking call that hangs must not keep the program from ending.
    runtime.shutdown_background();
    ended
}

/// Each connection takes a file descriptor, and the usual limit is there for the sake of programs with `select`.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // Where it is refused, accepting fails later and says so.
    let _ = setrlimit(Resource::Nofile, limit);
}
