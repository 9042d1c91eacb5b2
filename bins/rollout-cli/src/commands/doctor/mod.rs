//! `doctor`

mod server;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fleet_types::Timestamp;
use rollout_settings::{Settings, without_password};
use serde::Serialize;
use ssh_exec::{Endpoint, HostKeys, Identity};

use crate::cli::Global;
use crate::display::words;
use crate::environment;
use crate::exit::Exit;
use crate::failure::{Failure, one_line};
use crate::fleet::DatabaseFleet;
use crate::output::{Output, Paint};

/// Below this much free space the database may soon be full.
const LITTLE_SPACE: u64 = 200 << 20;
/// Below this much it is as good as full.
const NO_SPACE: u64 = 20 << 20;
/// No clock that is right shows a moment before this one.
const PAST: Timestamp = Timestamp(1_750_000_000_000);

/// Looks at everything that this machine brings to an update.
pub(crate) async fn run(global: &Global, out: Output) -> Result<Exit, Failure> {
    if let Some(login) = environment::server(global)? {
        return server::run(login, out).await;
    }
    let settings = environment::settings(global, Default::default())?;
    let mut checks = vec![configuration(&settings)];
    let context = database(&settings, global, out, &mut checks).await;
    checks.push(disk(&settings));
    credentials(&settings, context.as_ref(), &mut checks).await;
    known_hosts(&settings, &mut checks);
    checks.push(clock(context.as_ref()).await);
    fleet(context.as_ref(), &mut checks).await;
    checks.push(git());
    show(&checks, out)?;
    let bad = checks.iter().any(|check| check.result == Verdict::Bad);
    Ok(if bad { Exit::Refused } else { Exit::Done })
}

/// How one thing was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Ok,
    Warn,
    Bad,
}

#[derive(Debug, Serialize)]
struct Check {
    name: &'static str,
    result: Verdict,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    help: Option<String>,
}

impl Check {
    fn ok(name: &'static str, message: impl ToString) -> Self {
        Self {
            name,
            result: Verdict::Ok,
            message: one_line(&message.to_string()),
            help: None,
        }
    }

    fn warn(name: &'static str, message: impl ToString, help: impl ToString) -> Self {
        Self {
            result: Verdict::Warn,
            help: Some(one_line(&help.to_string())),
            ..Self::ok(name, message)
        }
    }

    fn bad(name: &'static str, message: impl ToString, help: impl ToString) -> Self {
        Self {
            result: Verdict::Bad,
            ..Self::warn(name, message, help)
        }
    }
}

fn configuration(settings: &Settings) -> Check {
    match &settings.file {
        None => Check::warn(
            "configuration",
            "no file; the defaults hold",
            "rollout-cli init writes one",
        ),
        Some(file) => Check::ok("configuration", file.display()),
    }
}

async fn database(
    settings: &Settings,
    global: &Global,
    out: Output,
    checks: &mut Vec<Check>,
) -> Option<DatabaseFleet> {
    let shown = without_password(&settings.database_url);
    let file = settings
        .database_url
        .strip_prefix("sqlite://")
        .map(Path::new);
    if file.is_some_and(|file| !file.exists()) {
        checks.push(Check::ok(
            "database",
            format!("{shown} will be made when it is needed"),
        ));
        return None;
    }
    match DatabaseFleet::open(global, out, Default::default()).await {
        Ok(context) => {
            checks.push(Check::ok("database", shown));
            Some(context)
        }
        Err(failure) => {
            let mut lines = failure.lines().into_iter();
            let what = lines
                .next()
                .unwrap_or_default()
                .trim_start_matches("error: ")
                .to_owned();
            checks.push(Check::bad(
                "database",
                what,
                lines.collect::<Vec<_>>().join(" ").trim(),
            ));
            None
        }
    }
}

fn disk(settings: &Settings) -> Check {
    let Some(file) = settings.database_url.strip_prefix("sqlite://") else {
        return Check::ok("disk", "the database is on another system");
    };
    // The folder may not be there yet; the one that it will be made in is.
    let folder = Path::new(file)
        .ancestors()
        .skip(1)
        .find(|folder| folder.is_dir());
    let Some((folder, space)) =
        folder.and_then(|folder| Some((folder, rustix::fs::statvfs(folder).ok()?)))
    else {
        return Check::warn(
            "disk",
            "the free space cannot be found out",
            "look at it yourself: df",
        );
    };
    let free = space.f_bavail.saturating_mul(space.f_frsize);
    let message = format!("{} MiB free at {}", free >> 20, folder.display());
    match free {
        NO_SPACE.. if free >= LITTLE_SPACE => Check::ok("disk", message),
        NO_SPACE.. => Check::warn("disk", message, "make room before the database is full"),
        _ => Check::bad(
            "disk",
            message,
            "make room: a rollout cannot be kept on record",
        ),
    }
}

