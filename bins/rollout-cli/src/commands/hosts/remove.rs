use crate::ask::Question;
use crate::cli::RemoveHosts;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::fleet::{Fleet, known_host};
use crate::output::Output;

/// `hosts remove`
pub(crate) async fn run(
    fleet: &dyn Fleet,
    out: Output,
    arguments: &RemoveHosts,
) -> Result<Exit, Failure> {
    for name in &arguments.names {
        known_host(fleet, name).await?;
    }
    let names: Vec<String> = arguments.names.iter().map(ToString::to_string).collect();
    let question = format!(
        "Take {} out of the fleet? Its history stays.",
        names.join(", ")
    );
    let many = u32::try_from(names.len()).unwrap_or(u32::MAX);
    let question = Question::about(question, many, false);
    if !arguments.yes && out.can_ask() && !question.ask(out) {
        out.say("nothing was changed");
        return Ok(Exit::Refused);
    }
    for name in &arguments.names {
        fleet.remove(name).await?;
        out.say(format!("removed {name}"));
    }
    if out.json {
        out.object(&serde_json::json!({ "removed": names }))?;
    }
    out.next(&[("rollout-cli hosts list".to_owned(), "what is left")]);
    Ok(Exit::Done)
}
