//! `audit`

use fleet_store::{AuditQuery, AuditRecord};
use fleet_types::{AuditResult, Timestamp};
use serde::Serialize;
use serde_json::json;

use crate::cli::{Audit, Global};
use crate::context::Context;
use crate::display::table::Table;
use crate::display::words;
use crate::exit::Exit;
use crate::failure::{Failure, one_line};
use crate::output::{Output, Paint};

/// A row of the audit trail as JSON shows it, here and over HTTP.
#[derive(Debug, Serialize)]
struct AuditView {
    id: i64,
    at: Timestamp,
    actor: String,
    source: String,
    action: String,
    subject: Option<String>,
    result: AuditResult,
    detail: Option<String>,
}

impl From<AuditRecord> for AuditView {
    fn from(record: AuditRecord) -> Self {
        Self {
            id: record.id.0,
            at: record.at,
            actor: record.actor.name,
            source: record.actor.source,
            action: record.action,
            subject: record.subject,
            result: record.result,
            detail: record.detail,
        }
    }
}

/// Who did what, the newest first.
pub(crate) async fn run(arguments: &Audit, global: &Global, out: Output) -> Result<Exit, Failure> {
    let context = Context::open(global, out, Default::default()).await?;
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
    let rows = context.admin.audit_list(query).await?;
    let rows: Vec<AuditView> = rows.into_iter().map(AuditView::from).collect();
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

fn cells(row: &AuditView) -> Vec<String> {
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
