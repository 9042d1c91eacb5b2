//! `cargo xtask fresh`: what the README promises for a fresh machine, tried on one.
//!
//! A minimal Debian is unpacked into a folder, with gcc, git and this machine's Rust toolchain and nothing
//! else, and the commands run in a clone of this checkout there. Everything that touches that system runs in
//! mount and process namespaces of its own, so that its mounts and its processes end with it whatever happens.

use std::env;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};

use crate::machine::{self, Family};
use crate::process;

mod inside;

pub(crate) use inside::run as run_inside;

/// The two commands of the README's first screen.
const COMMANDS: [&str; 2] = [
    "cargo run --release -p rollout-cli -- demo",
    "cargo xtask test",
];
const SUITE: &str = "bookworm";

/// Runs what it is given in the background, removes a folder once that is over, and passes the exit status
/// on. A signal ends what runs first: unshare takes everything in its namespaces with it.
const GUARD: &str = r#"
child=
trap '[ -z "$child" ] || kill -KILL "$child"' HUP INT TERM
"$@" &
child=$!
wait "$child"
status=$?
wait "$child" 2>/dev/null
trap '' HUP INT TERM
tries=0
while [ -n "$ROLLOUT_FRESH_REMOVE" ] && ! rm -rf --one-file-system -- "$ROLLOUT_FRESH_REMOVE" 2>/dev/null; do
    tries=$((tries + 1))
    if [ "$tries" -ge 100 ]; then
        echo "xtask fresh: could not remove $ROLLOUT_FRESH_REMOVE" >&2
        break
    fi
    sleep 0.1
done
exit "$status"
"#;

/// The first process of the new namespace. Orphans become its children, and a shell collects them.
const FIRST_PROCESS: &str = r#""$@"; exit "$?""#;

/// Tries the commands. Does not come back unless something is missing: the process becomes the guard.
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<ExitCode> {
    let options = Options::parse(arguments)?;
    if !machine::is_root() {
        bail!("fresh unpacks and enters another system, which only root may do");
    }
    provide_debootstrap()?;
    let toolchain = toolchain()?;
    let checkout = process::workspace_root()?;
    let changed = process::read(
        process::command("git")
            .arg("-C")
            .arg(&checkout)
            .args(["status", "--porcelain"]),
    )?;
    if !changed.is_empty() {
        println!(
            "xtask fresh: only what is committed is tried, and this checkout has other changes"
        );
    }
    let mirror = options
        .mirror
        .or_else(|| configured_mirror(&options.suite))
        .unwrap_or_default();
    let (folder, remove) = match options.keep {
        Some(folder) => {
            fs::create_dir_all(&folder)
                .with_context(|| format!("could not make {}", folder.display()))?;
            (
                fs::canonicalize(&folder).context("could not find the folder just made")?,
                PathBuf::new(),
            )
        }
        None => {
            // Not the temporary folder: that is often mounted without device files, or in memory.
            let folder = machine::new_folder(Path::new("/var/tmp"), "rollout-fresh")?;
            (folder.clone(), folder)
        }
    };
    let mut guard = process::command("sh");
    guard
        .args(["-c", GUARD, "guard"])
        .args([
            "unshare",
            "--mount",
            "--propagation",
            "private",
            "--pid",
            "--fork",
            "--kill-child",
            "--mount-proc",
        ])
        .args(["sh", "-c", FIRST_PROCESS, "init"])
        .arg(env::current_exe().context("could not find this program")?)
        .arg("fresh-inside")
        .args([&folder, &toolchain, &checkout])
        .args([&options.suite, &mirror])
        .args(&options.commands)
        .env("ROLLOUT_FRESH_REMOVE", remove);
    Err(guard.exec()).context("could not start sh")
}

#[derive(Debug, PartialEq, Eq)]
struct Options {
    keep: Option<PathBuf>,
    suite: String,
    mirror: Option<String>,
    commands: Vec<String>,
}

