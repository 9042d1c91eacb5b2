//! The real git, kept apart from the configuration of the person who runs this.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::error::FleetError;

/// Where git is and which configuration it sees.
#[derive(Clone, Debug)]
pub(crate) struct Git {
    program: PathBuf,
    configuration: PathBuf,
}

/// Author and safe.directory for every git here; nothing else of the machine's configuration is read.
pub(crate) const CONFIGURATION: &str = "[safe]\n\tdirectory = *\n[user]\n\tname = Local Fleet\n\temail = fleet@example.invalid\n\
     [init]\n\tdefaultBranch = main\n[advice]\n\tdetachedHead = false\n";

impl Git {
    /// Finds git on the PATH. `configuration` is the file that stands in for the user's own.
    pub(crate) fn find(configuration: PathBuf) -> Result<Self, FleetError> {
        let path =
            std::env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into());
        let program = std::env::split_paths(&path)
            .map(|folder| folder.join("git"))
            .find(|file| file.is_file());
        let program = program.ok_or_else(|| FleetError::Git {
            arguments: "--version".into(),
            cause: "no git on the PATH".into(),
        })?;
        Ok(Self {
            program,
            configuration,
        })
    }

    pub(crate) fn program(&self) -> &Path {
        &self.program
    }

    /// Runs git in a folder with this input; its standard output, without the last line end.
    pub(crate) async fn run<A: AsRef<OsStr>>(
        &self,
        folder: &Path,
        arguments: &[A],
        input: Option<String>,
    ) -> Result<String, FleetError> {
        let failed = |cause: String| {
            let words: Vec<_> = arguments
                .iter()
                .map(|a| a.as_ref().to_string_lossy().into_owned())
                .collect();
            FleetError::Git {
                arguments: words.join(" "),
                cause,
            }
        };
        let mut child = Command::new(&self.program)
            .args(arguments)
            .current_dir(folder)
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", &self.configuration)
            .env("GIT_TERMINAL_PROMPT", "0")
            .stdin(if input.is_some() {
                Stdio::piped()
            } else {
                Stdio::null()
            })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| failed(error.to_string()))?;
        // What is written here is a few kilobytes: less than a pipe holds, so git's answers cannot block it.
        if let (Some(text), Some(mut pipe)) = (input, child.stdin.take()) {
            pipe.write_all(text.as_bytes())
                .await
                .map_err(|error| failed(error.to_string()))?;
        }
        let output = child
            .wait_with_output()
            .await
            .map_err(|error| failed(error.to_string()))?;
        if !output.status.success() {
            return Err(failed(format!(
                "{}, {}",
                output.status,
                String::from_utf8_lossy(&output.stderr).trim()
            )));
        }
        Ok(String::from_utf8_lossy(&output.stdout)
            .trim_end_matches('\n')
            .to_owned())
    }
}
