//! The built program in a folder of its own.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use fleet_types::view::{Host, Rollout};
use fleet_types::{Event, EventKind};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// How long the program may be silent before something is wrong.
const PATIENCE: Duration = Duration::from_secs(60);

/// The program; its folder is its home and where its configuration is.
#[derive(Debug)]
pub(crate) struct Program {
    folder: PathBuf,
}

/// How a run ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// How a run that need not have come to its end was over.
#[cfg(feature = "crash-points")]
#[derive(Debug)]
pub(crate) struct Over {
    /// None when a signal ended it.
    pub(crate) code: Option<i32>,
    pub(crate) signal: Option<i32>,
    #[expect(dead_code, reason = "for the message when a test fails")]
    pub(crate) said: String,
    #[expect(dead_code, reason = "for the message when a test fails")]
    pub(crate) events: Vec<String>,
}

/// The last line that a rollout prints with `--json`.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Summary {
    pub(crate) rollout: Rollout,
    pub(crate) hosts: Vec<Host>,
}

/// How a rollout ended that was run with `--json`.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) events: Vec<Event>,
    pub(crate) summary: Summary,
}

impl Program {
    pub(crate) fn at(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
        }
    }

    /// The program with nothing of this machine's environment.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rollout-cli"));
        command
            .args(arguments)
            .current_dir(&self.folder)
            .env_clear()
            .env("HOME", &self.folder)
            .env("USER", "tester")
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        let output = self.command(arguments).output().unwrap();
        Ran {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Runs it, and it must end with this exit code.
    #[track_caller]
    pub(crate) fn expect(&self, code: i32, arguments: &[&str]) -> Ran {
        let ran = self.run(arguments);
        assert_eq!(ran.code, code, "{arguments:?}: {ran:#?}");
        ran
    }

    /// Runs it with `--json`, and reads the one object that it prints.
    #[track_caller]
    pub(crate) fn ask<T: DeserializeOwned>(&self, arguments: &[&str]) -> T {
        let ran = self.expect(0, &[arguments, &["--json"]].concat());
        serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran:#?}"))
    }

    /// Runs a rollout with `--json` to its end.
    #[track_caller]
    pub(crate) fn roll_out(&self, code: i32, arguments: &[&str]) -> Ended {
        let ended = self.start(arguments).end();
        assert_eq!(ended.code, code, "{arguments:?}: {ended:#?}");
        ended
    }

    /// Starts a rollout with `--json`.
    pub(crate) fn start(&self, arguments: &[&str]) -> Running {
        self.start_with(&[], arguments)
    }

    /// The same, with variables set.
    pub(crate) fn start_with(&self, variables: &[(&str, &str)], arguments: &[&str]) -> Running {
        let mut child = self
            .command(&[arguments, &["--json"]].concat())
            .envs(variables.iter().copied())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (lines, mut stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let said = std::thread::spawn(move || {
            let mut said = String::new();
            stderr.read_to_string(&mut said).unwrap();
            said
        });
        Running {
            child,
            lines: in_background(lines),
            said: Some(said),
            events: Vec::new(),
            summary: None,
        }
    }
}

fn in_background(stdout: ChildStdout) -> Receiver<Value> {
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines() {
            let line = line.unwrap();
            let value = serde_json::from_str(&line).unwrap_or(Value::String(line));
            if sender.send(value).is_err() {
                return;
            }
        }
    });
    lines
}

/// The program while it runs a rollout. It is killed when the test ends before it does.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    lines: Receiver<Value>,
    said: Option<JoinHandle<String>>,
    events: Vec<Event>,
    summary: Option<Summary>,
}

impl Running {
    /// Waits for the next event of this kind.
    #[track_caller]
    pub(crate) fn until(&mut self, kind: EventKind) -> Event {
        if !self.comes_to(kind) {
            panic!("it ended without {kind:?}: {:#?}", self.events);
        }
        self.events.last().unwrap().clone()
    }

