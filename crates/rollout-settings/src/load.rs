use std::fmt::Display;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fleet_types::{StagePercents, StepTimeouts};

use crate::app::AppDefaults;
use crate::error::SettingsError;
use crate::history::HistorySettings;
use crate::layer::Layer;
use crate::origin::{Entry, Origin};
use crate::places::Places;
use crate::redact::without_password;
use crate::seconds::Seconds;
use crate::server::{HealthSettings, ServerSettings};
use crate::settings::{LeaseSettings, OrderSetting, RolloutSettings, Settings, SshSettings};

/// Reads the file, if there is one, puts the layers over it (a later one wins), fills in the defaults and checks the
/// whole.
pub fn load(places: &Places, overrides: Vec<(Origin, Layer)>) -> Result<Settings, SettingsError> {
    let mut layers = Vec::new();
    let file = read(places)?;
    if let Some((path, mut layer)) = file.clone() {
        let base = path.parent().map(Path::to_owned);
        resolve_paths(&mut layer, places, base.as_deref());
        layers.push((Origin::File(path), layer));
    }
    for (origin, mut layer) in overrides {
        resolve_paths(&mut layer, places, places.current_dir.as_deref());
        layers.push((origin, layer));
    }
    let settings = merge(places, layers, file.map(|(path, _)| path))?;
    settings.check()?;
    Ok(settings)
}

fn read(places: &Places) -> Result<Option<(PathBuf, Layer)>, SettingsError> {
    let unreadable = |path: &Path, error: io::Error| SettingsError::Unreadable {
        path: path.to_owned(),
        cause: error.to_string(),
    };
    if let Some(path) = &places.config {
        let path = places.resolve(path, places.current_dir.as_deref());
        let text = fs::read_to_string(&path).map_err(|error| unreadable(&path, error))?;
        let layer = parse(&path, &text)?;
        return Ok(Some((path, layer)));
    }
    for path in places.candidates() {
        match fs::read_to_string(&path) {
            Ok(text) => {
                let layer = parse(&path, &text)?;
                return Ok(Some((path, layer)));
            }
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) => {}
            Err(error) => return Err(unreadable(&path, error)),
        }
    }
    Ok(None)
}

fn parse(path: &Path, text: &str) -> Result<Layer, SettingsError> {
    toml::from_str(text).map_err(|error| {
        let before = &text[..error.span().map_or(0, |span| floor(text, span.start))];
        let line = before.matches('\n').count() + 1;
        let column = before
            .rsplit('\n')
            .next()
            .map_or(0, |rest| rest.chars().count())
            + 1;
        let message = error
            .message()
            .lines()
            .map(str::trim)
            .collect::<Vec<_>>()
            .join("; ");
        SettingsError::File {
            path: path.to_owned(),
            line,
            column,
            message,
        }
    })
}

