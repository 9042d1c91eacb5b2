//! `db migrate`, `db backup`, `db export` and `db import`

use std::path::Path;

use fleet_store::{DieselStore, Moved};
use rollout_parts::open_store;
use rollout_settings::without_password;
use serde_json::json;

use crate::cli::{DbCommand, Global};
use crate::environment;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::Output;

/// Runs one of them.
pub(crate) async fn run(command: DbCommand, global: &Global, out: Output) -> Result<Exit, Failure> {
    if environment::names_server(global) {
        return Err(Failure::usage("db works on a database, not by a server")
            .help("say --database-url URL on the server's machine, without --server and ROLLOUT_SERVER"));
    }
    let settings = environment::settings(global, Default::default())?;
    let url = settings.database_url.as_str();
    let shown = without_password(url);
    match command {
        DbCommand::Migrate => {
            let store = open_store(&settings).await?;
            migrated(&store, &shown, out)?;
        }
        DbCommand::Backup { file } => backup(url, &shown, &file, out).await?,
        DbCommand::Export { file } => {
            let moved = open_store(&settings).await?.export(&file).await?;
            tell(&moved, &format!("{} holds", file.display()), &file, out)?;
            out.next(&[(
                format!(
                    "rollout-cli --database-url URL db import {}",
                    file.display()
                ),
                "read it into an empty database",
            )]);
        }
        DbCommand::Import { file } => {
            let moved = open_store(&settings).await?.import(&file).await?;
            tell(&moved, &format!("{shown} now holds"), &file, out)?;
        }
    }
    Ok(Exit::Done)
}

fn migrated(store: &DieselStore, shown: &str, out: Output) -> Result<(), Failure> {
    let (from, to) = store.schema();
    if out.json {
        let from = from.map(|from| from.to_string());
        return out.object(&json!({ "database": shown, "from": from, "to": to.to_string() }));
    }
    out.say(match from {
        None => format!("{shown} was empty; its schema is {to} now"),
        Some(from) if from == to => format!("{shown} has schema {to} already"),
        Some(from) => format!("{shown} went from schema {from} to {to}"),
    });
    Ok(())
}

async fn backup(url: &str, shown: &str, file: &Path, out: Output) -> Result<(), Failure> {
    let (from, to) = (url.to_owned(), file.to_owned());
    let copied = tokio::task::spawn_blocking(move || DieselStore::backup(&from, &to)).await;
    copied.map_err(|error| Failure::unexpected("the backup was broken off").why(error))??;
    if out.json {
        return out.object(&json!({ "database": shown, "file": file.display().to_string() }));
    }
    out.say(format!("{} is a copy of {shown}", file.display()));
    Ok(())
}

fn tell(moved: &Moved, what: &str, file: &Path, out: Output) -> Result<(), Failure> {
    if out.json {
        let file = file.display().to_string();
        return out.object(&json!({ "file": file, "moved": moved }));
    }
    let Moved {
        hosts,
        rollouts,
        events,
        users,
        tokens,
        audit,
    } = moved;
    out.say(format!(
        "{what} {hosts} hosts, {rollouts} rollouts, {events} events, {users} people, {tokens} tokens and {audit} entries of \
         the audit trail"
    ));
    Ok(())
}
