use fleet_store::HostRecord;
use fleet_types::HostName;
use fleet_types::view::Host;

use super::list::last_update;
use crate::context::Context;
use crate::display::words;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::fleet_file::labels_text;

/// `hosts show`
pub(crate) async fn run(context: &Context, name: &HostName) -> Result<Exit, Failure> {
    let record = context.host(name).await?;
    let views = context.store.host_views(None).await?;
    let view = views.into_iter().find(|host| host.name == name.as_str());
    if context.out.json {
        context.out.object(&view)?;
        return Ok(Exit::Done);
    }
    let lines = lines(&record, view.as_ref());
    let text: String = lines
        .iter()
        .map(|(what, value)| format!("{what:12} {value}\n"))
        .collect();
    context.out.data(&text)?;
    context.out.next(&next(&record, view.as_ref()));
    Ok(Exit::Done)
}

fn lines(record: &HostRecord, view: Option<&Host>) -> Vec<(&'static str, String)> {
    let (spec, app) = (&record.spec, &record.spec.app);
    let or_dash = |text: Option<&str>| text.unwrap_or("-").to_owned();
    let mut lines = vec![
        ("host", record.name.to_string()),
        (
            "address",
            format!("{}@{}:{}", spec.user, spec.address, spec.port),
        ),
        (
            "key",
            spec.key
                .clone()
                .unwrap_or_else(|| "the configured key or the ssh-agent".to_owned()),
        ),
        (
            "jump",
            if spec.jump.is_empty() {
                "-".to_owned()
            } else {
                spec.jump.join(" → ")
            },
        ),
        ("labels", labels_text(&record.labels)),
        ("owner", or_dash(record.owner.as_deref())),
        (
            "repository",
            format!("{} ({}/{})", app.repo, app.remote, app.branch),
        ),
        ("service", app.service.to_string()),
        ("install", app.install.clone()),
        ("verify", or_dash(app.verify.as_deref())),
        (
            "version",
            or_dash(
                record
                    .current_version
                    .as_ref()
                    .map(|version| version.as_str()),
            ),
        ),
        (
            "before that",
            or_dash(
                record
                    .previous_version
                    .as_ref()
                    .map(|version| version.as_str()),
            ),
        ),
        ("health", words::health(record.health).to_owned()),
    ];
    if let Some(view) = view {
        lines.push(("last update", last_update(view)));
        if let Some(attempt) = &view.attempt {
            let step = attempt
                .step
                .as_deref()
                .map(|step| format!("{step}: "))
                .unwrap_or_default();
            let message = attempt.message.clone().unwrap_or_default();
            lines.push((
                "",
                format!(
                    "rollout {}, stage {}, {step}{message}",
                    attempt.rollout.short(),
                    attempt.stage
                ),
            ));
        }
    }
    for key in &record.host_keys {
        lines.push(("pinned key", key.clone()));
    }
    if record.host_keys.is_empty() {
        lines.push(("pinned key", "none".to_owned()));
    }
    lines
}

fn next(record: &HostRecord, view: Option<&Host>) -> Vec<(String, &'static str)> {
    let name = &record.name;
    let mut commands = Vec::new();
    if record.host_keys.is_empty() {
        commands.push((
            format!("rollout-cli hosts trust {name}"),
            "fetch and pin its host key",
        ));
    }
    if let Some(attempt) = view.and_then(|view| view.attempt.as_ref()) {
        commands.push((
            format!("rollout-cli logs {} --host {name}", attempt.rollout.short()),
            "what its steps printed",
        ));
    }
    if record.needs_attention {
        commands.push((
            format!("rollout-cli hosts edit {name} --clear-attention"),
            "when it was put right by hand",
        ));
    }
    commands
}
