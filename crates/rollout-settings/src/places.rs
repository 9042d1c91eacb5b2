use std::path::{Path, PathBuf};

/// Where to look and what `~` means; filled in by the binary from its environment.
#[derive(Clone, Debug, Default)]
pub struct Places {
    /// The configuration file that was named; it must exist. None means: look in the usual places.
    pub config: Option<PathBuf>,
    /// The current folder, where `rollout.toml` is looked for.
    pub current_dir: Option<PathBuf>,
    /// The home folder.
    pub home: Option<PathBuf>,
    /// `XDG_CONFIG_HOME`; `~/.config` when none.
    pub config_home: Option<PathBuf>,
    /// `XDG_STATE_HOME`; `~/.local/state` when none.
    pub state_home: Option<PathBuf>,
    /// The user who runs the program: the default SSH user.
    pub user: Option<String>,
    /// The ssh-agent's socket, `SSH_AUTH_SOCK`.
    pub agent: Option<PathBuf>,
}

impl Places {
    /// The files to look for, in order, when none was named.
    #[must_use]
    pub fn candidates(&self) -> Vec<PathBuf> {
        let project = self
            .current_dir
            .as_ref()
            .map(|dir| dir.join("rollout.toml"));
        let user = self
            .config_home
            .clone()
            .or_else(|| self.home.as_ref().map(|home| home.join(".config")))
            .map(|dir| dir.join("rollout/config.toml"));
        project.into_iter().chain(user).collect()
    }

    /// Where state is kept when nothing else is said.
    #[must_use]
    pub fn state_dir(&self) -> Option<PathBuf> {
        self.state_home
            .clone()
            .or_else(|| self.home.as_ref().map(|home| home.join(".local/state")))
            .map(|dir| dir.join("rollout"))
    }

    /// `~/x` is in the home folder, anything else that is not absolute in `base`.
    #[must_use]
    pub fn resolve(&self, path: &Path, base: Option<&Path>) -> PathBuf {
        if let (Ok(rest), Some(home)) = (path.strip_prefix("~"), &self.home) {
            return home.join(rest);
        }
        base.map_or_else(|| path.to_owned(), |base| base.join(path))
    }
}
