//! What the machine itself tells: which processes are there, and how long it has been up.

use std::process::{Child, Command, Stdio};

use fleet_store::*;

/// A process that waits until it is killed.
fn waiting(program: impl AsRef<std::ffi::OsStr>) -> Child {
    let mut command = Command::new(program);
    command.stdin(Stdio::piped()).spawn().unwrap()
}

/// When the process was started, as `/proc` has it.
fn started(pid: u32) -> u64 {
    let stat = std::fs::read(format!("/proc/{pid}/stat")).unwrap();
    let stat = String::from_utf8_lossy(&stat).into_owned();
    let (_, fields) = stat.rsplit_once(')').unwrap();
    fields.split_whitespace().nth(19).unwrap().parse().unwrap()
}

fn process(child: &Child) -> ProcessId {
    ProcessId {
        pid: child.id(),
        started: started(child.id()),
        ..ProcessId::current().unwrap()
    }
}

#[test]
fn this_process_is_there_and_another_start_time_is_another_process() {
    let own = ProcessId::current().unwrap();
    let processes = SystemProcesses::new();
    assert!(!processes.is_gone(&own));
    let reused = ProcessId {
        started: own.started + 1,
        ..own.clone()
    };
    assert!(processes.is_gone(&reused), "the pid was given to another");
    let elsewhere = ProcessId {
        boot: "another boot".into(),
        ..reused.clone()
    };
    assert!(!processes.is_gone(&elsewhere), "cannot be judged here");
    let container = ProcessId {
        pid_namespace: 1,
        ..reused
    };
    assert!(!processes.is_gone(&container), "cannot be judged here");
}

#[test]
fn a_child_is_gone_once_it_ended_even_before_it_is_waited_for() {
    let mut child = waiting("cat");
    let process = process(&child);
    let processes = SystemProcesses::new();
    assert!(!processes.is_gone(&process));
    child.kill().unwrap();
    while !processes.is_gone(&process) {
        std::thread::yield_now();
    }
    child.wait().unwrap();
    assert!(processes.is_gone(&process));
}

#[test]
fn a_name_with_brackets_and_spaces_does_not_shift_the_fields() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("a) R 9 (x) Z 1");
    std::os::unix::fs::symlink("/bin/sh", &program).unwrap();
    let mut child = waiting(&program);
    let process = process(&child);
    // The name is that of the file only once the program runs.
    let name = || std::fs::read_to_string(format!("/proc/{}/comm", child.id())).unwrap();
    while name().trim_end() != "a) R 9 (x) Z 1" {
        std::thread::yield_now();
    }
    let is_gone = SystemProcesses::new().is_gone(&process);
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!is_gone);
}

#[test]
fn the_lease_clock_counts_from_the_boot() {
    let clock = SystemClock::new();
    let moment = clock.lease_moment();
    assert_eq!(moment.era.len(), 36, "a boot id: {:?}", moment.era);
    let later = clock.lease_moment();
    assert!(later.era == moment.era && later.at >= moment.at);
    assert!(moment.at > 0 && moment.at < clock.now().0);
}
