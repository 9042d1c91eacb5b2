//! What a host is, by its own account.

use crate::error::FleetError;
use crate::host::LocalHost;

/// What a host is, by its own account and nobody else's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Truth {
    /// What git says HEAD is.
    pub head: String,
    /// Tracked files that differ from it.
    pub changes: String,
    /// What systemd says of the service.
    pub service: String,
    /// The commit it was started on.
    pub runs: String,
    /// The commit whose install had completed when it was started.
    pub runs_with: String,
    /// The commit whose install completed last.
    pub installed: String,
}

impl Truth {
    /// On this commit, tree clean, that commit installed, service active on it.
    #[must_use]
    pub fn well_on(commit: &str) -> Self {
        Self {
            head: commit.to_owned(),
            changes: String::new(),
            service: "active".to_owned(),
            runs: commit.to_owned(),
            runs_with: commit.to_owned(),
            installed: commit.to_owned(),
        }
    }
}

impl LocalHost {
    /// What the host is now.
    pub async fn truth(&self) -> Result<Truth, FleetError> {
        let service = self.service_state().await?;
        Ok(Truth {
            head: self.head().await?,
            changes: self.changes().await?,
            service: service.active_state,
            runs: service.commit.unwrap_or_default(),
            runs_with: service.installed_commit.unwrap_or_default(),
            installed: self.installed()?.unwrap_or_default(),
        })
    }
}
