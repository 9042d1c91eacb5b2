use fleet_types::{
    AppSettings, BranchName, Invalid, RemoteName, RepoPath, ServiceName, StepTimeouts, UserName,
};
use serde::{Deserialize, Serialize};

/// What a host gets that says nothing else. A server tells it to the command line, which adds hosts there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostDefaults {
    /// Port of sshd.
    pub port: u16,
    /// User to sign in as; none when every host has to name its own.
    pub user: Option<UserName>,
    /// How the service is updated.
    pub app: AppDefaults,
}

/// `[app]` with its defaults: how the service is updated on hosts that say nothing else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppDefaults {
    /// The git clone on the host; there is no default.
    pub repo: Option<RepoPath>,
    /// The remote it is updated from.
    pub remote: RemoteName,
    /// The branch it follows.
    pub branch: BranchName,
    /// Shell command that installs the dependencies.
    pub install: String,
    /// The systemd unit; there is no default.
    pub service: Option<ServiceName>,
    /// Shell command that must succeed after the settle wait.
    pub verify: Option<String>,
    /// Files that the install command rewrites.
    pub generated: Vec<String>,
    /// Free space that a host must have, in MiB.
    pub min_free_mib: u32,
    /// How long each step may take.
    pub timeouts: StepTimeouts,
}

/// What one host says about its app; the rest comes from [`AppDefaults`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AppOverrides {
    /// The git clone on the host.
    pub repo: Option<RepoPath>,
    /// The branch it follows.
    pub branch: Option<BranchName>,
    /// Shell command that installs the dependencies.
    pub install: Option<String>,
    /// The systemd unit.
    pub service: Option<ServiceName>,
    /// Shell command that must succeed after the settle wait.
    pub verify: Option<String>,
}

/// What a host's app cannot be put together from.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MissingSetting {
    /// Neither the host nor `[app]` says it, and there is no default.
    #[error("neither the host nor [app] in the configuration says which {what} to update")]
    Missing {
        /// `repo` or `service`.
        what: &'static str,
    },
    /// A value is not allowed.
    #[error(transparent)]
    Invalid(#[from] Invalid),
}

impl Default for AppDefaults {
    fn default() -> Self {
        Self {
            repo: None,
            remote: "origin".parse().expect("a remote's name"),
            branch: "main".parse().expect("a branch name"),
            install: "bun install".to_owned(),
            service: None,
            verify: None,
            generated: vec!["bun.lock".to_owned(), "bun.lockb".to_owned()],
            min_free_mib: 200,
            timeouts: StepTimeouts::default(),
        }
    }
}

impl AppDefaults {
    /// The app of a host that says `overrides`.
    pub fn with(&self, overrides: AppOverrides) -> Result<AppSettings, MissingSetting> {
        let app = AppSettings {
            repo: overrides
                .repo
                .or_else(|| self.repo.clone())
                .ok_or(MissingSetting::Missing { what: "repo" })?,
            remote: self.remote.clone(),
            branch: overrides.branch.unwrap_or_else(|| self.branch.clone()),
            install: overrides.install.unwrap_or_else(|| self.install.clone()),
            service: overrides
                .service
                .or_else(|| self.service.clone())
                .ok_or(MissingSetting::Missing { what: "service" })?,
            verify: overrides.verify.or_else(|| self.verify.clone()),
            generated: self.generated.clone(),
            min_free_mib: self.min_free_mib,
            timeouts: self.timeouts,
        };
        app.check()?;
        Ok(app)
    }
}
