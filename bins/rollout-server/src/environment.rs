//! The only place that reads the environment.

use std::env;
use std::fs;
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::Context;
use rollout_settings::{Layer, Origin, Places, ServerLayer, Settings, Subnet, load};

use crate::cli::Cli;

/// A variable's value; one that is empty is as good as not set.
fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

fn path(name: &str) -> Option<PathBuf> {
    env::var_os(name)
        .filter(|value| !value.is_empty())
        .map(PathBuf::from)
}

fn parsed<T>(name: &str) -> anyhow::Result<Option<T>>
where
    T: FromStr,
    T::Err: std::error::Error + Send + Sync + 'static,
{
    variable(name)
        .map(|text| text.parse())
        .transpose()
        .with_context(|| format!("the environment variable {name}"))
}

/// Parts between commas.
fn list<T>(name: &str) -> anyhow::Result<Option<Vec<T>>>
where
    T: FromStr,
    T::Err: std::error::Error + Send + Sync + 'static,
{
    let parts = |text: String| {
        text.split(',')
            .map(|part| part.trim().parse())
            .collect::<Result<_, _>>()
    };
    variable(name)
        .map(parts)
        .transpose()
        .with_context(|| format!("the environment variable {name}"))
}

/// Where tests want this program to die, stop or wait, if they do.
#[cfg(feature = "crash-points")]
pub(crate) fn arm_crash_point() -> anyhow::Result<()> {
    let Some(point) = variable("ROLLOUT_CRASH_POINT") else {
        return Ok(());
    };
    let flag = path("ROLLOUT_CRASH_FLAG").context("ROLLOUT_CRASH_FLAG is not set")?;
    rollout_orchestrator::crash_points::arm(&point, flag).map_err(anyhow::Error::msg)
}

/// What tests want this program to know of a later version's schema, if they do.
#[cfg(feature = "crash-points")]
pub(crate) fn know_more_migrations() {
    if let Some(folder) = path("ROLLOUT_MORE_MIGRATIONS") {
        fleet_store::know_more_migrations(folder);
    }
}

/// Where to look for what.
pub(crate) fn places(cli: &Cli) -> Places {
    Places {
        config: cli.config.clone().or_else(|| path("ROLLOUT_CONFIG")),
        current_dir: env::current_dir().ok(),
        home: path("HOME"),
        // A relative path there has no meaning, says the XDG specification.
        config_home: path("XDG_CONFIG_HOME").filter(|path| path.is_absolute()),
        state_home: path("XDG_STATE_HOME").filter(|path| path.is_absolute()),
        user: variable("USER").or_else(|| variable("LOGNAME")),
        agent: path("SSH_AUTH_SOCK"),
    }
}

/// The settings in force: the file, then the environment, then the command line.
pub(crate) fn settings(cli: &Cli) -> anyhow::Result<Settings> {
    let environment = Layer {
        database_url: variable("ROLLOUT_DATABASE_URL"),
        database_password_file: path("ROLLOUT_DATABASE_PASSWORD_FILE"),
        server: ServerLayer {
            listen: parsed("ROLLOUT_LISTEN")?,
            behind_proxy: parsed("ROLLOUT_BEHIND_PROXY")?,
            allowed_hosts: list::<String>("ROLLOUT_ALLOWED_HOSTS")?,
            trusted_proxies: list::<Subnet>("ROLLOUT_TRUSTED_PROXIES")?,
            ..ServerLayer::default()
        },
        ..Layer::default()
    };
    let flags = Layer {
        database_url: cli.database_url.clone(),
        server: ServerLayer {
            listen: cli.listen,
            behind_proxy: cli.behind_proxy.then_some(true),
            ..ServerLayer::default()
        },
        ..Layer::default()
    };
    let said = vec![(Origin::Environment, environment), (Origin::Flag, flags)];
    let settings = load(&places(cli), said)?;
    settings.check_listen()?;
    Ok(settings)
}

/// What to log, if it was said.
pub(crate) fn log_filter() -> Option<String> {
    variable("ROLLOUT_LOG")
}

/// The machine's name, for people.
pub(crate) fn machine() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match name.trim() {
        "" => variable("HOSTNAME").unwrap_or_else(|| "this machine".to_owned()),
        name => fleet_types::printable(name),
    }
}
