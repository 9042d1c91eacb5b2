use fleet_store::{HostRecord, NewHost};

use super::import::changes;
use crate::cli::EditHost;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::fleet_file::absolute;

/// `hosts edit`
pub(crate) async fn run(context: &Context, arguments: EditHost) -> Result<Exit, Failure> {
    let record = context.host(&arguments.name).await?;
    let clear = arguments.clear_attention;
    let host = edited(context, &record, arguments)?;
    super::check_spec(context, &host).await?;
    let changed = changes(&record, &host);
    let name = host.name.clone();
    if !changed.is_empty() {
        context
            .store
            .host_edit(&record.name, host, &context.actor)
            .await?;
    }
    if clear {
        context
            .store
            .host_clear_attention(&name, &context.actor)
            .await?;
    }
    if context.out.json {
        context
            .out
            .object(&super::views(context, &[name.as_str()]).await?)?;
    }
    for change in &changed {
        context.out.say(format!("  {change}"));
    }
    match (changed.is_empty(), clear) {
        (true, false) => context.out.say(format!("{name} is like that already")),
        (true, true) => context
            .out
            .say(format!("{name} needs no attention any more")),
        (false, _) => context.out.say(format!("changed {name}")),
    }
    context.out.next(&[(
        format!("rollout-cli hosts check --on {name}"),
        "look whether an update would work",
    )]);
    Ok(Exit::Done)
}

fn edited(context: &Context, record: &HostRecord, arguments: EditHost) -> Result<NewHost, Failure> {
    let mut spec = record.spec.clone();
    spec.address = arguments.address.unwrap_or(spec.address);
    spec.port = arguments.port.unwrap_or(spec.port);
    spec.user = arguments.user.unwrap_or(spec.user);
    if let Some(key) = arguments.key {
        let here = std::env::current_dir().ok();
        let key = key.display().to_string();
        spec.key = (!key.is_empty()).then(|| absolute(&key, here.as_deref()));
    }
    if !arguments.jump.is_empty() {
        spec.jump = arguments
            .jump
            .into_iter()
            .filter(|host| !host.is_empty())
            .collect();
    }
    if arguments.reset_app {
        let mut said = arguments.app.overrides();
        // Where the service lives is the host's own; how it is updated comes from the configuration again.
        said.repo = said.repo.or(Some(spec.app.repo));
        said.service = said.service.or(Some(spec.app.service));
        spec.app = context.settings.app.with(said)?;
    } else {
        let said = arguments.app;
        spec.app.repo = said.repo.unwrap_or(spec.app.repo);
        spec.app.branch = said.branch.unwrap_or(spec.app.branch);
        spec.app.service = said.service.unwrap_or(spec.app.service);
        spec.app.install = said.install.unwrap_or(spec.app.install);
        if let Some(verify) = said.verify {
            spec.app.verify = (!verify.is_empty()).then_some(verify);
        }
        spec.app.check()?;
    }
    let mut labels = record.labels.clone();
    for key in &arguments.unlabel {
        labels.remove(key);
    }
    labels.extend(
        arguments
            .label
            .into_iter()
            .map(|label| (label.key, label.value)),
    );
    let owner = match arguments.owner {
        Some(owner) => Some(owner).filter(|owner| !owner.is_empty()),
        None => record.owner.clone(),
    };
    Ok(NewHost {
        name: arguments.rename.unwrap_or_else(|| record.name.clone()),
        spec,
        labels,
        owner,
    })
}
