//! What systemd says of a service.

use fleet_types::{HealthState, printable};
use ssh_exec::CommandOutput;

/// One look at a unit. A host may report anything: what is not there is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Unit {
    load: String,
    active: String,
    sub: String,
    main_pid: String,
    restarts: String,
    invocation: String,
    boot: String,
}

impl Unit {
    pub(crate) fn of(output: &CommandOutput) -> Self {
        let word = |name: &str| {
            let word: String = output
                .fact(name)
                .unwrap_or_default()
                .trim()
                .chars()
                .take(100)
                .collect();
            printable(&word)
        };
        Self {
            load: word("LoadState"),
            active: word("ActiveState"),
            sub: word("SubState"),
            main_pid: word("MainPID"),
            restarts: word("NRestarts"),
            invocation: word("InvocationID"),
            boot: word("boot"),
        }
    }

    /// None while it changes: a look a moment later tells.
    pub(crate) fn health(&self) -> Option<HealthState> {
        match self.active.as_str() {
            "active" | "reloading" | "refreshing" => Some(HealthState::Active),
            "inactive" | "failed" | "maintenance" => Some(HealthState::Inactive),
            "activating" | "deactivating" => None,
            _ => Some(HealthState::Unknown),
        }
    }

    /// Whether there is anything to restart.
    pub(crate) fn is_loaded(&self) -> bool {
        self.load == "loaded"
    }

    /// `active (running)`, as people know it.
    pub(crate) fn shown(&self) -> String {
        match (self.active.as_str(), self.sub.as_str()) {
            ("", _) => "systemctl gave no answer".to_owned(),
            _ if !self.is_loaded() => format!("the unit is {}", self.load),
            (active, "") => active.to_owned(),
            (active, sub) => format!("{active} ({sub})"),
        }
    }

    /// Whether the service runs since the same start, without one in between. Old systemd has no invocation id; then the
    /// process tells.
    pub(crate) fn is_same_life(&self, earlier: &Self) -> bool {
        if self.boot != earlier.boot || self.restarts != earlier.restarts {
            return false;
        }
        if self.invocation.is_empty() && earlier.invocation.is_empty() {
            self.main_pid == earlier.main_pid
        } else {
            self.invocation == earlier.invocation
        }
    }
}
