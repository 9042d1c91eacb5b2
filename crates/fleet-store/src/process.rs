//! Which process a worker is, and whether it is still there: a worker of this machine that was killed is known dead at once.

use std::fmt;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;

use crate::records::ProcessId;

/// Tells whether a process is known to be gone.
pub trait Processes: fmt::Debug + Send + Sync {
    /// True only when it is certain: the process is one of this boot and this pid namespace, and no longer there.
    fn is_gone(&self, process: &ProcessId) -> bool;
}

/// What `/proc` says.
#[derive(Clone, Debug)]
pub struct SystemProcesses {
    own: Option<ProcessId>,
}

impl SystemProcesses {
    /// Looks up which process this is.
    #[must_use]
    pub fn new() -> Self {
        Self {
            own: ProcessId::current(),
        }
    }
}

impl Default for SystemProcesses {
    fn default() -> Self {
        Self::new()
    }
}

impl Processes for SystemProcesses {
    fn is_gone(&self, process: &ProcessId) -> bool {
        let comparable = self.own.as_ref().is_some_and(|own| {
            own.boot == process.boot && own.pid_namespace == process.pid_namespace
        });
        comparable
            && match stat(&process.pid.to_string()) {
                Stat::Missing => true,
                Stat::Unknown => false,
                Stat::Is { ended, started } => ended || started != process.started,
            }
    }
}

impl ProcessId {
    /// This process; none where `/proc` does not tell.
    #[must_use]
    pub fn current() -> Option<Self> {
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        let pid_namespace = std::fs::metadata("/proc/self/ns/pid").ok()?.ino();
        match stat("self") {
            Stat::Is { started, .. } => Some(Self {
                boot: boot.trim().to_owned(),
                pid_namespace,
                pid: std::process::id(),
                started,
            }),
            Stat::Missing | Stat::Unknown => None,
        }
    }
}

enum Stat {
    Missing,
    Unknown,
    Is { ended: bool, started: u64 },
}

/// State (field 3) and start time (field 22) of `/proc/PID/stat`. The name in field 2 may hold anything, even brackets
/// and spaces, so fields are counted from the last bracket.
fn stat(pid: &str) -> Stat {
    let text = match std::fs::read(format!("/proc/{pid}/stat")) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        // Other users' processes can be hidden from this one (`hidepid`, `ProtectProc`): not to see one is no proof.
        Err(error) if error.kind() == ErrorKind::NotFound => return unseen(pid),
        // ESRCH: it went between opening and reading.
        Err(error) if error.raw_os_error() == Some(3) => return Stat::Missing,
        Err(_) => return Stat::Unknown,
    };
    parse_stat(&text).unwrap_or(Stat::Unknown)
}

/// Whether a process that has no folder in `/proc` is there all the same. Signal 0 asks and sends nothing.
fn unseen(pid: &str) -> Stat {
    let known = pid.parse().ok().and_then(rustix::process::Pid::from_raw);
    match known.map(rustix::process::test_kill_process) {
        Some(Err(rustix::io::Errno::SRCH)) => Stat::Missing,
        _ => Stat::Unknown,
    }
}

fn parse_stat(text: &str) -> Option<Stat> {
    let (_, rest) = text.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    let state = fields.next()?;
    let started = fields.nth(18)?.parse().ok()?;
    Some(Stat::Is {
        // A zombie has ended; only its parent has not asked for its exit code yet.
        ended: matches!(state, "Z" | "X" | "x"),
        started,
    })
}

#[cfg(feature = "testing")]
pub use manual::ManualProcesses;

#[cfg(feature = "testing")]
mod manual {
    use std::collections::HashSet;
    use std::sync::{Arc, Mutex, PoisonError};

    use super::Processes;
    use crate::records::ProcessId;

    /// Processes that are gone when a test says so. Clones are the same list.
    #[derive(Clone, Debug, Default)]
    pub struct ManualProcesses(Arc<Mutex<HashSet<u32>>>);

    impl ManualProcesses {
        /// The process of this number is gone from now on.
        pub fn end(&self, pid: u32) {
            self.0
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(pid);
        }
    }

    impl Processes for ManualProcesses {
        fn is_gone(&self, process: &ProcessId) -> bool {
            self.0
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .contains(&process.pid)
        }
    }
}
