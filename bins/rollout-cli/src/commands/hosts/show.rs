use fleet_types::HostName;
use fleet_types::view::{Host, HostEntry};

use super::list::{health, last_update};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::fleet::{Fleet, ShownHost, known_host};
use crate::fleet_file::labels_text;
use crate::output::Output;

/// `hosts show`
pub(crate) async fn run(fleet: &dyn Fleet, out: Output, name: &HostName) -> Result<Exit, Failure> {
    let shown = known_host(fleet, name).await?;
    if out.json {
        out.object(&shown.host)?;
        return Ok(Exit::Done);
    }
    let text: String = lines(&shown)
        .iter()
        .map(|(what, value)| format!("{what:12} {value}\n"))
        .collect();
    out.data(&text)?;
    out.next(&next(&shown));
    Ok(Exit::Done)
}

fn lines(shown: &ShownHost) -> Vec<(&'static str, String)> {
    let host = &shown.host;
    let or_dash = |text: Option<&str>| text.unwrap_or("-").to_owned();
    let mut lines = vec![
        ("host", host.name.clone()),
        (
            "address",
            format!("{}@{}:{}", host.user, host.address, host.port),
        ),
    ];
    if let Some(entry) = &shown.entry {
        lines.extend(way_there(entry));
    }
    lines.push(("labels", labels_text(&host.labels)));
    lines.push(("owner", or_dash(host.owner.as_deref())));
    if let Some(entry) = &shown.entry {
        lines.extend(app(entry));
    }
    lines.push(("version", or_dash(host.current_version.as_deref())));
    lines.push(("before that", or_dash(host.previous_version.as_deref())));
    lines.push(("health", health(host)));
    lines.push(("last update", last_update(host)));
    lines.extend(attempt(host).map(|text| ("", text)));
    for key in &shown.host_keys {
        lines.push(("pinned key", key.clone()));
    }
    if shown.host_keys.is_empty() {
        lines.push(("pinned key", "none".to_owned()));
    }
    lines
}

fn way_there(entry: &HostEntry) -> [(&'static str, String); 2] {
    let key = match &entry.key {
        Some(key) => key.clone(),
        None => "the configured key or the ssh-agent".to_owned(),
    };
    let jump = if entry.jump.is_empty() {
        "-".to_owned()
    } else {
        entry.jump.join(" → ")
    };
    [("key", key), ("jump", jump)]
}

fn app(entry: &HostEntry) -> [(&'static str, String); 4] {
    let repository = format!("{} ({}/{})", entry.repo, entry.remote, entry.branch);
    [
        ("repository", repository),
        ("service", entry.service.to_string()),
        ("install", entry.install.clone()),
        (
            "verify",
            entry.verify.clone().unwrap_or_else(|| "-".to_owned()),
        ),
    ]
}

fn attempt(host: &Host) -> Option<String> {
    let attempt = host.attempt.as_ref()?;
    let step = attempt
        .step
        .as_deref()
        .map(|step| format!("{step}: "))
        .unwrap_or_default();
    let message = attempt.message.clone().unwrap_or_default();
    Some(format!(
        "rollout {}, stage {}, {step}{message}",
        attempt.rollout.short(),
        attempt.stage
    ))
}

fn next(shown: &ShownHost) -> Vec<(String, &'static str)> {
    let name = &shown.host.name;
    let mut commands = Vec::new();
    if shown.host_keys.is_empty() {
        commands.push((
            format!("rollout-cli hosts trust {name}"),
            "fetch and pin its host key",
        ));
    }
    if let Some(attempt) = &shown.host.attempt {
        commands.push((
            format!("rollout-cli logs {} --host {name}", attempt.rollout.short()),
            "what its steps printed",
        ));
    }
    if shown.host.needs_attention {
        commands.push((
            format!("rollout-cli hosts edit {name} --clear-attention"),
            "when it was put right by hand",
        ));
    }
    commands
}
