//! What an orchestrator needs to know beyond its store and its transport.

use std::path::PathBuf;
use std::time::Duration;

use ssh_exec::Identity;

/// Settings of one process. The lease times are the store's, the limits of a rollout are its policy's.
#[derive(Clone, Debug)]
pub struct OrchestratorSettings {
    /// SSH connections open at once, over all processes on the store, for what is part of no rollout.
    pub concurrency: u32,
    /// Of the connections that a rollout may have open, so many are left free by this process, for the health checks that
    /// it makes beside one. A rollout always has one.
    pub kept_for_checks: u32,
    /// What an entry of the inventory leaves open.
    pub ssh: SshDefaults,
    /// How often a worker with nothing to do looks whether other processes changed something in an active rollout.
    pub poll: Duration,
    /// How often it looks whether there is an active rollout at all. Rollouts triggered in this process are seen at once.
    pub idle_poll: Duration,
    /// How long a worker that is there for one rollout waits for another one to take on hosts whose credential it cannot load
    /// itself, or to be able to again, before it looks whether anybody comes any further. If not, it tries them all the same,
    /// and they fail.
    pub credential_patience: Duration,
}

/// How to sign in where the inventory does not say.
#[derive(Clone, Debug, Default)]
pub struct SshDefaults {
    /// The key or agent for hosts without a key of their own.
    pub identity: Option<Identity>,
    /// The OpenSSH `known_hosts` file for hosts, and jump hosts, without pinned keys.
    pub known_hosts: Option<PathBuf>,
    /// What `~/` at the start of a key's path means here.
    pub home: Option<PathBuf>,
}

impl Default for OrchestratorSettings {
    fn default() -> Self {
        Self {
            concurrency: 5,
            kept_for_checks: 0,
            ssh: SshDefaults::default(),
            poll: Duration::from_millis(200),
            idle_poll: Duration::from_secs(1),
            credential_patience: Duration::from_secs(30),
        }
    }
}
