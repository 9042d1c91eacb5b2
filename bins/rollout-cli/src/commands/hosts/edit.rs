use fleet_store::NewHost;

use super::import::changes;
use crate::cli::EditHost;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::fleet::{Fleet, known_entry};
use crate::fleet_file::absolute;
use crate::output::Output;

/// `hosts edit`
pub(crate) async fn run(
    fleet: &dyn Fleet,
    out: Output,
    arguments: EditHost,
) -> Result<Exit, Failure> {
    let known = known_entry(fleet, &arguments.name).await?;
    let clear = arguments.clear_attention;
    let host = edited(fleet, &known, arguments).await?;
    super::judge(fleet, out, &host).await?;
    let changed = changes(&known, &host);
    let name = host.name.clone();
    if !changed.is_empty() {
        fleet.edit(&known.name, host).await?;
    }
    if clear {
        fleet.clear_attention(&name).await?;
    }
    if out.json {
        out.object(&super::one(fleet, &name).await?)?;
    }
    for change in &changed {
        out.say(format!("  {change}"));
    }
    match (changed.is_empty(), clear) {
        (true, false) => out.say(format!("{name} is like that already")),
        (true, true) => out.say(format!("{name} needs no attention any more")),
        (false, _) => out.say(format!("changed {name}")),
    }
    out.next(&[(
        format!("rollout-cli hosts check --on {name}"),
        "look whether an update would work",
    )]);
    Ok(Exit::Done)
}

async fn edited(
    fleet: &dyn Fleet,
    known: &NewHost,
    arguments: EditHost,
) -> Result<NewHost, Failure> {
    let mut spec = known.spec.clone();
    spec.address = arguments.address.unwrap_or(spec.address);
    spec.port = arguments.port.unwrap_or(spec.port);
    spec.user = arguments.user.unwrap_or(spec.user);
    if let Some(key) = arguments.key {
        let folder = fleet.key_folder();
        let key = key.display().to_string();
        spec.key = (!key.is_empty()).then(|| absolute(&key, folder.as_deref()));
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
        spec.app = fleet.defaults().await?.app.with(said)?;
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
    let mut labels = known.labels.clone();
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
        None => known.owner.clone(),
    };
    Ok(NewHost {
        name: arguments.rename.unwrap_or_else(|| known.name.clone()),
        spec,
        labels,
        owner,
    })
}
