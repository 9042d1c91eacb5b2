//! `cargo xtask test`: the whole test suite, with what it needs.

use std::num::NonZero;
use std::process::{Command, ExitCode};
use std::time::Duration;
use std::{env, io, thread};

use anyhow::{Context, bail};

use crate::machine::{self, Family};
use crate::process;
use crate::tools::{self, TOOLS, Tool};
use crate::version::Version;

mod outcome;

use outcome::Outcome;

/// Tells the tests which tools to do without: names from [`TOOLS`] with commas between them.
const WITHOUT_VARIABLE: &str = "ROLLOUT_TEST_WITHOUT";
/// Tells the tests that the programs of the whole workspace were built with them.
const BUILT_VARIABLE: &str = "ROLLOUT_TEST_BUILT";
/// Tells each test program how many tests to run at once.
const THREADS_VARIABLE: &str = "RUST_TEST_THREADS";
/// The oldest git with which the tests make their repositories.
const OLDEST_GIT: Version = Version::new(2, 30);
/// How long output may stay open after `cargo test` ended before we say that a test left a process behind.
const OUTPUT_GRACE: Duration = Duration::from_secs(10);

/// Runs the tests. The last line printed sums up, whatever happened, once the tests were started.
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<ExitCode> {
    let options = Options::parse(arguments)?;
    let git = check_git()?;
    provide_tools(&options.needed(), &mut options.building())?;
    println!("{}", versions_line(&git, &options.needed()));

    let outcome = Outcome::of(&mut options.command(), OUTPUT_GRACE, &mut io::stdout())?;
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
        let mut command = command();
        // All test programs run even after a failure, so that the sum is the sum of everything.
        command.arg("--no-fail-fast");
        self.complete(command)
    }

    /// Builds what [`command`](Self::command) runs.
    fn building(&self) -> Command {
        let mut command = command();
        command.arg("--no-run");
        self.complete(command)
    }

    fn complete(&self, mut command: Command) -> Command {
        if env::var_os(THREADS_VARIABLE).is_none() {
            command.env(THREADS_VARIABLE, threads().to_string());
        }
        if !self.chooses_packages() {
            command.arg("--workspace").env(BUILT_VARIABLE, "workspace");
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

/// `cargo test` as it is called for all of the tests.
pub(crate) fn command() -> Command {
    let mut command = process::cargo();
    command.args(["test", "--all-features", "--locked"]);
    command
}

/// Three tests at once for two cores: most wait for hosts, databases and browsers a good part of their time.
fn threads() -> usize {
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    cores + cores.div_ceil(2)
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

/// Sees to it that the machine has every tool, or fails with what to do about it. While tools are installed, which is
/// mostly waiting for the network and the disk, the tests are built.
fn provide_tools(needed: &[&'static Tool], building: &mut Command) -> anyhow::Result<()> {
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
        "xtask test: {found}; installing {} with apt-get, services stay off, and building the tests meanwhile",
        packages.join(" ")
    );
    let mut building = building.spawn().context("could not start cargo")?;
    let installed = machine::apt_get_install(&packages);
    if installed.is_err() {
        // It may have ended already.
        let _ = building.kill();
    }
    // What does not build is told of when the tests are to be run.
    building.wait().context("could not wait for cargo")?;
    installed?;
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

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::process::Command;

    use super::{Options, WITHOUT_VARIABLE};

    fn options(words: &[&str]) -> anyhow::Result<Options> {
        Options::parse(
            &words
                .iter()
                .map(|word| (*word).to_owned())
                .collect::<Vec<_>>(),
        )
    }

    #[test]
    fn what_is_left_out_reaches_the_tests() {
        for (words, expected) in [
            (vec![], ""),
            (vec!["--without", "sshd"], "sshd"),
            (vec!["--without=sshd", "--without", "sshd"], "sshd"),
        ] {
            let command = options(&words).unwrap().command();
            let value = command
                .get_envs()
                .find(|(name, _)| *name == WITHOUT_VARIABLE);
            assert_eq!(value.unwrap().1.unwrap(), expected, "{words:?}");
        }
        assert!(
            !options(&["--without", "sshd"])
                .unwrap()
                .needed()
                .iter()
                .any(|tool| tool.name == "sshd")
        );
    }

    #[test]
    fn the_whole_workspace_is_tested_unless_packages_are_named() {
        for (words, expected) in [
            (vec![], true),
            (vec!["--", "gate"], true),
            (vec!["--", "--", "-p"], true),
            (vec!["--", "-p", "fleet-types"], false),
            (vec!["--", "--package=fleet-types"], false),
        ] {
            let command = options(&words).unwrap().command();
            assert_eq!(
                command.get_args().any(|argument| argument == "--workspace"),
                expected,
                "{words:?}"
            );
        }
    }

    #[test]
    fn what_is_built_beforehand_is_what_is_run() {
        for words in [vec![], vec!["--without=sshd", "--", "gate", "--", "-p"]] {
            let options = options(&words).unwrap();
            let (building, running) = (options.building(), options.command());
            let words_of = |command: &Command, but: &str| -> Vec<_> {
                let words = command.get_args().map(ToOwned::to_owned);
                words.filter(|word| word != but).collect()
            };
            assert_eq!(
                words_of(&building, "--no-run"),
                words_of(&running, "--no-fail-fast"),
                "{words:?}"
            );
            assert!(building.get_envs().eq(running.get_envs()), "{words:?}");
            // Behind the first -- it would be for the test programs.
            let place = |wanted: &str| building.get_args().position(|word| word == wanted);
            let (no_run, rest) = (place("--no-run"), place("--"));
            assert!(
                no_run.is_some_and(|at| rest.is_none_or(|rest| at < rest)),
                "{words:?}"
            );
        }
    }

    #[test]
    fn unknown_words_are_refused() {
        for words in [
            vec!["gate"],
            vec!["--without"],
            vec!["--without", "sshd2"],
            vec!["--without="],
        ] {
            assert!(options(&words).is_err(), "{words:?}");
        }
    }
}
