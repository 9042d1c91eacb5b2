use fleet_store::{HostSpec, NewHost};
use rollout_settings::MissingSetting;

use crate::cli::AddHost;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::fleet_file::absolute;

/// `hosts add`
pub(crate) async fn run(context: &Context, arguments: AddHost) -> Result<Exit, Failure> {
    let host = new_host(context, arguments)?;
    let name = host.name.clone();
    super::check_spec(context, &host).await?;
    context.store.host_add(vec![host], &context.actor).await?;
    if context.out.json {
        context
            .out
            .object(&super::views(context, &[name.as_str()]).await?)?;
    }
    context.out.say(format!(
        "added {name}; what was not said is from the configuration as it is now, and stays when that changes"
    ));
    context.out.next(&[
        (
            format!("rollout-cli hosts trust {name}"),
            "fetch, compare and pin its host key",
        ),
        (
            format!("rollout-cli hosts check --on {name}"),
            "look whether an update would work",
        ),
    ]);
    Ok(Exit::Done)
}

fn new_host(context: &Context, arguments: AddHost) -> Result<NewHost, Failure> {
    let ssh = &context.settings.ssh;
    let here = std::env::current_dir().ok();
    let user = arguments
        .user
        .or_else(|| ssh.user.clone())
        .ok_or(MissingSetting::Missing { what: "user" })?;
    Ok(NewHost {
        name: arguments.name,
        spec: HostSpec {
            address: arguments.address,
            port: arguments.port.unwrap_or(ssh.port),
            user,
            key: arguments
                .key
                .map(|key| absolute(&key.display().to_string(), here.as_deref())),
            jump: arguments.jump,
            app: context.settings.app.with(arguments.app.overrides())?,
        },
        labels: arguments
            .label
            .into_iter()
            .map(|label| (label.key, label.value))
            .collect(),
        owner: arguments.owner.filter(|owner| !owner.is_empty()),
    })
}
