//! The hosts' own logs.

use std::collections::HashMap;
use std::time::Duration;

use local_fleet::{LocalHost, LogEvent};

/// One line of a host's log that matters here: a changing program began or ended.
pub(crate) struct Change {
    pub(crate) at: Duration,
    pub(crate) process: u32,
    pub(crate) began: bool,
}

/// What changed a host, in order.
pub(crate) fn changes(host: &LocalHost) -> Vec<Change> {
    let is_change = |command: &str| {
        command.starts_with("bun install")
            || command.starts_with("systemctl restart")
            || command.starts_with("sudo -n systemctl restart")
    };
    let log = host.log().unwrap();
    let mut running: HashMap<u32, ()> = HashMap::new();
    let mut changes = Vec::new();
    for entry in log {
        let began = match &entry.event {
            LogEvent::Began(command) if is_change(command) => {
                // sudo becomes the command that it runs.
                if running.insert(entry.process, ()).is_some() {
                    continue;
                }
                true
            }
            LogEvent::Ended { .. } if running.remove(&entry.process).is_some() => false,
            _ => continue,
        };
        changes.push(Change {
            at: entry.at,
            process: entry.process,
            began,
        });
    }
    changes
}

/// No two changing programs at once.
pub(crate) fn never_overlap(host: &LocalHost) {
    let mut under_way: Option<u32> = None;
    for change in changes(host) {
        if change.began {
            let log = host.log().unwrap();
            assert_eq!(under_way, None, "{}: {log:#?}", host.name());
            under_way = Some(change.process);
        } else {
            under_way = None;
        }
    }
}

/// Since this machine was booted.
pub(crate) fn now() -> Duration {
    let text = std::fs::read_to_string("/proc/uptime").unwrap();
    let seconds: f64 = text.split(' ').next().unwrap().parse().unwrap();
    Duration::from_secs_f64(seconds)
}
