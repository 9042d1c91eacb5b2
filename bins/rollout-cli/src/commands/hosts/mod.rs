//! `hosts`

mod add;
mod check;
mod edit;
mod export;
mod import;
mod list;
mod remove;
mod show;
pub(crate) mod trust;

use fleet_store::NewHost;
use fleet_types::view::Host;
use fleet_types::{HostName, Selection};

use crate::cli::{Global, HostsCommand};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::fleet::{Fleet, Place};
use crate::output::{Output, Paint};

/// Runs one of them.
pub(crate) async fn run(
    command: HostsCommand,
    global: &Global,
    out: Output,
) -> Result<Exit, Failure> {
    let place = Place::open(global, out, Default::default()).await?;
    let fleet = &*place.fleet();
    match command {
        HostsCommand::List(arguments) => list::run(fleet, out, &arguments).await,
        HostsCommand::Show { name } => show::run(fleet, out, &name).await,
        HostsCommand::Add(arguments) => add::run(fleet, out, *arguments).await,
        HostsCommand::Edit(arguments) => edit::run(fleet, out, *arguments).await,
        HostsCommand::Remove(arguments) => remove::run(fleet, out, &arguments).await,
        HostsCommand::Import(arguments) => import::run(fleet, out, &arguments).await,
        HostsCommand::Export(arguments) => export::run(fleet, out, &arguments).await,
        HostsCommand::Trust(arguments) => trust::run(fleet, out, &arguments).await,
        HostsCommand::Check(arguments) => check::run(fleet, out, &arguments).await,
    }
}

/// The hosts of the fleet that are meant. A word that hits none is most likely misspelt, and refused.
pub(crate) async fn chosen(fleet: &dyn Fleet, selection: &Selection) -> Result<Vec<Host>, Failure> {
    let hosts = fleet.hosts().await?;
    let words = selection.without_hit(hosts.iter().map(|host| (host.name.as_str(), &host.labels)));
    if !words.is_empty() {
        return Err(
            Failure::refused(format!("no host matches {}", words.join(", ")))
                .help("rollout-cli hosts list shows names and labels"),
        );
    }
    Ok(hosts
        .into_iter()
        .filter(|host| selection.matches(&host.name, &host.labels))
        .collect())
}

/// Their names.
pub(crate) fn names(hosts: &[Host]) -> Vec<HostName> {
    // They were names when they were stored.
    hosts
        .iter()
        .filter_map(|host| host.name.parse().ok())
        .collect()
}

/// One host as JSON shows it.
async fn one(fleet: &dyn Fleet, name: &HostName) -> Result<serde_json::Value, Failure> {
    let host = crate::fleet::known_host(fleet, name).await?.host;
    Ok(serde_json::json!({ "hosts": [host] }))
}

/// Refuses what could never be signed in to, and warns of a key that cannot be used on this machine now: a server may
/// be the one that has it.
async fn judge(fleet: &dyn Fleet, out: Output, host: &NewHost) -> Result<(), Failure> {
    if let Some(why) = fleet.judge(host).await? {
        let warning = Paint::Yellow.on("warning:");
        out.say(format!("{warning} {}: {why}", host.name));
    }
    Ok(())
}
