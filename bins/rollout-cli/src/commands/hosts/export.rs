use crate::cli::{ExportHosts, ListFormat};
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::fleet_file::{write_csv, write_json};

/// `hosts export`
pub(crate) async fn run(context: &Context, arguments: &ExportHosts) -> Result<Exit, Failure> {
    let hosts = super::chosen(context, &arguments.hosts.selection()).await?;
    let unwritable = |error: String| Failure::unexpected("the fleet cannot be written").why(error);
    let text = match arguments.format {
        ListFormat::Csv => write_csv(&hosts).map_err(|error| unwritable(error.to_string()))?,
        ListFormat::Json => write_json(&hosts).map_err(|error| unwritable(error.to_string()))?,
    };
    context.out.data(&text)?;
    Ok(Exit::Done)
}
