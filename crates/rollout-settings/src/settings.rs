use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use fleet_types::{HostOrder, Invalid, Percent, Policy, StagePercents, UserName};
use serde::Deserialize;

use crate::app::AppDefaults;
use crate::error::SettingsError;
use crate::history::HistorySettings;
use crate::origin::{Entry, Origin};
use crate::server::{HealthSettings, ServerSettings};

/// All settings, each with its value in force. Paths are complete: `~/` and relative ones were resolved.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The file that was read, if there was one.
    pub file: Option<PathBuf>,
    /// `sqlite://PATH` or `postgres://…`; may hold a password.
    pub database_url: String,
    /// File whose first line is the password for PostgreSQL.
    pub database_password_file: Option<PathBuf>,
    /// How the service is updated where a host says nothing else.
    pub app: AppDefaults,
    /// How hosts are reached.
    pub ssh: SshSettings,
    /// How a rollout goes about it.
    pub rollout: RolloutSettings,
    /// The times that leases go by.
    pub lease: LeaseSettings,
    /// How the server is reached and how it stops. The command line has no use for it.
    pub server: ServerSettings,
    /// The health checker.
    pub health: HealthSettings,
    /// What is kept of rollouts that are over.
    pub history: HistorySettings,
    pub(crate) entries: Vec<Entry>,
}

/// How hosts are reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SshSettings {
    /// User to sign in as, for hosts that name none.
    pub user: Option<UserName>,
    /// Port of sshd, for hosts that name none.
    pub port: u16,
    /// Private key for hosts that name none; none means the agent.
    pub key: Option<PathBuf>,
    /// Socket of the ssh-agent.
    pub agent: Option<PathBuf>,
    /// OpenSSH `known_hosts` file to look in when nothing is pinned; its `@revoked` lines hold always.
    pub known_hosts: Option<PathBuf>,
    /// File whose first line is the passphrase of the key.
    pub passphrase_file: Option<PathBuf>,
}

/// How a rollout goes about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RolloutSettings {
    /// Cumulative percentages.
    pub stages: StagePercents,
    /// A stage halts the rollout when more than this share of it fails.
    pub max_failures: Percent,
    /// SSH connections at once.
    pub concurrency: u32,
    /// Hosts in `updating` at once; four times the connections when nothing is said.
    pub max_in_flight: u32,
    /// Settle wait.
    pub settle: Duration,
    /// Order of the hosts.
    pub order: OrderSetting,
}

/// Order of the hosts, before a seed is drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OrderSetting {
    /// By name.
    #[default]
    Name,
    /// Shuffled; each rollout draws its own seed and keeps it.
    Random,
}

/// The times that leases go by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseSettings {
    /// A lease not renewed for this long is lost.
    pub lease: Duration,
    /// It is renewed this often.
    pub renew: Duration,
    /// A worker that could not renew for this long sends no further changing command.
    pub fence: Duration,
    /// A dead worker's connection slots count for this long after its lease ran out.
    pub slot_grace: Duration,
}

impl fmt::Display for OrderSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Name => "name",
            Self::Random => "random",
        })
    }
}

impl RolloutSettings {
    /// The policy of a rollout; `seed` is used when the order is random.
    #[must_use]
    pub fn policy(&self, seed: u64) -> Policy {
        Policy {
            stages: self.stages.clone(),
            max_failure_percent: self.max_failures,
            concurrency: self.concurrency,
            max_in_flight: self.max_in_flight,
            settle: self.settle,
            order: match self.order {
                OrderSetting::Name => HostOrder::Name,
                OrderSetting::Random => HostOrder::Random(seed),
            },
        }
    }
}

impl Settings {
    /// Every setting as it may be shown, in the order of the file.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Where the value of `key` came from.
    #[must_use]
    pub fn origin(&self, key: &str) -> Origin {
        self.entries
            .iter()
            .find(|entry| entry.key == key)
            .map_or(Origin::Default, |entry| entry.origin.clone())
    }

    /// The `max_in_flight` that somebody chose; none where it goes along with the connections.
    #[must_use]
    pub fn chosen_in_flight(&self) -> Option<u32> {
        let chosen = self.origin("rollout.max_in_flight") != Origin::Default;
        chosen.then_some(self.rollout.max_in_flight)
    }

    /// Refuses values that cannot be meant, or that do not go together.
    pub fn check(&self) -> Result<(), SettingsError> {
        self.check_database_url()?;
        self.check_app()?;
        self.check_rollout()?;
        self.check_lease()?;
        let others = self
            .server
            .check()
            .and_then(|()| self.health.check())
            .and_then(|()| self.history.check());
        others.map_err(|(key, invalid)| self.refuse(key, invalid))
    }

