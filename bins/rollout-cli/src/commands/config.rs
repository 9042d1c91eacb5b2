//! `config show` and `config validate`

use serde_json::json;

use crate::cli::{ConfigCommand, Global};
use crate::display::table::Table;
use crate::environment;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{Output, Paint};

/// Runs one of them.
pub(crate) fn run(command: ConfigCommand, global: &Global, out: Output) -> Result<Exit, Failure> {
    let settings = environment::settings(global, Default::default())?;
    let file = settings
        .file
        .as_ref()
        .map(|file| file.display().to_string());
    match command {
        ConfigCommand::Show if out.json => {
            out.object(&json!({ "file": file, "settings": settings.entries() }))?
        }
        ConfigCommand::Show => {
            let mut table = Table::new(&["SETTING", "VALUE", "FROM"]);
            for entry in settings.entries() {
                let value = entry
                    .value
                    .clone()
                    .unwrap_or_else(|| Paint::Dim.on("not set"));
                table.row(vec![entry.key.to_owned(), value, entry.origin.to_string()]);
            }
            out.data(&table.to_string())?;
        }
        ConfigCommand::Validate if out.json => {
            out.object(&json!({ "file": file, "valid": true }))?
        }
        ConfigCommand::Validate => {
            out.say(match file {
                Some(file) => format!("{file} is valid"),
                None => "there is no configuration file; the defaults hold".to_owned(),
            });
            out.next(&[(
                "rollout-cli config show".to_owned(),
                "every setting and where it came from",
            )]);
        }
    }
    Ok(Exit::Done)
}
