use std::sync::Arc;

use fleet_store::HostRecord;
use rollout_orchestrator::{SlotTransport, SshDefaults, endpoint};
use rollout_parts::ssh_defaults;
use serde_json::json;
use tokio::task::JoinSet;
use update_engine::{HostLook, look};

use crate::cli::HostSelection;
use crate::context::Context;
use crate::display::table::Table;
use crate::display::words;
use crate::exit::Exit;
use crate::failure::{Failure, one_line};
use crate::output::Paint;

/// `hosts check`
pub(crate) async fn run(context: &Context, arguments: &HostSelection) -> Result<Exit, Failure> {
    let chosen = super::chosen(context, &arguments.selection()).await?;
    if chosen.is_empty() {
        return Err(Failure::refused("the selection leaves no host")
            .help("rollout-cli hosts list shows the fleet"));
    }
    let looks = look_at_all(context, chosen).await?;
    show(context, &looks)?;
    let bad = looks
        .iter()
        .filter(|(_, seen)| !seen.problems().is_empty())
        .count();
    let bad = u32::try_from(bad).unwrap_or(u32::MAX);
    if bad == 0 {
        context
            .out
            .say("every host that was looked at could be updated");
        context.out.next(&[(
            "rollout-cli plan --all".to_owned(),
            "what an update would do",
        )]);
        return Ok(Exit::Done);
    }
    context.out.say(format!(
        "{} could not be updated as they are; nothing was changed",
        words::hosts(bad)
    ));
    context.out.next(&[(
        "rollout-cli hosts check --on NAME".to_owned(),
        "look again when it is put right",
    )]);
    Ok(Exit::SomeFailed)
}

/// What was seen of one host, or why nothing was.
enum Seen {
    Host(Box<HostLook>),
    Nothing { reason: String, message: String },
}

impl Seen {
    /// What stands in the way of an update: reason and message.
    fn problems(&self) -> Vec<(String, String)> {
        match self {
            Self::Host(look) => look
                .problems
                .iter()
                .map(|problem| (problem.reason.to_string(), one_line(&problem.message)))
                .collect(),
            Self::Nothing { reason, message } => vec![(reason.clone(), one_line(message))],
        }
    }
}

/// Looks at all of them, as many at once as connections may be open.
async fn look_at_all(
    context: &Context,
    chosen: Vec<HostRecord>,
) -> Result<Vec<(HostRecord, Seen)>, Failure> {
    let orchestrator = context.orchestrator()?;
    let mut worker = context.looker(&orchestrator).await?;
    let transport = Arc::new(worker.transport());
    let defaults = Arc::new(ssh_defaults(&context.settings.ssh, context.home.clone()));
    let mut looking = JoinSet::new();
    for host in chosen {
        looking.spawn(look_at(Arc::clone(&transport), Arc::clone(&defaults), host));
    }
    let mut looks = looking.join_all().await;
    worker.abandon();
    worker.finished().await?;
    looks.sort_by(|(a, _), (b, _)| a.name.cmp(&b.name));
    Ok(looks)
}

async fn look_at(
    transport: Arc<SlotTransport>,
    defaults: Arc<SshDefaults>,
    host: HostRecord,
) -> (HostRecord, Seen) {
    let nothing = |reason: &str, message: String| Seen::Nothing {
        reason: reason.to_owned(),
        message,
    };
    let seen = match endpoint(&host.name, &host.spec, &host.host_keys, &defaults) {
        Err(error) => nothing("no_credential", error.to_string()),
        Ok(endpoint) => match look(transport.as_ref(), &endpoint, &host.spec.app).await {
            Ok(look) => Seen::Host(Box::new(look)),
            Err(update_engine::LookError::Unanswered { reason, message }) => {
                nothing(reason.as_str(), message)
            }
            Err(error) => nothing("internal", error.to_string()),
        },
    };
    (host, seen)
}

fn show(context: &Context, looks: &[(HostRecord, Seen)]) -> Result<(), Failure> {
    if context.out.json {
        let hosts: Vec<_> = looks
            .iter()
            .map(|(host, seen)| as_json(host, seen))
            .collect();
        return context.out.object(&json!({ "hosts": hosts }));
    }
    let mut table = Table::new(&["HOST", "VERSION", "BRANCH", "SERVICE", "PROBLEMS"]);
    for (host, seen) in looks {
        let problems: Vec<String> = seen
            .problems()
            .iter()
            .map(|(reason, message)| format!("{reason}: {message}"))
            .collect();
        let verdict = if problems.is_empty() {
            Paint::Green.on("✓")
        } else {
            format!("{} {}", Paint::Red.on("✗"), problems.join("; "))
        };
        let (version, branch, service) = match seen {
            Seen::Host(look) => (
                words::version(look.version.as_ref().map(|version| version.as_str())).to_owned(),
                look.branch.clone().unwrap_or_else(|| "detached".to_owned()),
                look.service.clone(),
            ),
            Seen::Nothing { .. } => ("-".to_owned(), "-".to_owned(), "-".to_owned()),
        };
        table.row(vec![
            host.name.to_string(),
            version,
            branch,
            service,
            verdict,
        ]);
    }
    context.out.data(&table.to_string())
}

fn as_json(host: &HostRecord, seen: &Seen) -> serde_json::Value {
    let problems: Vec<_> = seen
        .problems()
        .into_iter()
        .map(|(reason, message)| json!({ "reason": reason, "message": message }))
        .collect();
    match seen {
        Seen::Host(look) => json!({
            "name": host.name,
            "reachable": true,
            "version": look.version,
            "branch": look.branch,
            "active": look.active,
            "service": look.service,
            "dirty_files": look.dirty_files,
            "problems": problems,
        }),
        Seen::Nothing { .. } => {
            json!({ "name": host.name, "reachable": false, "problems": problems })
        }
    }
}
