//! What can be typed.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Parser, ValueEnum};

/// Updates a fleet over SSH, driven over HTTP, with live pages to watch it.
#[derive(Debug, Parser)]
#[command(name = "rollout-server", version)]
pub(crate) struct Cli {
    /// Address and port to listen on [env: ROLLOUT_LISTEN] [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub listen: Option<SocketAddr>,
    /// Database, sqlite://PATH or postgres://… [env: ROLLOUT_DATABASE_URL]
    #[arg(long, value_name = "URL")]
    pub database_url: Option<String>,
    /// Configuration file [env: ROLLOUT_CONFIG] [default: ./rollout.toml, else ~/.config/rollout/config.toml]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// A proxy that speaks TLS stands before this server, which then may listen on any address [env: ROLLOUT_BEHIND_PROXY]
    #[arg(long)]
    pub behind_proxy: bool,
    /// Show it on local demo hosts: nothing to install, nothing kept, on loopback only
    #[arg(long, conflicts_with_all = ["config", "database_url", "behind_proxy"])]
    pub demo: bool,
    /// How to write the log to standard error; what is logged says ROLLOUT_LOG
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub log: LogFormat,
    /// Write the address that is listened on to this file, once it is
    #[arg(long, value_name = "FILE")]
    pub port_file: Option<PathBuf>,
}

/// How to write the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// Lines for people.
    Text,
    /// One object of JSON a line.
    Json,
}
