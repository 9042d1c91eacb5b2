//! What can be typed. These structures hold what was typed and nothing else; `commands` acts on them.

mod access;
mod db;
mod hosts;
mod rollout;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;
use fleet_types::{Percent, RepoPath, ServiceName, StepId, UserName};

pub(crate) use access::{Audit, PasswordSource, TokensCommand, UsersCommand};
pub(crate) use db::DbCommand;
pub(crate) use hosts::{
    AddHost, EditHost, ExportHosts, HostSelection, HostsCommand, ImportFormat, ImportHosts,
    ListFormat, ListHosts, RemoveHosts, TrustHosts,
};
pub(crate) use rollout::{Again, PolicyFlags, Update};

use crate::output::Color;

/// Updates a fleet over SSH, a few hosts at a time, and takes a host back by itself when its update breaks.
#[derive(Debug, Parser)]
#[command(name = "rollout-cli", version, propagate_version = true, after_long_help = crate::exit::HELP)]
pub(crate) struct Cli {
    /// What holds for every command.
    #[command(flatten)]
    pub global: Global,
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// What holds for every command.
#[derive(Clone, Debug, Args)]
pub(crate) struct Global {
    /// Configuration file [env: ROLLOUT_CONFIG] [default: ./rollout.toml, else ~/.config/rollout/config.toml]
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        help_heading = "Global options"
    )]
    pub config: Option<PathBuf>,
    /// Database, sqlite://PATH or postgres://… [env: ROLLOUT_DATABASE_URL]
    #[arg(
        long,
        global = true,
        value_name = "URL",
        help_heading = "Global options"
    )]
    pub database_url: Option<String>,
    /// Server to ask instead of working on a database, https://… [env: ROLLOUT_SERVER]
    #[arg(
        long,
        global = true,
        value_name = "URL",
        conflicts_with = "database_url",
        help_heading = "Global options"
    )]
    pub server: Option<String>,
    /// File with the token for the server, readable by you alone [env: ROLLOUT_TOKEN_FILE, or the token itself in ROLLOUT_TOKEN]
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        help_heading = "Global options"
    )]
    pub token_file: Option<PathBuf>,
    /// Print data as JSON
    #[arg(long, global = true, help_heading = "Global options")]
    pub json: bool,
    /// Say nothing but data and errors
    #[arg(short, long, global = true, help_heading = "Global options")]
    pub quiet: bool,
    /// Say more on standard error; twice for even more [env: ROLLOUT_LOG]
    #[arg(short, long, global = true, action = clap::ArgAction::Count, help_heading = "Global options")]
    pub verbose: u8,
    /// When to use colours
    #[arg(
        long,
        global = true,
        value_name = "WHEN",
        default_value = "auto",
        help_heading = "Global options"
    )]
    pub color: Color,
    /// Never ask
    #[arg(long, global = true, help_heading = "Global options")]
    pub no_input: bool,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show a real rollout on local demo hosts, nothing to install
    Demo(Demo),
    /// Write a configuration
    Init(Init),
    /// Look at configuration, database, keys, clock and disk, and say what to do
    Doctor,
    /// The fleet: list, add, import, trust, check
    #[command(subcommand)]
    Hosts(HostsCommand),
    /// Show what an update would do, change nothing
    Plan(Update),
    /// Update hosts, stage by stage
    Update(Update),
    /// One screen: what is going on, and why nothing moves
    Status(OneRollout),
    /// Follow a rollout to its end; exits by its result
    Watch(OneRollout),
    /// Start no further hosts; those in flight finish
    Pause(OneRollout),
    /// Go on with a paused or interrupted rollout
    Resume(OneRollout),
    /// End a rollout; what is done stays done
    Abort(OneRollout),
    /// A new rollout over the failed and never started hosts, to the same target
    ///
    /// Of its policy, what is not said is as it was in that rollout, whatever the defaults below.
    Retry(Again),
    /// Bring every host that a rollout changed back to its own previous version
    ///
    /// Of its policy, what is not said is as it was in that rollout, whatever the defaults below.
    Rollback(Again),
    /// Past rollouts
    #[command(subcommand)]
    Rollouts(RolloutsCommand),
    /// What the steps printed on a host
    Logs(Logs),
    /// Whether services are active; exit 5 when one was given up, 3 when one is not active or cannot be asked
    Health(Health),
    /// People who may sign in to the server
    #[command(subcommand)]
    Users(UsersCommand),
    /// Tokens of programs that use the server
    #[command(subcommand)]
    Tokens(TokensCommand),
    /// Who did what, when, from where, and what came of it
    Audit(Audit),
    /// The database: bring it up to date, copy it, move the fleet to another one
    #[command(subcommand)]
    Db(DbCommand),
    /// The settings in force
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Print a completion script for a shell
    Completions {
        /// Which shell.
        shell: Shell,
    },
    /// Write the manual pages
    Man {
        /// Folder to write them to; without it the first page goes to standard output.
        dir: Option<PathBuf>,
    },
}

