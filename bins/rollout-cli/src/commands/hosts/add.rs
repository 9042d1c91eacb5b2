use fleet_store::{HostSpec, NewHost};
use rollout_settings::{HostDefaults, MissingSetting};

use crate::cli::AddHost;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::fleet::Fleet;
use crate::fleet_file::absolute;
use crate::output::Output;

/// `hosts add`
pub(crate) async fn run(
    fleet: &dyn Fleet,
    out: Output,
    arguments: AddHost,
) -> Result<Exit, Failure> {
    let host = new_host(fleet, arguments).await?;
    let name = host.name.clone();
    super::judge(fleet, out, &host).await?;
    fleet.add(vec![host]).await?;
    if out.json {
        out.object(&super::one(fleet, &name).await?)?;
    }
    out.say(format!(
        "added {name}; what was not said is from the configuration as it is now, and stays when that changes"
    ));
    out.next(&[
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

async fn new_host(fleet: &dyn Fleet, arguments: AddHost) -> Result<NewHost, Failure> {
    let HostDefaults { port, user, app } = fleet.defaults().await?;
    let folder = fleet.key_folder();
    let user = arguments
        .user
        .or(user)
        .ok_or(MissingSetting::Missing { what: "user" })?;
    Ok(NewHost {
        name: arguments.name,
        spec: HostSpec {
            address: arguments.address,
            port: arguments.port.unwrap_or(port),
            user,
            key: arguments
                .key
                .map(|key| absolute(&key.display().to_string(), folder.as_deref())),
            jump: arguments.jump,
            app: app.with(arguments.app.overrides())?,
        },
        labels: arguments
            .label
            .into_iter()
            .map(|label| (label.key, label.value))
            .collect(),
        owner: arguments.owner.filter(|owner| !owner.is_empty()),
    })
}
