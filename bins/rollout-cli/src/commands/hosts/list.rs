use crate::cli::ListHosts;
use crate::display::table::Table;
use crate::display::words;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::fleet::Fleet;
use crate::fleet_file::labels_text;
use crate::output::Output;

/// `hosts list`
pub(crate) async fn run(
    fleet: &dyn Fleet,
    out: Output,
    arguments: &ListHosts,
) -> Result<Exit, Failure> {
    let hosts = super::chosen(fleet, &arguments.hosts.selection()).await?;
    if out.json {
        out.object(&serde_json::json!({ "hosts": hosts }))?;
        return Ok(Exit::Done);
    }
    if hosts.is_empty() {
        out.say("the fleet has no hosts");
        out.next(&[
            (
                "rollout-cli hosts add NAME --address A".to_owned(),
                "add one",
            ),
            ("rollout-cli hosts import FILE".to_owned(), "add many"),
        ]);
        return Ok(Exit::Done);
    }
    let mut table = Table::new(&[
        "NAME",
        "ADDRESS",
        "VERSION",
        "LAST UPDATE",
        "HEALTH",
        "LABELS",
        "OWNER",
    ]);
    for host in &hosts {
        table.row(vec![
            host.name.clone(),
            format!("{}@{}:{}", host.user, host.address, host.port),
            words::version(host.current_version.as_deref()).to_owned(),
            last_update(host),
            health(host),
            labels_text(&host.labels),
            host.owner.clone().unwrap_or_default(),
        ]);
    }
    out.data(&table.to_string())?;
    Ok(Exit::Done)
}

/// `active 40 s ago`: what the health checker saw last, and when.
pub(crate) fn health(host: &fleet_types::view::Host) -> String {
    let word = words::health(host.health);
    match host.checked_at {
        Some(at) => format!("{word} {}", words::ago(at)),
        None => word.to_owned(),
    }
}

/// `✓ updated 3 min ago`, with a note when a person must look.
pub(crate) fn last_update(host: &fleet_types::view::Host) -> String {
    let Some(status) = host.update_status else {
        return "-".to_owned();
    };
    let reason = host
        .attempt
        .as_ref()
        .and_then(|attempt| attempt.reason.as_deref());
    let mark = words::Mark::of(status, reason);
    let when = host
        .last_update_at
        .map(|at| format!(" {}", words::ago(at)))
        .unwrap_or_default();
    let note = if host.needs_attention {
        ", NEEDS ATTENTION"
    } else {
        ""
    };
    format!("{} {}{when}{note}", mark.painted(), mark.word)
}
