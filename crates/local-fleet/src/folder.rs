//! The folder of one host: its repository, its programs, its state and its log. Everything in it is a plain file, so
//! that the shell programs, this process and the next one see the same.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use crate::error::FleetError;

/// Where in the fleet's folder those of the hosts are.
pub(crate) const HOSTS: &str = "hosts";

/// The programs that every host has on its PATH.
pub(crate) const PROGRAMS: [&str; 6] =
    ["id", "sudo", "systemctl", "bun", "verify-app", "journalctl"];

/// How long systemd waits for a unit that does not say.
const DEFAULT_LIMIT: Duration = Duration::from_secs(90);

/// Where one host lives.
#[derive(Clone, Debug)]
pub(crate) struct HostFolder {
    path: PathBuf,
    search_path: String,
    configuration: PathBuf,
    user: String,
}

/// One line of a host's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    /// When, since the machine was booted, to a hundredth of a second. The order of entries is the order of events.
    pub at: Duration,
    /// The process that wrote it. A `sudo` that runs a command becomes that command, so both have one id.
    pub process: u32,
    /// What happened.
    pub event: LogEvent,
}

/// What a line of a host's log tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogEvent {
    /// A program began; its name and arguments.
    Began(String),
    /// A program ended with this status. One that was killed has no such line.
    Ended {
        /// The program's name.
        program: String,
        /// Its exit status.
        status: u8,
    },
}

/// What systemd's stand-in says about the service, and what it was started on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceState {
    /// `active`, `activating`, `deactivating`, `failed` or `inactive`.
    pub active_state: String,
    /// `running`, `auto-restart`, `start`, `stop-sigterm`, `failed` or `dead`.
    pub sub_state: String,
    /// The main process, 0 when there is none. No such process exists.
    pub main_process: u32,
    /// Automatic restarts since the last manual one.
    pub restarts: u32,
    /// Changes with every start.
    pub invocation: String,
    /// The commit `HEAD` named when the service was last started; `None` when it is stopped.
    pub commit: Option<String>,
    /// The release id in the files that the service was started from, whatever `HEAD` said.
    pub release: Option<String>,
    /// The release id that `bun install` last completed for when the service was started.
    pub installed: Option<String>,
    /// The commit that it completed for.
    pub installed_commit: Option<String>,
}

