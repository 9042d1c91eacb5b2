use std::path::Path;
use std::time::Duration;

use fleet_store::{HostSpec, NewHost};
use fleet_types::Invalid;
use local_fleet::{FleetError, LocalFleet, LocalHost, ReleaseSpec};
use rollout_settings::{
    AppLayer, AppOverrides, Layer, MissingSetting, Origin, Places, RolloutLayer, Seconds, Settings,
    SettingsError, SshLayer, load,
};

use super::script::{Script, name};

/// How long a restarted service is watched: long enough for a crash loop to show, short enough to watch.
const SETTLE: Duration = Duration::from_millis(500);

/// The demo's fleet cannot be described to the programs that update it.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// A name that is not allowed.
    #[error("the demo fleet has a name that is not allowed")]
    Name(#[from] Invalid),
    /// Its settings.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// Its app.
    #[error(transparent)]
    App(#[from] MissingSetting),
}

/// Makes the fleet below this folder: SSH servers on 127.0.0.1, each with its own clone and service.
pub async fn make_fleet(folder: &Path, script: &Script) -> Result<LocalFleet, FleetError> {
    let width = script.hosts().to_string().len().max(2);
    LocalFleet::builder()
        .hosts(script.hosts() as usize)
        .root(folder.join("fleet"))
        .names(move |number| name(number, width))
        .first_release(ReleaseSpec::good("The release before"))
        .start()
        .await
}

/// The release to roll out, broken where the script says.
#[must_use]
pub fn new_release(script: &Script, message: &str) -> ReleaseSpec {
    let broken = script.broken();
    // A release that names no host is broken on every one.
    if broken.is_empty() {
        return ReleaseSpec::good(message);
    }
    ReleaseSpec::crash_loops(message).only_on(broken)
}

/// A store in this folder and settings of its own; what is configured on this machine plays no part.
pub fn settings(fleet: &LocalFleet, folder: &Path) -> Result<Settings, DemoError> {
    let description = fleet.description();
    let layer = Layer {
        database_url: Some(format!("sqlite://{}", folder.join("rollout.db").display())),
        app: AppLayer {
            service: Some(description.service.parse()?),
            ..AppLayer::default()
        },
        ssh: SshLayer {
            user: Some(description.user.parse()?),
            key: Some(description.client_key),
            ..SshLayer::default()
        },
        rollout: RolloutLayer {
            settle: Some(Seconds(SETTLE)),
            ..RolloutLayer::default()
        },
        ..Layer::default()
    };
    Ok(load(&Places::default(), vec![(Origin::Default, layer)])?)
}

/// The hosts as entries of the inventory.
pub fn new_hosts(fleet: &LocalFleet, settings: &Settings) -> Result<Vec<NewHost>, DemoError> {
    let entry = |host: &LocalHost| -> Result<NewHost, DemoError> {
        let repo = host.repository().display().to_string().parse()?;
        Ok(NewHost {
            name: host.name().parse()?,
            spec: HostSpec {
                address: host.address().parse()?,
                port: host.port(),
                user: host.user().parse()?,
                key: None,
                jump: Vec::new(),
                app: settings.app.with(AppOverrides {
                    repo: Some(repo),
                    ..AppOverrides::default()
                })?,
            },
            labels: Default::default(),
            owner: None,
        })
    };
    fleet.hosts().iter().map(entry).collect()
}
