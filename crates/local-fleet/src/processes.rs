//! The processes that hosts have started, found by the environment they all carry.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Pid, Signal};

/// Rounds of killing before the rest is left alone: a process that forks while it is looked for needs a second one.
const ROUNDS: usize = 50;

/// Processes of the host with this folder, or of every host below it. Empty where there is no `/proc`.
pub(crate) async fn list(folder: &Path) -> Vec<u32> {
    let folder = folder.to_owned();
    tokio::task::spawn_blocking(move || list_now(&folder))
        .await
        .unwrap_or_default()
}

/// Kills them all, and returns when none is left.
pub(crate) async fn end_all(folder: &Path) {
    for _ in 0..ROUNDS {
        let found = list(folder).await;
        if found.is_empty() {
            return;
        }
        kill(&found);
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Kills those that there are now, without waiting.
pub(crate) fn end_now(folder: &Path) {
    kill(&list_now(folder));
}

fn kill(processes: &[u32]) {
    for process in processes {
        if let Some(process) = i32::try_from(*process).ok().and_then(Pid::from_raw) {
            // It may have ended by itself.
            let _ = rustix::process::kill_process(process, Signal::KILL);
        }
    }
}

fn list_now(folder: &Path) -> Vec<u32> {
    let mut host = b"LOCAL_FLEET_HOST=".to_vec();
    host.extend_from_slice(folder.as_os_str().as_bytes());
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    let numbers = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    numbers.filter(|process| belongs(*process, &host)).collect()
}

/// Whether a living process carries the host's mark, or that of a host in a folder below.
fn belongs(process: u32, host: &[u8]) -> bool {
    let file = PathBuf::from(format!("/proc/{process}/environ"));
    // A process that has ended and waits for its parent has an empty environment.
    let Ok(environment) = std::fs::read(file) else {
        return false;
    };
    environment.split(|byte| *byte == 0).any(|variable| {
        variable
            .strip_prefix(host)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
    })
}