    /// Waits for the next event of this kind; false when it ended without one.
    #[track_caller]
    pub(crate) fn comes_to(&mut self, kind: EventKind) -> bool {
        while self.read() {
            if self.summary.is_none() && self.events.last().unwrap().kind == kind {
                return true;
            }
        }
        false
    }

    /// Waits for its end.
    #[track_caller]
    pub(crate) fn end(mut self) -> Ended {
        while self.read() {}
        let code = self.child.wait().unwrap().code().unwrap_or(-1);
        let said = self.said.take().unwrap().join().unwrap();
        let Some(summary) = self.summary.take() else {
            panic!("no summary, exit code {code}: {said}");
        };
        Ended {
            code,
            events: std::mem::take(&mut self.events),
            summary,
        }
    }

    /// Whether it is gone.
    #[cfg(feature = "crash-points")]
    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Stops it where it is; it is stopped when this returns.
    #[cfg(feature = "crash-points")]
    pub(crate) fn stop(&self) {
        self.signal(rustix::process::Signal::STOP);
        self.stands();
    }

    /// Waits until it is stopped, whoever did that.
    #[cfg(feature = "crash-points")]
    pub(crate) fn stands(&self) {
        fleet_testkit::until("it is stopped", || is_stopped(&self.child));
    }

    /// Lets it go on after it was stopped.
    #[cfg(feature = "crash-points")]
    pub(crate) fn wake(&self) {
        self.signal(rustix::process::Signal::CONT);
    }

    #[cfg(feature = "crash-points")]
    fn signal(&self, signal: rustix::process::Signal) {
        let id = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(id, signal).unwrap();
    }

    /// Waits until it is gone, whichever way.
    #[cfg(feature = "crash-points")]
    #[track_caller]
    pub(crate) fn over(mut self) -> Over {
        use std::os::unix::process::ExitStatusExt as _;

        while self.read() {}
        let status = self.child.wait().unwrap();
        let event = |event: &Event| serde_json::to_string(event).unwrap();
        Over {
            code: status.code(),
            signal: status.signal(),
            said: self.said.take().unwrap().join().unwrap(),
            events: self.events.iter().map(event).collect(),
        }
    }

    /// Reads a line; false at the end.
    #[track_caller]
    fn read(&mut self) -> bool {
        let line = match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => line,
            Err(RecvTimeoutError::Disconnected) => return false,
            Err(RecvTimeoutError::Timeout) => panic!("nothing came after {:#?}", self.events),
        };
        assert!(self.summary.is_none(), "after the summary: {line}");
        if line["type"] == "summary" {
            self.summary = Some(serde_json::from_value(line).unwrap());
        } else {
            self.events.push(serde_json::from_value(line).unwrap());
        }
        true
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Ended {
    /// One host's part: status, reason, and whether it was touched.
    #[track_caller]
    pub(crate) fn part(&self, name: &str) -> (String, String, bool) {
        self.summary.part(name)
    }
}

impl Summary {
    /// One host as the program saw it last.
    #[track_caller]
    pub(crate) fn host(&self, name: &str) -> &Host {
        let found = self.hosts.iter().find(|host| host.name == name);
        found.unwrap_or_else(|| panic!("no {name} in {:#?}", self.hosts))
    }

    /// One host's part: status, reason, and whether it was touched.
    #[track_caller]
    pub(crate) fn part(&self, name: &str) -> (String, String, bool) {
        let attempt = self.host(name).attempt.as_ref().unwrap();
        let reason = attempt.reason.clone().unwrap_or_default();
        (attempt.status.to_string(), reason, attempt.touched)
    }
}

/// Whether it stands still, or is gone.
#[cfg(feature = "crash-points")]
pub(crate) fn is_stopped(child: &Child) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.id()));
    let stat = stat.unwrap_or_default();
    stat.rsplit(") ")
        .next()
        .unwrap_or_default()
        .starts_with(['T', 'Z'])
}
