use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::names::{BranchName, Invalid, RemoteName, RepoPath, ServiceName};

/// How one service is updated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppSettings {
    /// The git clone on the host.
    pub repo: RepoPath,
    /// The remote it is updated from.
    pub remote: RemoteName,
    /// The branch it follows.
    pub branch: BranchName,
    /// Shell command that installs the dependencies, run in the repository.
    pub install: String,
    /// The systemd unit.
    pub service: ServiceName,
    /// Shell command that must succeed after the settle wait, run in the repository.
    pub verify: Option<String>,
    /// Files, relative to the repository, that the install command rewrites: no human edits, put back before HEAD moves.
    pub generated: Vec<String>,
    /// Free space that a host must have before it is touched, in MiB.
    pub min_free_mib: u32,
    /// How long each step may take.
    pub timeouts: StepTimeouts,
}

/// How long each step may take on the host, in whole seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StepTimeouts {
    /// Connect, key exchange and sign-in.
    pub connect: u32,
    /// Looking: inspection, `git rev-parse`.
    pub inspect: u32,
    /// `git fetch` and moving to the target, each.
    pub pull: u32,
    /// The install command.
    pub install: u32,
    /// `systemctl restart`; a unit that states a longer start or stop limit gets that.
    pub restart: u32,
    /// The verify command.
    pub verify: u32,
    /// Waiting for the host's lock.
    pub lock: u32,
    /// Trying to reach a host again after the connection was lost in mid-attempt.
    pub reconnect: u32,
}

impl Default for StepTimeouts {
    fn default() -> Self {
        Self {
            connect: 60,
            inspect: 30,
            pull: 60,
            install: 120,
            restart: 30,
            verify: 30,
            lock: 60,
            reconnect: 300,
        }
    }
}

impl StepTimeouts {
    /// The connect limit.
    #[must_use]
    pub fn connect(&self) -> Duration {
        Duration::from_secs(u64::from(self.connect))
    }
}

impl AppSettings {
    /// Refuses commands and file names that cannot be meant.
    pub fn check(&self) -> Result<(), Invalid> {
        let command = |what, text: &str| {
            if text.trim().is_empty() || text.len() > 4000 || text.contains('\0') {
                return Err(Invalid::new(
                    what,
                    text,
                    "must be a shell command of 1 to 4000 characters",
                ));
            }
            Ok(())
        };
        command("install command", &self.install)?;
        if let Some(verify) = &self.verify {
            command("verify command", verify)?;
        }
        for file in &self.generated {
            let part = |p: &str| !p.is_empty() && p != ".." && p != "." && p != ".git";
            let plain = file.len() <= 300
                && !file.starts_with('-')
                && !file
                    .chars()
                    .any(|c| c.is_control() || "*?[:\\\"'".contains(c));
            if !plain || !file.split('/').all(part) {
                return Err(Invalid::new(
                    "generated file",
                    file,
                    "must be a plain path inside the repository",
                ));
            }
        }
        let t = &self.timeouts;
        for (what, value) in [
            ("connect timeout", t.connect),
            ("inspect timeout", t.inspect),
            ("pull timeout", t.pull),
            ("install timeout", t.install),
            ("restart timeout", t.restart),
            ("verify timeout", t.verify),
            ("lock timeout", t.lock),
            ("reconnect timeout", t.reconnect),
        ] {
            if !(1..=86_400).contains(&value) {
                return Err(Invalid::new(
                    what,
                    &value.to_string(),
                    "must be from 1 to 86400 seconds",
                ));
            }
        }
        Ok(())
    }
}
