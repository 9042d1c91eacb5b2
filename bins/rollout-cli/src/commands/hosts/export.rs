use std::collections::HashSet;

use crate::cli::{ExportHosts, ListFormat};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::fleet::Fleet;
use crate::fleet_file::{write_csv, write_json};
use crate::output::Output;

/// `hosts export`
pub(crate) async fn run(
    fleet: &dyn Fleet,
    out: Output,
    arguments: &ExportHosts,
) -> Result<Exit, Failure> {
    let chosen = super::chosen(fleet, &arguments.hosts.selection()).await?;
    let chosen: HashSet<&str> = chosen.iter().map(|host| host.name.as_str()).collect();
    let hosts = fleet.enrolled().await?.into_iter().map(|host| host.entry);
    let hosts: Vec<_> = hosts
        .filter(|entry| chosen.contains(entry.name.as_str()))
        .collect();
    let unwritable = |error: String| Failure::unexpected("the fleet cannot be written").why(error);
    let text = match arguments.format {
        ListFormat::Csv => write_csv(&hosts).map_err(|error| unwritable(error.to_string()))?,
        ListFormat::Json => write_json(&hosts).map_err(|error| unwritable(error.to_string()))?,
    };
    out.data(&text)?;
    Ok(Exit::Done)
}
