//! A fleet as another process sees it.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::release::Release;

/// Everything that another process needs to know of a fleet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetDescription {
    /// The fleet's folder.
    pub root: PathBuf,
    /// The only user who may sign in.
    pub user: String,
    /// The systemd unit of every host, with its suffix.
    pub service: String,
    /// The private key file that opens every host.
    pub client_key: PathBuf,
    /// The bare repository that the hosts have cloned.
    pub origin: PathBuf,
    /// The branch that they follow.
    pub branch: String,
    /// The commits made so far, oldest first.
    pub releases: Vec<Release>,
    /// The hosts, in order.
    pub hosts: Vec<HostDescription>,
}

/// Everything that another process needs to know of a host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostDescription {
    /// The name.
    pub name: String,
    /// Always `127.0.0.1`.
    pub address: String,
    /// The TCP port.
    pub port: u16,
    /// `ssh-ed25519 AAAA...`
    pub host_key: String,
    /// The clone that the service runs from.
    pub repository: PathBuf,
}