impl HostFolder {
    /// The folder of a host in a fleet's; `git` is where the real git is found.
    pub(crate) fn new(fleet: &Path, name: &str, git: &Path, user: &str) -> Self {
        let path = fleet.join(HOSTS).join(name);
        let git = git.parent().unwrap_or(Path::new("/usr/bin"));
        let search_path = format!(
            "{}/bin:/usr/local/bin:/usr/bin:/bin:{}",
            path.display(),
            git.display()
        );
        Self {
            path,
            search_path,
            configuration: fleet.join("gitconfig"),
            user: user.to_owned(),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn repository(&self) -> PathBuf {
        self.path.join("app")
    }

    pub(crate) fn log_file(&self) -> PathBuf {
        self.path.join("log")
    }

    pub(crate) fn key_file(&self) -> PathBuf {
        self.path.join("host_key")
    }

    fn fault_file(&self, name: &str) -> PathBuf {
        self.path.join("faults").join(name)
    }

    /// Makes everything but the repository.
    pub(crate) fn create(&self, unit: &str, programs: &Path) -> Result<(), FleetError> {
        for folder in ["bin", "faults", "state"] {
            let folder = self.path.join(folder);
            fs::create_dir_all(&folder).map_err(FleetError::folder(&folder))?;
        }
        for program in PROGRAMS {
            self.install(program, programs)?;
        }
        self.set_unit(unit, DEFAULT_LIMIT, DEFAULT_LIMIT)
    }

    /// Names the unit, and how long systemd gives it to start and to stop.
    pub(crate) fn set_unit(
        &self,
        unit: &str,
        start: Duration,
        stop: Duration,
    ) -> Result<(), FleetError> {
        self.write(
            "state/unit",
            &format!("{unit}\n{}\n{}\n", time_span(start), time_span(stop)),
        )
    }

    /// Puts a program on the host's PATH.
    pub(crate) fn install(&self, program: &str, programs: &Path) -> Result<(), FleetError> {
        let link = self.path.join("bin").join(program);
        match symlink(programs.join(program), &link) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(FleetError::Folder {
                path: link,
                source: error,
            }),
            _ => Ok(()),
        }
    }

    /// Takes a program from the host's PATH.
    pub(crate) fn uninstall(&self, program: &str) -> Result<(), FleetError> {
        remove(&self.path.join("bin").join(program))
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> Result<(), FleetError> {
        let file = self.path.join(name);
        fs::write(&file, text).map_err(FleetError::folder(&file))
    }

    /// Sets a fault that the programs look for; it counts its calls from now.
    pub(crate) fn set_fault(&self, name: &str, text: &str) -> Result<(), FleetError> {
        // Written whole and then moved in place: a program may look at any moment.
        let (draft, file) = (
            self.path.join("state").join(format!("new-{name}")),
            self.fault_file(name),
        );
        fs::write(&draft, text).map_err(FleetError::folder(&draft))?;
        remove(&self.fault_file(&format!("{name}.seen")))?;
        fs::rename(&draft, &file).map_err(FleetError::folder(&file))
    }

    /// The names of the faults set for programs, and of their counters.
    pub(crate) fn faults(&self) -> Result<Vec<String>, FleetError> {
        let folder = self.path.join("faults");
        let entries = fs::read_dir(&folder).map_err(FleetError::folder(&folder))?;
        Ok(entries
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect())
    }

    pub(crate) fn clear_fault(&self, name: &str) -> Result<(), FleetError> {
        remove(&self.fault_file(name))
    }

    /// What every process of this host sees: its home, its PATH, and nothing of ours.
    pub(crate) fn environment(&self, command: &mut Command) {
        command
            .env_clear()
            .env("PATH", &self.search_path)
            .env("HOME", &self.path)
            .env("USER", &self.user)
            .env("LOGNAME", &self.user)
            .env("SHELL", "/bin/sh")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", &self.configuration)
            .env("LOCAL_FLEET_HOST", &self.path)
            .current_dir(&self.path);
    }

    /// Runs one of the host's programs at home, past the faults of commands and without a line in the log.
    pub(crate) async fn run(
        &self,
        program: &str,
        arguments: &[&str],
    ) -> Result<String, FleetError> {
        self.run_at(&self.path, program, arguments).await
    }

    /// The same, in the repository.
    pub(crate) async fn run_in_repository(
        &self,
        program: &str,
        arguments: &[&str],
    ) -> Result<String, FleetError> {
        self.run_at(&self.repository(), program, arguments).await
    }

    async fn run_at(
        &self,
        at: &Path,
        program: &str,
        arguments: &[&str],
    ) -> Result<String, FleetError> {
        let file = self.path.join("bin").join(program);
        let mut command = Command::new(&file);
        self.environment(&mut command);
        command.current_dir(at);
        command
            .env("LOCAL_FLEET_QUIET", "1")
            .env("LOCAL_FLEET_ROOT", "1")
            .args(arguments)
            .stdin(Stdio::null());
        let output = command.output().await.map_err(FleetError::folder(&file))?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// What the service does now.
    pub(crate) async fn service(&self, unit: &str) -> Result<ServiceState, FleetError> {
        let shown = self.run("systemctl", &["show", unit]).await?;
        let shown: BTreeMap<_, _> = shown
            .lines()
            .filter_map(|line| line.split_once('='))
            .collect();
        let get = |name: &str| shown.get(name).copied().unwrap_or_default().to_owned();
        let file = self.path.join("state/service");
        let state = fs::read_to_string(&file).map_err(FleetError::folder(&file))?;
        let words: Vec<_> = state.split_whitespace().collect();
        let word = |index: usize| {
            words
                .get(index)
                .filter(|word| **word != "-")
                .map(|word| (*word).to_owned())
        };
        Ok(ServiceState {
            active_state: get("ActiveState"),
            sub_state: get("SubState"),
            main_process: get("MainPID").parse().unwrap_or(0),
            restarts: get("NRestarts").parse().unwrap_or(0),
            invocation: get("InvocationID"),
            commit: word(6),
            release: word(7),
            installed: word(8),
            installed_commit: word(9),
        })
    }

    /// The commit in what the last `bun install` left, when it completed.
    pub(crate) fn installed(&self) -> Result<Option<String>, FleetError> {
        let file = self.repository().join("node_modules/.installed");
        match fs::read_to_string(&file) {
            Ok(text) => Ok(text.split_whitespace().nth(1).map(str::to_owned)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(FleetError::Folder { path: file, source }),
        }
    }

    /// The host's log so far.
    pub(crate) fn log(&self) -> Result<Vec<LogEntry>, FleetError> {
        let file = self.log_file();
        match fs::read(&file) {
            Ok(bytes) => Ok(String::from_utf8_lossy(&bytes)
                .lines()
                .filter_map(parse)
                .collect()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(source) => Err(FleetError::Folder { path: file, source }),
        }
    }
}

/// A time as systemd writes it: `1min 30s`, `500ms`.
fn time_span(time: Duration) -> String {
    let parts = [
        (time.as_secs() / 60, "min"),
        (time.as_secs() % 60, "s"),
        (u64::from(time.subsec_millis()), "ms"),
    ];
    let parts: Vec<_> = parts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, unit)| format!("{count}{unit}"))
        .collect();
    if parts.is_empty() {
        "0".into()
    } else {
        parts.join(" ")
    }
}

/// Removes a file that may not be there.
pub(crate) fn remove(file: &Path) -> Result<(), FleetError> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(FleetError::Folder {
            path: file.to_owned(),
            source: error,
        }),
        _ => Ok(()),
    }
}

/// A line of the log; `None` for the second line of a command whose arguments hold a line end.
pub(crate) fn parse(line: &str) -> Option<LogEntry> {
    let mut words = line.splitn(4, ' ');
    let at = Duration::from_millis(words.next()?.parse::<u64>().ok()? * 10);
    let process = words.next()?.parse().ok()?;
    let event = match (words.next()?, words.next()?) {
        ("begin", command) => LogEvent::Began(command.trim_end().to_owned()),
        ("end", rest) => {
            let (program, status) = rest.rsplit_once(' ')?;
            LogEvent::Ended {
                program: program.to_owned(),
                status: status.parse().ok()?,
            }
        }
        _ => return None,
    };
    Some(LogEntry { at, process, event })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_systemd_does() {
        let check =
            |millis, expected: &str| assert_eq!(time_span(Duration::from_millis(millis)), expected);
        check(90_000, "1min 30s");
        check(2_000, "2s");
        check(1_500, "1s 500ms");
        check(0, "0");
    }

    #[test]
    fn log_lines_are_read() {
        let check = |line: &str, expected: Option<(u32, LogEvent)>| {
            assert_eq!(
                parse(line).map(|entry| (entry.process, entry.event)),
                expected,
                "{line:?}"
            );
        };
        check(
            "1234 7 begin systemctl show -p A app",
            Some((7, LogEvent::Began("systemctl show -p A app".into()))),
        );
        check(
            "1234 7 begin bun ",
            Some((7, LogEvent::Began("bun".into()))),
        );
        check(
            "1234 7 end bun 137",
            Some((
                7,
                LogEvent::Ended {
                    program: "bun".into(),
                    status: 137,
                },
            )),
        );
        check("of a message that goes on", None);
        check("", None);
    }
}
