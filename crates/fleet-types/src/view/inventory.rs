//! Entries of the inventory, and what is seen when a host is looked at.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::app::StepTimeouts;
use crate::names::{Address, BranchName, HostName, RemoteName, RepoPath, ServiceName, UserName};
use crate::status::HealthState;

/// The whole entry of a host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct HostEntry {
    /// Its name in the fleet.
    #[cfg_attr(feature = "schema", schema(value_type = String))]
    pub name: HostName,
    /// DNS name or IP address.
    #[cfg_attr(feature = "schema", schema(value_type = String))]
    pub address: Address,
    /// SSH port.
    pub port: u16,
    /// SSH user.
    #[cfg_attr(feature = "schema", schema(value_type = String))]
    pub user: UserName,
    /// Private key file; null means the configured default.
    pub key: Option<String>,
    /// Hosts to go through, outermost first: `user@address:port`.
    pub jump: Vec<String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Owner.
    pub owner: Option<String>,
    /// The git clone on the host.
    #[cfg_attr(feature = "schema", schema(value_type = String))]
    pub repo: RepoPath,
    /// The remote it is updated from.
    #[cfg_attr(feature = "schema", schema(value_type = String))]
    pub remote: RemoteName,
    /// The branch it follows.
    #[cfg_attr(feature = "schema", schema(value_type = String))]
    pub branch: BranchName,
    /// The systemd unit.
    #[cfg_attr(feature = "schema", schema(value_type = String))]
    pub service: ServiceName,
    /// Shell command that installs the dependencies.
    pub install: String,
    /// Shell command that must succeed after the settle wait.
    pub verify: Option<String>,
    /// Files that the install command rewrites.
    pub generated: Vec<String>,
    /// Free space that the host must have, in MiB.
    pub min_free_mib: u32,
    /// How long each step may take.
    #[cfg_attr(feature = "schema", schema(value_type = Object))]
    pub timeouts: StepTimeouts,
}

/// A host as it is kept: its entry, and what it is known by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct EnrolledHost {
    /// The entry.
    pub entry: HostEntry,
    /// The pinned host keys, each a line of OpenSSH's public key format.
    pub host_keys: Vec<String>,
}

/// A host key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct HostKey {
    /// `ssh-ed25519`, for example.
    pub algorithm: String,
    /// `SHA256:…`, to compare with what the host itself says.
    pub fingerprint: String,
    /// The line to pin.
    pub openssh: String,
}

/// What was seen of a host that was looked at, and what stands in the way of an update.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct HostCheck {
    /// The host.
    pub name: String,
    /// Whether it answered.
    pub reachable: bool,
    /// What was seen; nothing of a host that did not answer.
    #[serde(flatten)]
    pub seen: Option<HostSeen>,
    /// What stands in the way of an update.
    pub problems: Vec<HostProblem>,
}

/// How a host stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct HostSeen {
    /// The commit it is on.
    pub version: Option<String>,
    /// The branch it is on; null when its HEAD is detached.
    pub branch: Option<String>,
    /// Whether the service is active.
    pub active: bool,
    /// The state of the service, as systemd words it.
    pub service: String,
    /// Tracked files with changes that are not the install command's, at most 20.
    pub dirty_files: Vec<String>,
}

/// One thing that stands in the way of an update.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct HostProblem {
    /// For programs.
    pub reason: String,
    /// For people.
    pub message: String,
}

/// What came of one look at one host's service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct HealthCheck {
    /// The host.
    pub name: String,
    /// How it is.
    pub health: HealthState,
    /// More, for people.
    pub message: String,
    /// What was done.
    pub done: CheckDone,
}

impl HealthCheck {
    /// Whether something was seen of it.
    #[must_use]
    pub fn was_looked_at(&self) -> bool {
        self.done != CheckDone::LeftAlone
    }

    /// What was done and seen, on one line for the audit trail.
    #[must_use]
    pub fn summary(&self) -> String {
        let done = match self.done {
            CheckDone::Looked => "looked at",
            CheckDone::Restarted => "restarted",
            CheckDone::UsedUp => "restarted too often already",
            CheckDone::LeftAlone => "left alone",
        };
        format!("{done}; {}: {}", self.health, self.message)
    }
}

/// What a check did beside looking.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum CheckDone {
    /// Nothing.
    Looked,
    /// The service was restarted, whether that helped or not.
    Restarted,
    /// Nothing: it was restarted as often as allowed already.
    UsedUp,
    /// Nothing, and nothing was written down: a rollout took the host on meanwhile, or it could not be asked now.
    /// Its health is told as `unknown`.
    LeftAlone,
}
