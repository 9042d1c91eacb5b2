//! `cargo xtask test`: the whole test suite, with what it needs.

use std::io::{self, Read, Write};
use std::process::{Command, ExitCode, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, bail};

use crate::machine::{self, Family};
use crate::process;
use crate::summary::Summary;
use crate::tools::{self, TOOLS, Tool};
use crate::version::Version;

/// Tells the tests which tools to do without: names from [`TOOLS`] with commas between them.
const WITHOUT_VARIABLE: &str = "ROLLOUT_TEST_WITHOUT";
/// The oldest git with which the tests make their repositories.
const OLDEST_GIT: Version = Version::new(2, 30);
/// How long output may stay open after `cargo test` ended before we say that a test left a process behind.
const OUTPUT_GRACE: Duration = Duration::from_secs(10);

/// Runs the tests. The last line printed sums up, whatever happened, once the tests were started.
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<ExitCode> {
    let options = Options::parse(arguments)?;
    let git = check_git()?;
    provide_tools(&options.needed())?;
    println!("{}", versions_line(&git, &options.needed()));

    let outcome = stream(&mut options.command())?;
    for name in &outcome.summary.failures {
        println!("failed: {name}");
    }
    println!("{}", outcome.last_line(&options.without));
    Ok(if outcome.problem().is_none() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

#[derive(Debug, Default)]
struct Options {
    without: Vec<&'static Tool>,
    for_cargo: Vec<String>,
}

impl Options {
    fn parse(arguments: &[String]) -> anyhow::Result<Self> {
        let mut options = Self::default();
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            let name = match argument.as_str() {
                "--" => {
                    options.for_cargo = rest.cloned().collect();
                    break;
                }
                "--without" => rest.next().context("--without takes the name of a tool")?,
                other => match other.strip_prefix("--without=") {
                    Some(name) => name,
                    None => bail!(
                        "{other:?} is not known here; what is meant for cargo test goes behind --"
                    ),
                },
            };
            let Some(tool) = Tool::named(name) else {
                let known: Vec<_> = TOOLS.iter().map(|tool| tool.name).collect();
                bail!(
                    "--without {name}: no test needs that; known: {}",
                    known.join(", ")
                );
            };
            if !options.without.iter().any(|other| other.name == tool.name) {
                options.without.push(tool);
            }
        }
        Ok(options)
    }

    fn needed(&self) -> Vec<&'static Tool> {
        TOOLS
            .iter()
            .filter(|tool| !self.without.iter().any(|other| other.name == tool.name))
            .collect()
    }

    fn command(&self) -> Command {
        let mut command = process::cargo();
        // All test programs run even after a failure, so that the sum is the sum of everything.
        command.args(["test", "--all-features", "--locked", "--no-fail-fast"]);
        if !self.chooses_packages() {
            command.arg("--workspace");
        }
        command
            .args(&self.for_cargo)
            .env(WITHOUT_VARIABLE, names(&self.without).join(","));
        command
    }

    /// Whether the arguments for cargo say which packages to test.
    fn chooses_packages(&self) -> bool {
        self.for_cargo
            .iter()
            .take_while(|argument| *argument != "--")
            .any(|argument| argument.starts_with("--package") || argument.starts_with("-p"))
    }
}

fn names(tools: &[&Tool]) -> Vec<&'static str> {
    tools.iter().map(|tool| tool.name).collect()
}

/// What git calls its version. Fails when it is missing or too old.
fn check_git() -> anyhow::Result<String> {
    let Some(printed) = tools::printed_version("git", &["--version"]) else {
        let family = Family::here();
        let command = family.install_command(&["git"], machine::is_root());
        bail!(
            "git was not found, and the tests need it; install it{}",
            command
                .map(|command| format!(": {command}"))
                .unwrap_or_default()
        );
    };
    match Version::find(&printed) {
        Some(version) if version >= OLDEST_GIT => Ok(printed),
        _ => bail!("the tests need git {OLDEST_GIT} or newer, and this is {printed:?}"),
    }
}

