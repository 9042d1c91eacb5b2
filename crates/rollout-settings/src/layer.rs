//! What one source says: the file, the environment, or the command line. Everything is optional; the file has exactly
//! this shape, and a key that is not here is an error there.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use fleet_types::{
    BranchName, Percent, RemoteName, RepoPath, ServiceName, StagePercents, UserName,
};
use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::seconds::Seconds;
use crate::settings::OrderSetting;
use crate::subnet::Subnet;

/// What one source says.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Layer {
    /// `sqlite://PATH` or `postgres://…`.
    pub database_url: Option<String>,
    /// File whose first line is the password for PostgreSQL.
    pub database_password_file: Option<PathBuf>,
    /// How the service is updated where a host says nothing else.
    pub app: AppLayer,
    /// How hosts are reached.
    pub ssh: SshLayer,
    /// How a rollout goes about it where the command says nothing else.
    pub rollout: RolloutLayer,
    /// The times that leases go by.
    pub lease: LeaseLayer,
    /// How the server is reached and how it stops.
    pub server: ServerLayer,
    /// The health checker.
    pub health: HealthLayer,
    /// What is kept of rollouts that are over.
    pub history: HistoryLayer,
}

/// `[app]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AppLayer {
    /// The git clone on the host.
    pub repo: Option<RepoPath>,
    /// The remote it is updated from.
    pub remote: Option<RemoteName>,
    /// The branch it follows.
    pub branch: Option<BranchName>,
    /// Shell command that installs the dependencies.
    pub install: Option<String>,
    /// The systemd unit.
    pub service: Option<ServiceName>,
    /// Shell command that must succeed after the settle wait.
    pub verify: Option<String>,
    /// Files that the install command rewrites.
    pub generated: Option<Vec<String>>,
    /// Free space that a host must have, in MiB.
    pub min_free_mib: Option<u32>,
    /// `[app.timeouts]`
    pub timeouts: TimeoutsLayer,
}

/// `[app.timeouts]`, in whole seconds.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TimeoutsLayer {
    /// Connect, key exchange and sign-in.
    pub connect: Option<u32>,
    /// Looking.
    pub inspect: Option<u32>,
    /// `git fetch` and moving to the target, each.
    pub pull: Option<u32>,
    /// The install command.
    pub install: Option<u32>,
    /// `systemctl restart`.
    pub restart: Option<u32>,
    /// The verify command.
    pub verify: Option<u32>,
    /// Waiting for the host's lock.
    pub lock: Option<u32>,
    /// Reaching a host again after the connection was lost.
    pub reconnect: Option<u32>,
}

/// `[ssh]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SshLayer {
    /// User to sign in as.
    pub user: Option<UserName>,
    /// Port of sshd.
    pub port: Option<u16>,
    /// Private key file.
    pub key: Option<PathBuf>,
    /// Socket of the ssh-agent.
    pub agent: Option<PathBuf>,
    /// OpenSSH `known_hosts` file to look in when nothing is pinned.
    pub known_hosts: Option<PathBuf>,
    /// File with the passphrase of the key.
    pub passphrase_file: Option<PathBuf>,
}

/// `[rollout]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RolloutLayer {
    /// Cumulative percentages: `[10, 50, 100]` or `"10,50,100"`.
    #[serde(deserialize_with = "stages")]
    pub stages: Option<StagePercents>,
    /// `30` or `"30%"`.
    #[serde(deserialize_with = "percent")]
    pub max_failures: Option<Percent>,
    /// SSH connections at once.
    pub concurrency: Option<u32>,
    /// Hosts in `updating` at once.
    pub max_in_flight: Option<u32>,
    /// Settle wait.
    pub settle: Option<Seconds>,
    /// `"name"` or `"random"`.
    pub order: Option<OrderSetting>,
}

/// `[lease]`
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LeaseLayer {
    /// A lease not renewed for this long is lost.
    pub lease: Option<Seconds>,
    /// It is renewed this often.
    pub renew: Option<Seconds>,
    /// A worker that could not renew for this long sends no further changing command.
    pub fence: Option<Seconds>,
    /// A dead worker's connection slots count for this long after its lease ran out.
    pub slot_grace: Option<Seconds>,
}

/// `[server]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ServerLayer {
    /// Address and port to listen on.
    pub listen: Option<SocketAddr>,
    /// A proxy that speaks TLS stands before it.
    pub behind_proxy: Option<bool>,
    /// Names that it answers to beside the loopback ones.
    pub allowed_hosts: Option<Vec<String>>,
    /// Whether cookies insist on HTTPS.
    pub secure_cookies: Option<bool>,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Option<Vec<Subnet>>,
    /// A session that was not used for this long is over.
    pub session_idle: Option<Seconds>,
    /// A session is over after this long in any case.
    pub session_absolute: Option<Seconds>,
    /// Connections open at once.
    pub max_connections: Option<u32>,
    /// How long stopping may take.
    pub stop_grace: Option<Seconds>,
}

/// `[health]`
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HealthLayer {
    /// Each host is looked at this often.
    pub every: Option<Seconds>,
    /// Whether a service that is down is started again.
    pub fix: Option<bool>,
}

/// `[history]`
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HistoryLayer {
    /// For so many days after the end of its rollout, what a step printed is kept; 0 is for ever.
    pub output_days: Option<u32>,
}

fn stages<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<StagePercents>, D::Error> {
    struct Stages;

    impl<'de> Visitor<'de> for Stages {
        type Value = StagePercents;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("percentages like [10, 50, 100] or \"10,50,100\"")
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<StagePercents, E> {
            text.parse().map_err(E::custom)
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<StagePercents, A::Error> {
            let mut percents = Vec::new();
            while let Some(percent) = list.next_element::<u32>()? {
                percents.push(percent);
            }
            StagePercents::try_from(percents).map_err(de::Error::custom)
        }
    }

    deserializer.deserialize_any(Stages).map(Some)
}

fn percent<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Percent>, D::Error> {
    struct Share;

    impl Visitor<'_> for Share {
        type Value = Percent;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a whole percentage from 0 to 100, like 30 or \"30%\"")
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<Percent, E> {
            text.parse().map_err(E::custom)
        }

        fn visit_i64<E: de::Error>(self, number: i64) -> Result<Percent, E> {
            number.to_string().parse().map_err(E::custom)
        }

        fn visit_u64<E: de::Error>(self, number: u64) -> Result<Percent, E> {
            number.to_string().parse().map_err(E::custom)
        }
    }

    deserializer.deserialize_any(Share).map(Some)
}