fn floor(text: &str, mut at: usize) -> usize {
    at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

fn resolve_paths(layer: &mut Layer, places: &Places, base: Option<&Path>) {
    let ssh = &mut layer.ssh;
    for path in [
        &mut layer.database_password_file,
        &mut ssh.key,
        &mut ssh.agent,
        &mut ssh.known_hosts,
        &mut ssh.passphrase_file,
    ]
    .into_iter()
    .flatten()
    {
        *path = places.resolve(path, base);
    }
    if let Some(url) = &mut layer.database_url
        && let Some(path) = url.strip_prefix("sqlite://")
        && !path.is_empty()
        && !path.starts_with(':')
    {
        *url = format!(
            "sqlite://{}",
            places.resolve(Path::new(path), base).display()
        );
    }
}

/// Takes the last word on each setting and remembers whose it was.
struct Picker {
    layers: Vec<(Origin, Layer)>,
    entries: Vec<Entry>,
}

impl Picker {
    fn optional<T>(
        &mut self,
        key: &'static str,
        get: impl Fn(&Layer) -> Option<T>,
        default: Option<T>,
        show: impl Fn(&T) -> String,
    ) -> Option<T> {
        let said = self
            .layers
            .iter()
            .rev()
            .find_map(|(origin, layer)| Some((get(layer)?, origin.clone())));
        let (value, origin) = said.map_or((default, Origin::Default), |(value, origin)| {
            (Some(value), origin)
        });
        self.entries.push(Entry {
            key,
            value: value.as_ref().map(show),
            origin,
        });
        value
    }

    fn value<T: Clone>(
        &mut self,
        key: &'static str,
        get: impl Fn(&Layer) -> Option<T>,
        default: T,
        show: impl Fn(&T) -> String,
    ) -> T {
        self.optional(key, get, Some(default.clone()), show)
            .unwrap_or(default)
    }
}

/// The value as a basic string of TOML.
fn quoted<T: Display + ?Sized>(value: &T) -> String {
    let mut text = String::from("\"");
    for c in value.to_string().chars() {
        match c {
            '"' | '\\' => text.extend(['\\', c]),
            c if c.is_control() => text.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => text.push(c),
        }
    }
    text.push('"');
    text
}

/// The values as an array of TOML.
fn list<T: Display>(values: &[T]) -> String {
    let values: Vec<String> = values.iter().map(quoted).collect();
    format!("[{}]", values.join(", "))
}

fn merge(
    places: &Places,
    layers: Vec<(Origin, Layer)>,
    file: Option<PathBuf>,
) -> Result<Settings, SettingsError> {
    let mut pick = Picker {
        layers,
        entries: Vec::new(),
    };
    let state = places
        .state_dir()
        .map(|dir| format!("sqlite://{}", dir.join("rollout.db").display()));
    let database_url = pick
        .optional(
            "database_url",
            |l| l.database_url.clone(),
            state,
            |url| quoted(&without_password(url)),
        )
        .ok_or(SettingsError::NoHome)?;
    let database_password_file = pick.optional(
        "database_password_file",
        |l| l.database_password_file.clone(),
        None,
        |path| quoted(&path.display()),
    );
    let app = app(&mut pick);
    let ssh = ssh(&mut pick, places);
    let rollout = rollout(&mut pick);
    let lease = lease(&mut pick);
    let server = server(&mut pick);
    let health = health(&mut pick);
    let history = history(&mut pick);
    Ok(Settings {
        file,
        database_url,
        database_password_file,
        app,
        ssh,
        rollout,
        lease,
        server,
        health,
        history,
        entries: pick.entries,
    })
}

fn app(pick: &mut Picker) -> AppDefaults {
    let default = AppDefaults::default();
    AppDefaults {
        repo: pick.optional("app.repo", |l| l.app.repo.clone(), None, quoted),
        remote: pick.value(
            "app.remote",
            |l| l.app.remote.clone(),
            default.remote,
            quoted,
        ),
        branch: pick.value(
            "app.branch",
            |l| l.app.branch.clone(),
            default.branch,
            quoted,
        ),
        install: pick.value(
            "app.install",
            |l| l.app.install.clone(),
            default.install,
            quoted,
        ),
        service: pick.optional("app.service", |l| l.app.service.clone(), None, quoted),
        verify: pick.optional("app.verify", |l| l.app.verify.clone(), None, quoted),
        generated: pick.value(
            "app.generated",
            |l| l.app.generated.clone(),
            default.generated,
            |files| list(files),
        ),
        min_free_mib: pick.value(
            "app.min_free_mib",
            |l| l.app.min_free_mib,
            default.min_free_mib,
            u32::to_string,
        ),
        timeouts: timeouts(pick),
    }
}

fn timeouts(pick: &mut Picker) -> StepTimeouts {
    let default = StepTimeouts::default();
    let mut one = |key, get: fn(&Layer) -> Option<u32>, default| {
        pick.value(key, get, default, u32::to_string)
    };
    StepTimeouts {
        connect: one(
            "app.timeouts.connect",
            |l| l.app.timeouts.connect,
            default.connect,
        ),
        inspect: one(
            "app.timeouts.inspect",
            |l| l.app.timeouts.inspect,
            default.inspect,
        ),
        pull: one("app.timeouts.pull", |l| l.app.timeouts.pull, default.pull),
        install: one(
            "app.timeouts.install",
            |l| l.app.timeouts.install,
            default.install,
        ),
        restart: one(
            "app.timeouts.restart",
            |l| l.app.timeouts.restart,
            default.restart,
        ),
        verify: one(
            "app.timeouts.verify",
            |l| l.app.timeouts.verify,
            default.verify,
        ),
        lock: one("app.timeouts.lock", |l| l.app.timeouts.lock, default.lock),
        reconnect: one(
            "app.timeouts.reconnect",
            |l| l.app.timeouts.reconnect,
            default.reconnect,
        ),
    }
}

fn ssh(pick: &mut Picker, places: &Places) -> SshSettings {
    let shown = |path: &PathBuf| quoted(&path.display());
    // A login name that no SSH user can have (with a space, say) is no default; a host then has to name its user.
    let user = places.user.as_deref().and_then(|user| user.parse().ok());
    SshSettings {
        user: pick.optional("ssh.user", |l| l.ssh.user.clone(), user, quoted),
        port: pick.value("ssh.port", |l| l.ssh.port, 22, u16::to_string),
        key: pick.optional("ssh.key", |l| l.ssh.key.clone(), None, shown),
        agent: pick.optional(
            "ssh.agent",
            |l| l.ssh.agent.clone(),
            places.agent.clone(),
            shown,
        ),
        known_hosts: pick.optional(
            "ssh.known_hosts",
            |l| l.ssh.known_hosts.clone(),
            None,
            shown,
        ),
        passphrase_file: pick.optional(
            "ssh.passphrase_file",
            |l| l.ssh.passphrase_file.clone(),
            None,
            shown,
        ),
    }
}

fn rollout(pick: &mut Picker) -> RolloutSettings {
    let list = |stages: &StagePercents| format!("[{}]", stages.to_string().replace(',', ", "));
    let thirty = fleet_types::Policy::default().max_failure_percent;
    let stages = pick.value(
        "rollout.stages",
        |l| l.rollout.stages.clone(),
        StagePercents::default(),
        list,
    );
    let max_failures = pick.value(
        "rollout.max_failures",
        |l| l.rollout.max_failures,
        thirty,
        quoted,
    );
    let concurrency = pick.value(
        "rollout.concurrency",
        |l| l.rollout.concurrency,
        5,
        u32::to_string,
    );
    let four_times = crate::pace::usual_in_flight(concurrency);
    RolloutSettings {
        stages,
        max_failures,
        concurrency,
        max_in_flight: pick.value(
            "rollout.max_in_flight",
            |l| l.rollout.max_in_flight,
            four_times,
            u32::to_string,
        ),
        settle: pick
            .value(
                "rollout.settle",
                |l| l.rollout.settle,
                Seconds(Duration::from_secs(5)),
                quoted,
            )
            .0,
        order: pick.value(
            "rollout.order",
            |l| l.rollout.order,
            OrderSetting::Name,
            quoted,
        ),
    }
}

fn lease(pick: &mut Picker) -> LeaseSettings {
    let mut one = |key, get: fn(&Layer) -> Option<Seconds>, default| {
        pick.value(key, get, Seconds(default), quoted).0
    };
    let lease = one("lease.lease", |l| l.lease.lease, Duration::from_secs(30));
    // Who sets the lease alone means the others to go with it: 30 s, 5 s and 20 s in proportion.
    LeaseSettings {
        lease,
        renew: one("lease.renew", |l| l.lease.renew, lease / 6),
        fence: one("lease.fence", |l| l.lease.fence, lease * 2 / 3),
        slot_grace: one(
            "lease.slot_grace",
            |l| l.lease.slot_grace,
            Duration::from_secs(5),
        ),
    }
}

fn server(pick: &mut Picker) -> ServerSettings {
    let listen = pick.value(
        "server.listen",
        |l| l.server.listen,
        SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)),
        quoted,
    );
    let behind_proxy = pick.value(
        "server.behind_proxy",
        |l| l.server.behind_proxy,
        false,
        bool::to_string,
    );
    let mut time = |key, get: fn(&Layer) -> Option<Seconds>, seconds| {
        pick.value(key, get, Seconds(Duration::from_secs(seconds)), quoted)
            .0
    };
    let session_idle = time("server.session_idle", |l| l.server.session_idle, 30 * 60);
    let session_absolute = time(
        "server.session_absolute",
        |l| l.server.session_absolute,
        12 * 3600,
    );
    let stop_grace = time("server.stop_grace", |l| l.server.stop_grace, 30);
    let proxies = match behind_proxy {
        true => ServerSettings::local_proxies(),
        false => Vec::new(),
    };
    ServerSettings {
        listen,
        behind_proxy,
        session_idle,
        session_absolute,
        stop_grace,
        allowed_hosts: pick.value(
            "server.allowed_hosts",
            |l| l.server.allowed_hosts.clone(),
            Vec::new(),
            |names| list(names),
        ),
        secure_cookies: pick.value(
            "server.secure_cookies",
            |l| l.server.secure_cookies,
            behind_proxy || !listen.ip().to_canonical().is_loopback(),
            bool::to_string,
        ),
        trusted_proxies: pick.value(
            "server.trusted_proxies",
            |l| l.server.trusted_proxies.clone(),
            proxies,
            |networks| list(networks),
        ),
        max_connections: pick.value(
            "server.max_connections",
            |l| l.server.max_connections,
            4096,
            u32::to_string,
        ),
    }
}

fn health(pick: &mut Picker) -> HealthSettings {
    HealthSettings {
        every: pick
            .value(
                "health.every",
                |l| l.health.every,
                Seconds(Duration::from_secs(60)),
                quoted,
            )
            .0,
        fix: pick.value("health.fix", |l| l.health.fix, true, bool::to_string),
    }
}

fn history(pick: &mut Picker) -> HistorySettings {
    let days = pick.value(
        "history.output_days",
        |l| l.history.output_days,
        30,
        u32::to_string,
    );
    HistorySettings {
        output_days: NonZeroU32::new(days),
    }
}
