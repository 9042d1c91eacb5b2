//! One file per command, each with one function that does it.

mod again;
mod audit;
mod completions;
mod config;
mod db;
mod demo;
mod doctor;
mod health;
mod hosts;
mod init;
mod logs;
mod on_server;
mod password;
mod plan;
mod rollouts;
mod status;
mod tokens;
mod update;
mod users;
mod verbs;
mod watch;

pub(crate) use plan::Planned;

use crate::cli::{Cli, Command};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::Output;

/// Does what was typed.
pub(crate) async fn run(cli: Cli, out: Output) -> Result<Exit, Failure> {
    let global = &cli.global;
    match cli.command {
        Command::Demo(arguments) => demo::run(&arguments, out).await,
        Command::Init(arguments) => init::run(&arguments, global, out),
        Command::Doctor => doctor::run(global, out).await,
        Command::Hosts(command) => hosts::run(command, global, out).await,
        Command::Plan(arguments) => plan::run(&arguments, global, out).await,
        Command::Update(arguments) if arguments.dry_run => plan::run(&arguments, global, out).await,
        Command::Update(arguments) => update::run(&arguments, global, out).await,
        Command::Status(arguments) => status::run(&arguments.which, global, out).await,
        Command::Watch(arguments) => watch::run(&arguments.which, global, out).await,
        Command::Pause(arguments) => verbs::pause(&arguments.which, global, out).await,
        Command::Resume(arguments) => verbs::resume(&arguments.which, global, out).await,
        Command::Abort(arguments) => verbs::abort(&arguments.which, global, out).await,
        Command::Retry(arguments) => again::retry(&arguments, global, out).await,
        Command::Rollback(arguments) => again::rollback(&arguments, global, out).await,
        Command::Rollouts(command) => rollouts::run(command, global, out).await,
        Command::Logs(arguments) => logs::run(&arguments, global, out).await,
        Command::Health(arguments) => health::run(&arguments, global, out).await,
        Command::Users(command) => users::run(command, global, out).await,
        Command::Tokens(command) => tokens::run(command, global, out).await,
        Command::Audit(arguments) => audit::run(&arguments, global, out).await,
        Command::Db(command) => db::run(command, global, out).await,
        Command::Config(command) => config::run(command, global, out),
        Command::Completions { shell } => completions::completions(shell, out),
        Command::Man { dir } => completions::man(dir.as_deref(), out),
    }
}
