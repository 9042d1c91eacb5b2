use crate::cli::RemoveHosts;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;

/// `hosts remove`
pub(crate) async fn run(context: &Context, arguments: &RemoveHosts) -> Result<Exit, Failure> {
    for name in &arguments.names {
        context.host(name).await?;
    }
    let names: Vec<String> = arguments.names.iter().map(ToString::to_string).collect();
    let question = format!(
        "Take {} out of the fleet? Its history stays.",
        names.join(", ")
    );
    if !arguments.yes && context.out.can_ask() && !context.out.ask(&question) {
        context.out.say("nothing was changed");
        return Ok(Exit::Refused);
    }
    for name in &arguments.names {
        context.store.host_remove(name, &context.actor).await?;
        context.out.say(format!("removed {name}"));
    }
    if context.out.json {
        context
            .out
            .object(&serde_json::json!({ "removed": names }))?;
    }
    context
        .out
        .next(&[("rollout-cli hosts list".to_owned(), "what is left")]);
    Ok(Exit::Done)
}
