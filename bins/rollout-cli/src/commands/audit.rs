//! `audit`

use fleet_store::AuditQuery;
use fleet_types::view::AuditEntry;
use fleet_types::{AuditResult, Timestamp};
use serde_json::json;

use crate::cli::{Audit, Global};
use crate::display::table::Table;
use crate::display::words;
use crate::exit::Exit;
use crate::failure::{Failure, one_line};
use crate::fleet::Place;
use crate::output::{Output, Paint};

/// Who did what, the newest first.
pub(crate) async fn run(arguments: &Audit, global: &Global, out: Output) -> Result<Exit, Failure> {
    let place = Place::open(global, out, Default::default()).await?;
    let since = arguments.since.map(|time| {
        let time = i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
        Timestamp(words::now().0.saturating_sub(time))
    });
    let query = AuditQuery {
        before: None,
        actor: arguments.actor.clone(),
        action: arguments.action.clone(),
        since,
        limit: arguments.limit,
    };
    let rows = place.fleet().audit(query).await?;
    if out.json {
        out.object(&json!({ "entries": rows }))?;
        return Ok(Exit::Done);
    }
    if rows.is_empty() {
        out.say("nothing that fits was noted");
        return Ok(Exit::Done);
    }
    let mut table = Table::new(&["WHEN", "WHO", "FROM", "WHAT", "ON", "RESULT", ""]);
    for row in &rows {
        table.row(cells(row));
    }
    out.data(&table.to_string())?;
    Ok(Exit::Done)
}

fn cells(row: &AuditEntry) -> Vec<String> {
    let text = |text: &Option<String>| one_line(text.as_deref().unwrap_or_default());
    let result = match row.result {
        AuditResult::Done => format!("{} done", Paint::Green.on("✓")),
        other => Paint::Red.on(format!("✗ {other}")),
    };
    vec![
        words::moment(row.at),
        one_line(&row.actor),
        one_line(&row.source),
        one_line(&row.action),
        text(&row.subject),
        result,
        text(&row.detail),
    ]
}