impl Options {
    fn parse(arguments: &[String]) -> anyhow::Result<Self> {
        let mut options = Self {
            keep: None,
            suite: SUITE.to_owned(),
            mirror: None,
            commands: Vec::new(),
        };
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            let mut value = || {
                rest.next()
                    .cloned()
                    .with_context(|| format!("{argument} takes a value"))
            };
            match argument.as_str() {
                "--keep" => options.keep = Some(value()?.into()),
                "--suite" => options.suite = value()?,
                "--mirror" => options.mirror = Some(value()?),
                "--run" => options.commands.push(value()?),
                other => bail!("{other:?} is not known to fresh"),
            }
        }
        if options.commands.is_empty() {
            options.commands = COMMANDS.map(str::to_owned).to_vec();
        }
        Ok(options)
    }
}

fn provide_debootstrap() -> anyhow::Result<()> {
    let packages = ["debootstrap", "debian-archive-keyring"];
    if machine::has_program("debootstrap") {
        return Ok(());
    }
    if Family::here() != Family::Debian {
        bail!("fresh needs debootstrap; install {}", packages.join(" "));
    }
    println!(
        "xtask fresh: missing: debootstrap; installing {} with apt-get",
        packages.join(" ")
    );
    machine::apt_get_install(&packages)
}

/// The folder of the Rust toolchain in use. It must hold nothing else, for all of it appears in the other system.
fn toolchain() -> anyhow::Result<PathBuf> {
    let folder = PathBuf::from(
        process::read(process::command("rustc").args(["--print", "sysroot"]))?.trim_end(),
    );
    if !folder.join("bin/cargo").is_file() || folder == Path::new("/usr") {
        bail!(
            "fresh needs a toolchain in a folder of its own, as rustup installs it; {} is none",
            folder.display()
        );
    }
    Ok(folder)
}

/// The mirror from which this machine takes that suite, if it has any of it.
fn configured_mirror(suite: &str) -> Option<String> {
    let format = "$(CODENAME) $(LABEL) $(REPO_URI)";
    let listed = process::read(process::command("apt-get").args([
        "indextargets",
        "--format",
        format,
        "Identifier: Packages",
    ]));
    mirror_in(&listed.ok()?, suite)
}

/// The first web address in lines of code name, label and address.
fn mirror_in(listed: &str, suite: &str) -> Option<String> {
    listed.lines().find_map(|line| {
        let address = line.strip_prefix(suite)?.strip_prefix(" Debian ")?;
        let web = address.starts_with("http://") || address.starts_with("https://");
        web.then(|| address.to_owned())
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::{COMMANDS, Options, mirror_in};

    fn parse(words: &[&str]) -> anyhow::Result<Options> {
        Options::parse(
            &words
                .iter()
                .map(|word| (*word).to_owned())
                .collect::<Vec<_>>(),
        )
    }

    #[test]
    fn without_arguments_the_readme_is_tried() {
        let options = parse(&[]).unwrap();
        assert_eq!(options.commands, COMMANDS);
        assert_eq!(options.keep, None);
    }

    #[test]
    fn commands_folder_and_source_can_be_chosen() {
        let options = parse(&[
            "--run", "a b", "--keep", "/k", "--run", "c", "--suite", "trixie", "--mirror",
            "http://m",
        ]);
        let expected = Options {
            keep: Some("/k".into()),
            suite: "trixie".to_owned(),
            mirror: Some("http://m".to_owned()),
            commands: vec!["a b".to_owned(), "c".to_owned()],
        };
        assert_eq!(options.unwrap(), expected);
        assert_eq!(
            parse(&["--run"]).unwrap_err().to_string(),
            "--run takes a value"
        );
        assert!(parse(&["--rum", "x"]).is_err());
    }

    #[test]
    fn the_mirror_is_that_of_the_suite_itself() {
        let listed = "\
nodistro . https://vendor.example/node
bookworm-updates Debian http://updates.example/debian/
bookworm-security Debian-Security http://security.example/
bookworm Vendor http://vendor.example/
bookworm Debian cdrom:[disc]/
bookworm Debian http://mirror.example/debian/
";
        assert_eq!(
            mirror_in(listed, "bookworm").as_deref(),
            Some("http://mirror.example/debian/")
        );
        assert_eq!(mirror_in(listed, "trixie"), None);
    }
}