    /// Refuses what a server must not do with these settings: listen where others can reach it, without a proxy that
    /// speaks TLS before it.
    pub fn check_listen(&self) -> Result<(), SettingsError> {
        self.server
            .check_listen()
            .map_err(|invalid| self.refuse("server.listen", invalid))
    }

    fn refuse(&self, key: &'static str, source: Invalid) -> SettingsError {
        SettingsError::Value {
            key,
            origin: self.origin(key),
            source,
        }
    }

    fn check_database_url(&self) -> Result<(), SettingsError> {
        let known = ["sqlite://", "postgres://", "postgresql://"]
            .iter()
            .any(|scheme| {
                self.database_url
                    .strip_prefix(scheme)
                    .is_some_and(|rest| !rest.is_empty())
            });
        let shown = crate::redact::without_password(&self.database_url);
        if known {
            return self.check_password_file(&shown);
        }
        Err(self.refuse(
            "database_url",
            Invalid::new("database", &shown, "must be sqlite://PATH or postgres://…"),
        ))
    }

    /// A password comes from one place. An SQLite file has none, and no use for the setting.
    fn check_password_file(&self, shown: &str) -> Result<(), SettingsError> {
        let Some(file) = &self.database_password_file else {
            return Ok(());
        };
        if shown == self.database_url {
            return Ok(());
        }
        let why = "goes with a database_url that holds no password";
        let file = file.display().to_string();
        let invalid = Invalid::new("password file", &file, why);
        Err(self.refuse("database_password_file", invalid))
    }

    fn check_app(&self) -> Result<(), SettingsError> {
        // A stand-in for what only hosts may have said, so that everything else is checked as it will be for a host.
        let app = fleet_types::AppSettings {
            repo: self
                .app
                .repo
                .clone()
                .unwrap_or("/x".parse().expect("an absolute path")),
            remote: self.app.remote.clone(),
            branch: self.app.branch.clone(),
            install: self.app.install.clone(),
            service: self
                .app
                .service
                .clone()
                .unwrap_or("x".parse().expect("a unit name")),
            verify: self.app.verify.clone(),
            generated: self.app.generated.clone(),
            min_free_mib: self.app.min_free_mib,
            timeouts: self.app.timeouts,
        };
        app.check().map_err(|invalid| {
            let key = match invalid.what {
                "install command" => "app.install",
                "verify command" => "app.verify",
                "generated file" => "app.generated",
                "connect timeout" => "app.timeouts.connect",
                "inspect timeout" => "app.timeouts.inspect",
                "pull timeout" => "app.timeouts.pull",
                "install timeout" => "app.timeouts.install",
                "restart timeout" => "app.timeouts.restart",
                "verify timeout" => "app.timeouts.verify",
                "lock timeout" => "app.timeouts.lock",
                "reconnect timeout" => "app.timeouts.reconnect",
                _ => "app",
            };
            self.refuse(key, invalid)
        })?;
        if self.ssh.port == 0 {
            return Err(self.refuse(
                "ssh.port",
                Invalid::new("port", "0", "must be from 1 to 65535"),
            ));
        }
        Ok(())
    }

    fn check_rollout(&self) -> Result<(), SettingsError> {
        self.rollout.policy(0).check().map_err(|invalid| {
            let key = match invalid.what {
                "concurrency" => "rollout.concurrency",
                "max-in-flight" => "rollout.max_in_flight",
                _ => "rollout.settle",
            };
            self.refuse(key, invalid)
        })
    }

    fn check_lease(&self) -> Result<(), SettingsError> {
        let times = &self.lease;
        let refuse = |key, time: Duration, why| {
            Err(self.refuse(
                key,
                Invalid::new("time", &format!("{}s", time.as_secs_f64()), why),
            ))
        };
        if times.renew.is_zero() {
            return refuse("lease.renew", times.renew, "must be more than 0");
        }
        if times.renew >= times.fence {
            return refuse("lease.renew", times.renew, "must be less than lease.fence");
        }
        if times.fence >= times.lease {
            return refuse("lease.fence", times.fence, "must be less than lease.lease");
        }
        if times.lease > Duration::from_secs(3600) {
            return refuse("lease.lease", times.lease, "must be at most one hour");
        }
        if times.slot_grace > Duration::from_secs(3600) {
            return refuse(
                "lease.slot_grace",
                times.slot_grace,
                "must be at most one hour",
            );
        }
        Ok(())
    }
}
