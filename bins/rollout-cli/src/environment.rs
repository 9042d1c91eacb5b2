//! The only place that reads the environment.

use std::env;
use std::fs;
use std::path::PathBuf;

use fleet_store::Actor;
use rollout_settings::{Layer, Origin, Places, RolloutLayer, Settings, load};

use crate::cli::Global;
use crate::failure::Failure;

/// A variable's value; one that is empty is as good as not set.
fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

fn folder(name: &str) -> Option<PathBuf> {
    env::var_os(name)
        .filter(|value| !value.is_empty())
        .map(PathBuf::from)
}

/// Where to look for what.
pub(crate) fn places(global: &Global) -> Places {
    Places {
        config: global.config.clone().or_else(|| folder("ROLLOUT_CONFIG")),
        current_dir: env::current_dir().ok(),
        home: folder("HOME"),
        // A relative path there has no meaning, says the XDG specification.
        config_home: folder("XDG_CONFIG_HOME").filter(|path| path.is_absolute()),
        state_home: folder("XDG_STATE_HOME").filter(|path| path.is_absolute()),
        user: user(),
        agent: folder("SSH_AUTH_SOCK"),
    }
}

/// The settings in force: the file, then the environment, then the command line.
pub(crate) fn settings(global: &Global, rollout: RolloutLayer) -> Result<Settings, Failure> {
    let environment = Layer {
        database_url: variable("ROLLOUT_DATABASE_URL"),
        ..Layer::default()
    };
    let flags = Layer {
        database_url: global.database_url.clone(),
        rollout,
        ..Layer::default()
    };
    let said = vec![(Origin::Environment, environment), (Origin::Flag, flags)];
    Ok(load(&places(global), said)?)
}

/// What to log, if it was said.
pub(crate) fn log_filter(global: &Global) -> Option<String> {
    let said = variable("ROLLOUT_LOG");
    match global.verbose {
        0 => said,
        1 => Some(said.unwrap_or_else(|| "info".to_owned())),
        _ => Some(said.unwrap_or_else(|| "debug,russh=info".to_owned())),
    }
}

/// The user who runs the program.
pub(crate) fn user() -> Option<String> {
    variable("USER").or_else(|| variable("LOGNAME"))
}

/// The machine's name, for people.
pub(crate) fn machine() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    if name.is_empty() {
        variable("HOSTNAME").unwrap_or_else(|| "this machine".to_owned())
    } else {
        name.to_owned()
    }
}

/// Who asks: `anna@laptop`.
pub(crate) fn actor() -> Actor {
    let user = user().unwrap_or_else(|| "somebody".to_owned());
    Actor(fleet_types::printable(&format!("{user}@{}", machine())))
}

/// Whether the terminal can redraw.
pub(crate) fn is_dumb_terminal() -> bool {
    variable("TERM").is_some_and(|term| term == "dumb")
}

/// How this program is called: through cargo when it was built in a checkout, so that what is shown can be typed.
pub(crate) fn program() -> String {
    let built = |path: PathBuf| {
        path.parent()?
            .parent()?
            .file_name()
            .map(|name| name == "target")
    };
    let profile = |path: &PathBuf| {
        path.parent()
            .and_then(|dir| dir.file_name())
            .is_some_and(|name| name == "release")
    };
    match env::current_exe() {
        Ok(path) if built(path.clone()) == Some(true) && variable("CARGO").is_some() => {
            let release = if profile(&path) { " --release" } else { "" };
            format!("cargo run{release} -p rollout-cli --")
        }
        _ => "rollout-cli".to_owned(),
    }
}