/// Sees to it that the machine has every tool, or fails with what to do about it.
fn provide_tools(needed: &[&'static Tool]) -> anyhow::Result<()> {
    let missing = missing(needed);
    if missing.is_empty() {
        return Ok(());
    }
    let (family, root) = (Family::here(), machine::is_root());
    let packages: Vec<&str> = missing
        .iter()
        .flat_map(|(tool, _)| tool.packages(family).split(' '))
        .collect();
    let found = describe_missing(&missing);
    if family != Family::Debian || !root {
        let command = family.install_command(&packages, root).unwrap_or_else(|| {
            format!(
                "your package manager (Debian calls it {})",
                packages.join(" ")
            )
        });
        let without: Vec<_> = missing
            .iter()
            .map(|(tool, _)| format!("--without {}", tool.name))
            .collect();
        bail!(
            "{found}\ninstall with: {command}\nor leave those tests out: cargo xtask test {}",
            without.join(" ")
        );
    }
    println!(
        "xtask test: {found}; installing {} with apt-get, services stay off",
        packages.join(" ")
    );
    machine::apt_get_install(&packages)?;
    let missing = self::missing(needed);
    if !missing.is_empty() {
        bail!(
            "after installing {}: {}",
            packages.join(" "),
            describe_missing(&missing)
        );
    }
    Ok(())
}

type Missing = (&'static Tool, Vec<&'static str>);

fn missing(needed: &[&'static Tool]) -> Vec<Missing> {
    needed
        .iter()
        .map(|tool| (*tool, tool.missing_programs()))
        .filter(|(_, programs)| !programs.is_empty())
        .collect()
}

fn describe_missing(missing: &[Missing]) -> String {
    let parts: Vec<_> = missing
        .iter()
        .map(|(tool, programs)| format!("{} (needed by {})", programs.join(", "), tool.needed_by))
        .collect();
    format!("missing: {}", parts.join("; "))
}

fn versions_line(git: &str, needed: &[&Tool]) -> String {
    let mut parts = Vec::new();
    parts.extend(tools::printed_version("rustc", &["--version"]));
    parts.push(git.to_owned());
    parts.extend(needed.iter().filter_map(|tool| tool.version()));
    format!("xtask test: {}", parts.join(", "))
}

/// How the tests ended.
#[derive(Debug)]
struct Outcome {
    summary: Summary,
    status: ExitStatus,
    /// Whether the output was still open long after `cargo test` had ended.
    left_behind: bool,
}

impl Outcome {
    /// Why this is a failure, or `None`.
    fn problem(&self) -> Option<String> {
        if !self.status.success() && self.summary.failed == 0 {
            Some(format!("cargo test ended with {}", self.status))
        } else if !self.status.success() {
            Some("tests failed".to_owned())
        } else if self.summary.programs == 0 {
            Some("no test program ran".to_owned())
        } else if self.left_behind {
            Some("a test left a process running".to_owned())
        } else {
            None
        }
    }

    fn last_line(&self, without: &[&Tool]) -> String {
        let problem = self
            .problem()
            .map(|problem| format!("FAILED ({problem}): "))
            .unwrap_or_default();
        let Summary {
            passed,
            failed,
            ignored,
            ..
        } = &self.summary;
        let ignored = if *ignored > 0 {
            format!(", {ignored} ignored")
        } else {
            String::new()
        };
        let left_out = if without.is_empty() {
            "nothing".to_owned()
        } else {
            names(without).join(", ")
        };
        format!(
            "xtask test: {problem}{passed} passed, {failed} failed{ignored}, left out: {left_out}"
        )
    }
}

/// Runs the command and lets its output through as it comes, while counting.
fn stream(command: &mut Command) -> anyhow::Result<Outcome> {
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .context("could not start cargo")?;
    let mut output = child.stdout.take().context("cargo has no output")?;
    let (pieces, received) = mpsc::channel();
    // Not joined: a process that outlives the tests may keep the output open for ever.
    thread::spawn(move || {
        let mut buffer = vec![0; 16 * 1024];
        while let Ok(length @ 1..) = output.read(&mut buffer) {
            if pieces.send(Some(buffer[..length].to_vec())).is_err() {
                return;
            }
        }
        // The receiver may be gone; then nobody wants to know.
        let _ = pieces.send(None);
    });
    let (ended, ending) = mpsc::channel();
    thread::spawn(move || {
        let _ = ended.send(child.wait());
    });
    collect(&received, &ending)
}

fn collect(
    received: &mpsc::Receiver<Option<Vec<u8>>>,
    ending: &mpsc::Receiver<io::Result<ExitStatus>>,
) -> anyhow::Result<Outcome> {
    let mut summary = Summary::default();
    let mut status = None;
    let left_behind = loop {
        match received.recv_timeout(OUTPUT_GRACE) {
            Ok(Some(piece)) => {
                // A reader that closed our output still gets the exit status.
                let mut stdout = io::stdout().lock();
                let _ = stdout.write_all(&piece).and_then(|()| stdout.flush());
                summary.feed(&piece);
            }
            Ok(None) | Err(mpsc::RecvTimeoutError::Disconnected) => break false,
            Err(mpsc::RecvTimeoutError::Timeout) if status.is_some() => break true,
            // Silence is nothing to judge by while cargo runs; from here on the grace counts.
            Err(mpsc::RecvTimeoutError::Timeout) => status = ending.try_recv().ok(),
        }
    };
    summary.end();
    let status = match status {
        Some(status) => status,
        None => ending.recv().context("nobody waited for cargo")?,
    };
    Ok(Outcome {
        summary,
        status: status.context("could not wait for cargo")?,
        left_behind,
    })
}