/// Every credential in use: the configured one, and those that hosts name.
async fn credentials(
    settings: &Settings,
    context: Option<&DatabaseFleet>,
    checks: &mut Vec<Check>,
) {
    let mut keys: BTreeSet<PathBuf> = settings.ssh.key.iter().cloned().collect();
    if let Some(context) = context
        && let Ok(hosts) = context.store.host_list().await
    {
        let home = context.home.clone().unwrap_or_default();
        let whole = |key: &String| {
            key.strip_prefix("~/")
                .map_or_else(|| PathBuf::from(key), |rest| home.join(rest))
        };
        keys.extend(
            hosts
                .iter()
                .filter_map(|host| host.spec.key.as_ref().map(whole)),
        );
    }
    let transport = match rollout_parts::transport(&settings.ssh) {
        Ok(transport) => transport,
        Err(error) => {
            let lines = Failure::from(error).lines();
            checks.push(Check::bad(
                "passphrase",
                lines.first().cloned().unwrap_or_default(),
                lines[1..].join(" ").trim(),
            ));
            return;
        }
    };
    let none = keys.is_empty();
    for key in keys {
        let shown = key.display().to_string();
        checks.push(
            match transport
                .check_identity(&endpoint(Identity::File(key)))
                .await
            {
                Ok(()) => Check::ok("key", shown),
                Err(error) => Check::bad("key", &error, key_help(&error)),
            },
        );
    }
    checks.push(match &settings.ssh.agent {
        None if none => Check::bad(
            "agent",
            "no key is configured and there is no ssh-agent",
            "set key in [ssh], or start an ssh-agent",
        ),
        None => Check::ok("agent", "none; the key is used"),
        Some(socket) => match transport
            .check_identity(&endpoint(Identity::Agent(socket.clone())))
            .await
        {
            Ok(()) => Check::ok("agent", socket.display()),
            Err(error) if none => Check::bad("agent", &error, "ssh-add a key, or set key in [ssh]"),
            Err(error) => Check::warn("agent", &error, "nothing to do while the key is used"),
        },
    });
}

fn key_help(error: &ssh_exec::IdentityError) -> &'static str {
    use ssh_exec::IdentityError as E;
    match error {
        E::NeedsPassphrase { .. } | E::WrongPassphrase { .. } => {
            "set passphrase_file in [ssh], or use the ssh-agent"
        }
        E::TooOpen { .. } => "take the rights of others away",
        _ => "name another key in [ssh] or with hosts edit --key",
    }
}

/// Somewhere to try a credential for, without going there.
fn endpoint(identity: Identity) -> Endpoint {
    Endpoint {
        name: "doctor".to_owned(),
        address: "127.0.0.1".to_owned(),
        port: 22,
        user: "root".to_owned(),
        identity,
        host_keys: HostKeys::default(),
        jump: None,
        connect_timeout: Duration::from_secs(10),
    }
}

fn known_hosts(settings: &Settings, checks: &mut Vec<Check>) {
    let Some(path) = &settings.ssh.known_hosts else {
        return;
    };
    checks.push(match std::fs::read(path) {
        Ok(_) => Check::ok("known_hosts", path.display()),
        Err(error) => Check::bad(
            "known_hosts",
            format!("{}: {error}", path.display()),
            "correct known_hosts in [ssh]",
        ),
    });
}

async fn clock(context: Option<&DatabaseFleet>) -> Check {
    let now = words::now();
    let latest = match context {
        Some(context) => context
            .store
            .rollout_latest()
            .await
            .ok()
            .flatten()
            .map(|rollout| rollout.created_at),
        None => None,
    };
    let shown = words::moment(now);
    let help = "set the clock; deadlines do not depend on it, but what is on record does";
    match latest {
        _ if now < PAST => Check::warn("clock", format!("{shown} lies in the past"), help),
        Some(latest) if latest > now => Check::warn(
            "clock",
            format!(
                "{shown} is before the last rollout, {}",
                words::moment(latest)
            ),
            help,
        ),
        _ => Check::ok("clock", shown),
    }
}

async fn fleet(context: Option<&DatabaseFleet>, checks: &mut Vec<Check>) {
    let Some(context) = context else { return };
    let Ok(hosts) = context.store.host_list().await else {
        return;
    };
    if hosts.is_empty() {
        checks.push(Check::warn(
            "fleet",
            "it has no hosts",
            "rollout-cli hosts add NAME --address A, or hosts import FILE",
        ));
        return;
    }
    let count = words::hosts(u32::try_from(hosts.len()).unwrap_or(u32::MAX));
    let unpinned = hosts
        .iter()
        .filter(|host| host.host_keys.is_empty())
        .count();
    checks.push(match unpinned {
        0 => Check::ok("fleet", count),
        // Jump hosts and hosts in a known_hosts file need no pinned key.
        _ if context.settings.ssh.known_hosts.is_some() => {
            Check::ok("fleet", format!("{count}, {unpinned} without a pinned key"))
        }
        _ => Check::bad(
            "fleet",
            format!("{count}, {unpinned} without a pinned host key"),
            "rollout-cli hosts trust",
        ),
    });
}

/// Only the demo needs git here; hosts have their own.
fn git() -> Check {
    let asked = std::process::Command::new("git").arg("--version").output();
    match asked {
        Ok(output) if output.status.success() => Check::ok(
            "git",
            format!(
                "{} (for the demo)",
                String::from_utf8_lossy(&output.stdout).trim()
            ),
        ),
        _ => Check::warn(
            "git",
            "not found",
            "only rollout-cli demo needs it on this machine",
        ),
    }
}

fn show(checks: &[Check], out: Output) -> Result<(), Failure> {
    if out.json {
        return out.object(&serde_json::json!({ "checks": checks }));
    }
    for check in checks {
        let mark = match check.result {
            Verdict::Ok => Paint::Green.on("✓ ok  "),
            Verdict::Warn => Paint::Yellow.on("! warn"),
            Verdict::Bad => Paint::Red.on("✗ bad "),
        };
        out.line(format!("{mark}  {:13}  {}", check.name, check.message))?;
        if let Some(help) = &check.help {
            out.line(format!("                       → {help}"))?;
        }
    }
    let worst_is_bad = checks.iter().any(|check| check.result == Verdict::Bad);
    if worst_is_bad {
        out.next(&[(
            "rollout-cli doctor".to_owned(),
            "look again when it is put right",
        )]);
    } else {
        out.next(&[(
            "rollout-cli hosts check".to_owned(),
            "look at the hosts themselves",
        )]);
    }
    Ok(())
}
