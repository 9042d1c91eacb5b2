use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use fleet_types::{
    Address, BranchName, HostName, Label, RepoPath, Selection, Selector, ServiceName, UserName,
};
use rollout_settings::AppOverrides;

/// `hosts`
#[derive(Debug, Subcommand)]
pub(crate) enum HostsCommand {
    /// List the fleet
    #[command(visible_alias = "ls")]
    List(ListHosts),
    /// One host: settings, version, last attempt, pinned keys
    Show {
        /// The host.
        name: HostName,
    },
    /// Add a host; what isn't said is taken from the configuration
    ///
    /// It is taken as it is now and kept with the host: a later change of the settings under app or of the user and port under ssh does not
    /// change hosts that are in the fleet. `hosts edit NAME --reset-app` takes branch, install, verify and the like of
    /// the settings under app over again.
    Add(Box<AddHost>),
    /// Change an entry; what isn't said stays
    Edit(Box<EditHost>),
    /// Take hosts out of the fleet; their history stays
    #[command(visible_alias = "rm")]
    Remove(RemoveHosts),
    /// Add and change hosts from a file; hosts that are not in it stay as they are
    ///
    /// New hosts take what the file does not say from the configuration as it is now, and keep it: see `hosts add --help`.
    Import(ImportHosts),
    /// Write the fleet in a form that import reads
    Export(ExportHosts),
    /// Fetch, show and pin host keys; without names: of hosts that have none pinned
    Trust(TrustHosts),
    /// Look at hosts, change nothing: reachable, version, service, what an update would refuse
    Check(HostSelection),
}

/// Some hosts, or all.
#[derive(Clone, Debug, Args)]
pub(crate) struct HostSelection {
    /// Hosts: names, globs, @label, @key=value, !not [default: all]
    #[arg(long, value_name = "SELECTOR", value_delimiter = ',')]
    pub on: Vec<Selector>,
    /// Every host of the fleet; the default
    #[arg(long, conflicts_with = "on")]
    pub all: bool,
}

impl HostSelection {
    /// As a selection.
    pub(crate) fn selection(&self) -> Selection {
        if self.on.is_empty() {
            Selection::All
        } else {
            Selection::On(self.on.clone())
        }
    }
}

/// `hosts list`
#[derive(Clone, Debug, Args)]
pub(crate) struct ListHosts {
    /// Which hosts.
    #[command(flatten)]
    pub hosts: HostSelection,
}

/// `hosts add`
#[derive(Clone, Debug, Args)]
pub(crate) struct AddHost {
    /// Its name in the fleet
    pub name: HostName,
    /// DNS name or IP address
    #[arg(long)]
    pub address: Address,
    /// Port of sshd [default: 22]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    pub port: Option<u16>,
    /// User to sign in as
    #[arg(long)]
    pub user: Option<UserName>,
    /// Private key file; without it the configured key or the ssh-agent
    #[arg(long, value_name = "FILE")]
    pub key: Option<PathBuf>,
    /// Host to go through, user@address:port; more than once for a chain, the outermost first
    #[arg(long, value_name = "HOST")]
    pub jump: Vec<String>,
    /// Label, key or key=value; may be said more than once
    #[arg(long, value_name = "K=V")]
    pub label: Vec<Label>,
    /// Whose instance it is
    #[arg(long)]
    pub owner: Option<String>,
    /// How its service is updated.
    #[command(flatten)]
    pub app: AppFlags,
}

/// How a host's service is updated.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct AppFlags {
    /// The git clone on the host
    #[arg(long, value_name = "DIR")]
    pub repo: Option<RepoPath>,
    /// The branch it follows
    #[arg(long)]
    pub branch: Option<BranchName>,
    /// The systemd unit
    #[arg(long)]
    pub service: Option<ServiceName>,
    /// Shell command that installs the dependencies
    #[arg(long, value_name = "CMD")]
    pub install: Option<String>,
    /// Shell command that must succeed after the restart
    #[arg(long, value_name = "CMD")]
    pub verify: Option<String>,
}

impl AppFlags {
    /// What was said.
    pub(crate) fn overrides(&self) -> AppOverrides {
        AppOverrides {
            repo: self.repo.clone(),
            branch: self.branch.clone(),
            install: self.install.clone(),
            service: self.service.clone(),
            verify: self.verify.clone(),
        }
    }
}

/// `hosts edit`
#[derive(Clone, Debug, Args)]
pub(crate) struct EditHost {
    /// The host
    pub name: HostName,
    /// New name
    #[arg(long)]
    pub rename: Option<HostName>,
    /// DNS name or IP address
    #[arg(long)]
    pub address: Option<Address>,
    /// Port of sshd
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    pub port: Option<u16>,
    /// User to sign in as
    #[arg(long)]
    pub user: Option<UserName>,
    /// Private key file; an empty text for the configured key or the ssh-agent
    #[arg(long, value_name = "FILE")]
    pub key: Option<PathBuf>,
    /// Hosts to go through; an empty text for none
    #[arg(long, value_name = "HOST")]
    pub jump: Vec<String>,
    /// Label to set, key or key=value
    #[arg(long, value_name = "K=V")]
    pub label: Vec<Label>,
    /// Label to take away
    #[arg(long, value_name = "KEY")]
    pub unlabel: Vec<String>,
    /// Whose instance it is; an empty text for nobody's
    #[arg(long)]
    pub owner: Option<String>,
    /// How its service is updated; an empty --verify for none.
    #[command(flatten)]
    pub app: AppFlags,
    /// Take the app settings that are not said here from the configuration as it is now
    #[arg(long)]
    pub reset_app: bool,
    /// Clear the mark that a person must look
    #[arg(long)]
    pub clear_attention: bool,
}

/// `hosts remove`
#[derive(Clone, Debug, Args)]
pub(crate) struct RemoveHosts {
    /// The hosts
    #[arg(required = true)]
    pub names: Vec<HostName>,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
}

/// A format that hosts are written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ListFormat {
    /// name,address,port,user and perhaps key,labels,owner,repo,branch,service,install,verify
    Csv,
    /// {"hosts":[...]}, as export writes it
    Json,
}

/// A format that hosts are read in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ImportFormat {
    /// name,address,port,user and perhaps key,labels,owner,repo,branch,service,install,verify
    Csv,
    /// {"hosts":[...]}, as export writes it
    Json,
    /// An inventory of Ansible, INI or YAML: groups become labels
    Ansible,
    /// The client configuration of OpenSSH: each Host without a wildcard
    SshConfig,
}

/// `hosts import`
#[derive(Clone, Debug, Args)]
pub(crate) struct ImportHosts {
    /// The file; - for standard input
    pub file: PathBuf,
    /// Its format [default: by the file's name]
    #[arg(long)]
    pub format: Option<ImportFormat>,
    /// Show what would change, change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
}

/// `hosts export`
#[derive(Clone, Debug, Args)]
pub(crate) struct ExportHosts {
    /// The format
    #[arg(long, default_value = "json")]
    pub format: ListFormat,
    /// Which hosts.
    #[command(flatten)]
    pub hosts: HostSelection,
}

/// `hosts trust`
#[derive(Clone, Debug, Args)]
pub(crate) struct TrustHosts {
    /// The hosts [default: those without a pinned key]
    pub names: Vec<HostName>,
    /// Every host; a key that differs from the pinned one is only taken for hosts that are named
    #[arg(long, conflicts_with = "names")]
    pub all: bool,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
}
