use fleet_types::view::HostCheck;
use serde_json::json;

use crate::cli::HostSelection;
use crate::display::table::Table;
use crate::display::words;
use crate::exit::Exit;
use crate::failure::{Failure, one_line};
use crate::fleet::Fleet;
use crate::output::{Output, Paint};

/// `hosts check`
pub(crate) async fn run(
    fleet: &dyn Fleet,
    out: Output,
    arguments: &HostSelection,
) -> Result<Exit, Failure> {
    let chosen = super::chosen(fleet, &arguments.selection()).await?;
    if chosen.is_empty() {
        return Err(Failure::refused("the selection leaves no host")
            .help("rollout-cli hosts list shows the fleet"));
    }
    let checks = fleet.check(super::names(&chosen)).await?;
    show(out, &checks)?;
    let bad = checks
        .iter()
        .filter(|check| !check.problems.is_empty())
        .count();
    let bad = u32::try_from(bad).unwrap_or(u32::MAX);
    if bad == 0 {
        out.say("every host that was looked at could be updated");
        out.next(&[(
            "rollout-cli plan --all".to_owned(),
            "what an update would do",
        )]);
        return Ok(Exit::Done);
    }
    out.say(format!(
        "{} could not be updated as they are; nothing was changed",
        words::hosts(bad)
    ));
    out.next(&[(
        "rollout-cli hosts check --on NAME".to_owned(),
        "look again when it is put right",
    )]);
    Ok(Exit::SomeFailed)
}

fn show(out: Output, checks: &[HostCheck]) -> Result<(), Failure> {
    if out.json {
        return out.object(&json!({ "hosts": checks }));
    }
    let mut table = Table::new(&["HOST", "VERSION", "BRANCH", "SERVICE", "PROBLEMS"]);
    for check in checks {
        let problems: Vec<String> = check
            .problems
            .iter()
            .map(|problem| format!("{}: {}", problem.reason, one_line(&problem.message)))
            .collect();
        let verdict = if problems.is_empty() {
            Paint::Green.on("✓")
        } else {
            format!("{} {}", Paint::Red.on("✗"), problems.join("; "))
        };
        let (version, branch, service) = match &check.seen {
            Some(seen) => (
                words::version(seen.version.as_deref()).to_owned(),
                seen.branch.clone().unwrap_or_else(|| "detached".to_owned()),
                seen.service.clone(),
            ),
            None => ("-".to_owned(), "-".to_owned(), "-".to_owned()),
        };
        table.row(vec![check.name.clone(), version, branch, service, verdict]);
    }
    out.data(&table.to_string())
}
