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

use std::path::PathBuf;

use fleet_store::{HostRecord, NewHost};
use fleet_types::Selection;
use rollout_orchestrator::endpoint;
use rollout_parts::ssh_defaults;
use ssh_exec::Identity;

use crate::cli::{Global, HostsCommand};
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{Output, Paint};

/// Runs one of them.
pub(crate) async fn run(
    command: HostsCommand,
    global: &Global,
    out: Output,
) -> Result<Exit, Failure> {
    let context = Context::open(global, out, Default::default()).await?;
    match command {
        HostsCommand::List(arguments) => list::run(&context, &arguments).await,
        HostsCommand::Show { name } => show::run(&context, &name).await,
        HostsCommand::Add(arguments) => add::run(&context, *arguments).await,
        HostsCommand::Edit(arguments) => edit::run(&context, *arguments).await,
        HostsCommand::Remove(arguments) => remove::run(&context, &arguments).await,
        HostsCommand::Import(arguments) => import::run(&context, &arguments).await,
        HostsCommand::Export(arguments) => export::run(&context, &arguments).await,
        HostsCommand::Trust(arguments) => trust::run(&context, &arguments).await,
        HostsCommand::Check(arguments) => check::run(&context, &arguments).await,
    }
}

/// The hosts of the fleet that are meant. A word that hits none is most likely misspelt, and refused.
pub(crate) async fn chosen(
    context: &Context,
    selection: &Selection,
) -> Result<Vec<HostRecord>, Failure> {
    let fleet = context.store.host_list().await?;
    let words = selection.without_hit(fleet.iter().map(|host| (host.name.as_str(), &host.labels)));
    if !words.is_empty() {
        return Err(
            Failure::refused(format!("no host matches {}", words.join(", ")))
                .help("rollout-cli hosts list shows names and labels"),
        );
    }
    Ok(fleet
        .into_iter()
        .filter(|host| selection.matches(host.name.as_str(), &host.labels))
        .collect())
}

/// The hosts as JSON shows them.
async fn views(context: &Context, names: &[&str]) -> Result<serde_json::Value, Failure> {
    let mut hosts = context.store.host_views(None).await?;
    hosts.retain(|host| names.contains(&host.name.as_str()));
    Ok(serde_json::json!({ "hosts": hosts }))
}

/// Refuses what could never be signed in to, and warns of a key that cannot be used on this machine now: a server may
/// be the one that has it.
async fn check_spec(context: &Context, host: &NewHost) -> Result<(), Failure> {
    let mut defaults = ssh_defaults(&context.settings.ssh, context.home.clone());
    // Whether there is any credential is asked when it is needed.
    defaults
        .identity
        .get_or_insert(Identity::Agent(PathBuf::new()));
    let endpoint = endpoint(&host.name, &host.spec, &[], &defaults)?;
    if host.spec.key.is_some()
        && let Err(error) = context.transport()?.check_identity(&endpoint).await
    {
        context.out.say(format!(
            "{} {}: {error}",
            Paint::Yellow.on("warning:"),
            host.name
        ));
    }
    Ok(())
}
