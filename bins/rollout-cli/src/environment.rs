//! The only place that reads the environment.

use std::env;
use std::fs;
use std::path::PathBuf;

use fleet_store::Actor;
use rollout_settings::{Layer, Origin, Places, RolloutLayer, Settings, load, without_password};

use crate::cli::Global;
use crate::failure::Failure;
use crate::fleet::{Login, TokenSource};

/// A variable's value; one that is empty is as good as not set.
fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

fn folder(name: &str) -> Option<PathBuf> {
    env::var_os(name)
        .filter(|value| !value.is_empty())
        .map(PathBuf::from)
}

/// Where tests want this program to die, stop or wait, if they do.
#[cfg(feature = "crash-points")]
pub(crate) fn arm_crash_point() -> Result<(), String> {
    match (
        variable("ROLLOUT_CRASH_POINT"),
        folder("ROLLOUT_CRASH_FLAG"),
    ) {
        (None, _) => Ok(()),
        (Some(_), None) => Err("ROLLOUT_CRASH_FLAG is not set".to_owned()),
        (Some(point), Some(flag)) => rollout_orchestrator::crash_points::arm(&point, flag),
    }
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
        database_password_file: folder("ROLLOUT_DATABASE_PASSWORD_FILE"),
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

/// Whether a server is to do the work, be it right or wrong what is said of it.
pub(crate) fn names_server(global: &Global) -> bool {
    let said = global.server.is_some() || variable("ROLLOUT_SERVER").is_some();
    said && global.database_url.is_none()
}

/// The server to ask, if one was said; without one the database is worked on here.
pub(crate) fn server(global: &Global) -> Result<Option<Login>, Failure> {
    let from_environment = || match (variable("ROLLOUT_SERVER"), variable("ROLLOUT_DATABASE_URL")) {
        (Some(_), _) if global.database_url.is_some() => Ok(None),
        (Some(_), Some(_)) => Err(Failure::usage(
            "ROLLOUT_SERVER and ROLLOUT_DATABASE_URL are both set",
        )
        .why("either a server works on the hosts, or this program does")
        .help("say --server URL or --database-url URL, or take one of the two away")),
        (server, _) => Ok(server),
    };
    let server = match &global.server {
        Some(server) => Some(server.clone()),
        None => from_environment()?,
    };
    let Some(server) = server else {
        return Ok(None);
    };
    let file = global.token_file.clone();
    let token = file
        .map(TokenSource::File)
        .or_else(|| variable("ROLLOUT_TOKEN").map(TokenSource::Variable))
        .or_else(|| folder("ROLLOUT_TOKEN_FILE").map(TokenSource::File));
    Login::new(&server, token).map(Some)
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
    variable("USER")
        .or_else(|| variable("LOGNAME"))
        .or_else(user_on_record)
}

/// What the system calls the user whose rights we have; programs that start at boot have no variables.
fn user_on_record() -> Option<String> {
    let own = rustix::process::getuid().as_raw().to_string();
    let passwd = fs::read_to_string("/etc/passwd").ok()?;
    passwd.lines().find_map(|line| {
        let mut parts = line.split(':');
        let name = parts.next()?;
        (parts.nth(1)? == own).then(|| name.to_owned())
    })
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

/// Who asks, `anna@laptop`, and from where, `cli on laptop`.
pub(crate) fn actor() -> Actor {
    let user = user().unwrap_or_else(|| "somebody".to_owned());
    let machine = machine();
    let printable = |text: String| fleet_types::printable(&text);
    Actor::new(
        printable(format!("{user}@{machine}")),
        printable(format!("cli on {machine}")),
    )
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

/// Which fleet was named on the command line itself, as words to type again; what stands in the environment or in a file
/// found by itself goes on to hold. A URL with a password in it is not repeated; it stands as `URL`.
pub(crate) fn typed_place(global: &Global) -> Vec<(&'static str, String)> {
    let path = |path: &PathBuf| path.display().to_string();
    let url = |url: &String| without_secret(url.clone());
    let said = [
        ("--config", global.config.as_ref().map(path)),
        ("--database-url", global.database_url.as_ref().map(url)),
        ("--server", global.server.clone()),
        ("--token-file", global.token_file.as_ref().map(path)),
    ];
    said.into_iter()
        .filter_map(|(flag, value)| Some((flag, for_shell(&value?))))
        .collect()
}

/// A word that may be shown: in place of a URL with a password in it, what it is.
fn without_secret(word: String) -> String {
    let (flag, url) = match word.split_once('=') {
        Some((flag, url)) if flag.starts_with("--") => (Some(flag), url),
        _ => (None, word.as_str()),
    };
    match flag {
        _ if without_password(url) == url => word,
        Some(flag) => format!("{flag}=URL"),
        None => "URL".to_owned(),
    }
}

/// A word as a shell reads it.
fn for_shell(word: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"._-/=,:%@".contains(&b);
    if word.bytes().all(plain) && !word.is_empty() {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

/// The command line that showed a plan, as the one that carries it out.
pub(crate) fn command_to_carry_out() -> String {
    let mut seen_verb = false;
    let words = env::args()
        .skip(1)
        .filter(|word| word != "--dry-run")
        .map(|word| {
            if word == "plan" && !std::mem::replace(&mut seen_verb, true) {
                return "update".to_owned();
            }
            for_shell(&without_secret(word))
        });
    std::iter::once("rollout-cli".to_owned())
        .chain(words)
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::without_secret;

    #[test]
    fn a_password_is_not_shown_in_a_command_to_type() {
        for (word, shown) in [
            ("postgres://u:secret@db/app", "URL"),
            (
                "--database-url=postgres://u:secret@db/app?sslmode=require",
                "--database-url=URL",
            ),
            ("postgres://u@db/app", "postgres://u@db/app"),
            ("--server=https://fleet", "--server=https://fleet"),
            ("@key=value", "@key=value"),
        ] {
            assert_eq!(without_secret(word.to_owned()), shown);
        }
    }
}