/// `demo`
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Demo {
    /// How many hosts
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=500))]
    pub hosts: u32,
    /// Break this share of the hosts, so that the rollout halts
    #[arg(long = "break", value_name = "PERCENT")]
    pub broken: Option<Percent>,
    /// Choose the broken hosts by this number, to see the same again
    #[arg(long)]
    pub seed: Option<u64>,
}

/// `init`
#[derive(Clone, Debug, Args)]
pub(crate) struct Init {
    /// The git clone on the hosts; asked for when it is not said
    #[arg(long, value_name = "DIR")]
    pub repo: Option<RepoPath>,
    /// The systemd unit; asked for when it is not said
    #[arg(long)]
    pub service: Option<ServiceName>,
    /// User to sign in as over SSH; asked for when it is not said
    #[arg(long)]
    pub user: Option<UserName>,
    /// Private key file; the ssh-agent is used without it
    #[arg(long, value_name = "FILE")]
    pub key: Option<PathBuf>,
    /// The branch that is followed [default: main]
    #[arg(long)]
    pub branch: Option<fleet_types::BranchName>,
    /// Replace a file that is there
    #[arg(long)]
    pub force: bool,
}

/// A rollout, or the latest.
#[derive(Clone, Debug, Args)]
pub(crate) struct OneRollout {
    /// Which [default: the latest]
    #[command(flatten)]
    pub which: Which,
}

/// A rollout by its id or the short id that is shown.
#[derive(Clone, Debug, Args)]
pub(crate) struct Which {
    /// Id of the rollout, whole or as shown [default: the latest]
    #[arg(value_name = "ROLLOUT")]
    pub rollout: Option<String>,
}

/// `rollouts`
#[derive(Debug, Subcommand)]
pub(crate) enum RolloutsCommand {
    /// List them, the newest first
    #[command(visible_alias = "ls")]
    List {
        /// How many
        #[arg(short = 'n', long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
    },
    /// One rollout with each host's part
    Show(OneRollout),
}

/// `health`
#[derive(Clone, Debug, Args)]
pub(crate) struct Health {
    /// Which hosts.
    #[command(flatten)]
    pub hosts: HostSelection,
    /// Start services again that are not active, at most 3 times in 10 minutes each
    #[arg(long)]
    pub fix: bool,
}

/// `logs`
#[derive(Clone, Debug, Args)]
pub(crate) struct Logs {
    /// Which rollout.
    #[command(flatten)]
    pub which: Which,
    /// The host
    #[arg(long)]
    pub host: fleet_types::HostName,
    /// This step alone, as `rollouts show` and the page of the host name it: pull, install, verify
    #[arg(long, value_name = "STEP")]
    pub step: Option<StepId>,
}

/// `config`
#[derive(Clone, Copy, Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Every setting in force and where it came from; passwords are hidden
    Show,
    /// Check the configuration
    Validate,
}
