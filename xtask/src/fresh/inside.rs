//! The part of `fresh` that runs in namespaces of its own: mounts made here end with this process.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::process;

/// Where the toolchain and the clone are in the other system.
const TOOLCHAIN: &str = "opt/rust";
const CLONE: &str = "root/rollout";
/// All that the README asks of a machine, Rust aside. The last is how git and cargo trust the servers they fetch from.
const PACKAGES: [&str; 4] = ["gcc", "libc6-dev", "git", "ca-certificates"];
/// How this machine reaches the network; the other system is told the same.
const NETWORK_FILES: [&str; 2] = ["/etc/resolv.conf", "/etc/hosts"];
const CERTIFICATES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Makes the other system and runs the commands in it.
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<ExitCode> {
    let [folder, toolchain, checkout, suite, mirror, commands @ ..] = arguments else {
        bail!("fresh-inside is started by fresh");
    };
    let system = System {
        root: Path::new(folder).join("system"),
        environment: network_environment(env::vars_os()),
    };
    system.unpack(Path::new(folder), suite, mirror)?;
    system.tell_about_network()?;
    system.mount(Path::new(toolchain))?;
    system.install()?;
    system.clone_checkout(Path::new(checkout))?;

    let mut results = Vec::new();
    for command in commands {
        println!("xtask fresh: $ {command}");
        let begin = Instant::now();
        let status = system
            .shell(command)
            .status()
            .context("could not start chroot")?;
        results.push((command, status, begin.elapsed()));
    }
    println!(
        "xtask fresh: Debian {suite} with {} and Rust:",
        PACKAGES.join(", ")
    );
    for (command, status, took) in &results {
        println!("xtask fresh: {}", result_line(command, *status, *took));
    }
    let passed = results.iter().all(|(_, status, _)| status.success());
    Ok(if passed {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn result_line(command: &str, status: ExitStatus, took: Duration) -> String {
    format!("{:8.1} s  {status}  {command}", took.as_secs_f64())
}

/// The other system.
#[derive(Debug)]
struct System {
    root: PathBuf,
    environment: BTreeMap<OsString, OsString>,
}

impl System {
    /// Makes a system that nobody used before. What is downloaded is kept apart from it in the folder, for
    /// the next run in the same folder; the mark says that it was unpacked to the end.
    fn unpack(&self, folder: &Path, suite: &str, mirror: &str) -> anyhow::Result<()> {
        let (original, mark) = (folder.join(suite), folder.join(format!("{suite}.complete")));
        if !mark.is_file() {
            println!("xtask fresh: unpacking Debian {suite}");
            remove(&original)?;
            let mut debootstrap = process::command("debootstrap");
            debootstrap
                .args(["--variant=minbase", suite])
                .arg(&original);
            if !mirror.is_empty() {
                debootstrap.arg(mirror);
            }
            quietly(&mut debootstrap)?;
            fs::write(&mark, "").with_context(|| format!("could not write {}", mark.display()))?;
        }
        remove(&self.root)?;
        process::run(
            process::command("cp")
                .args(["-a", "--"])
                .arg(&original)
                .arg(&self.root),
        )
    }

    fn tell_about_network(&self) -> anyhow::Result<()> {
        for file in NETWORK_FILES
            .into_iter()
            .map(Path::new)
            .filter(|file| file.is_file())
        {
            self.copy(file, &self.inside(file))?;
        }
        let settings =
            process::read(process::command("apt-config").arg("dump")).unwrap_or_default();
        let path = self.root.join("etc/apt/apt.conf.d/80proxy");
        fs::write(&path, apt_proxies(&settings))
            .with_context(|| format!("could not write {}", path.display()))
    }

    fn mount(&self, toolchain: &Path) -> anyhow::Result<()> {
        let place = self.root.join(TOOLCHAIN);
        fs::create_dir_all(&place)
            .with_context(|| format!("could not make {}", place.display()))?;
        let mount = || process::command("mount");
        process::run(
            mount()
                .args(["-t", "proc", "proc"])
                .arg(self.root.join("proc")),
        )?;
        process::run(mount().args(["--rbind", "/dev"]).arg(self.root.join("dev")))?;
        process::run(mount().arg("--bind").arg(toolchain).arg(&place))?;
        process::run(mount().args(["-o", "remount,bind,ro"]).arg(&place))
    }

    fn install(&self) -> anyhow::Result<()> {
        println!("xtask fresh: installing {}", PACKAGES.join(", "));
        quietly(&mut self.shell("cd / && apt-get -q update"))?;
        let install = format!(
            "cd / && apt-get -q install --yes --no-install-recommends {}",
            PACKAGES.join(" ")
        );
        quietly(
            self.shell(&install)
                .env("DEBIAN_FRONTEND", "noninteractive"),
        )?;
        // A network with a certificate authority of its own is trusted there as it is here.
        let named = ["SSL_CERT_FILE", "CARGO_HTTP_CAINFO"]
            .into_iter()
            .filter_map(env::var_os)
            .map(PathBuf::from);
        let trusted: Vec<PathBuf> = named
            .filter(|file| file.is_absolute() && file.is_file())
            .collect();
        for file in &trusted {
            self.copy(file, &self.inside(file))?;
        }
        let bundle = trusted
            .first()
            .map_or(Path::new(CERTIFICATES), PathBuf::as_path);
        if bundle.is_file() {
            self.copy(bundle, &self.inside(Path::new(CERTIFICATES)))?;
        }
        let settings = env::var_os("CARGO_HOME")
            .map(PathBuf::from)
            .or_else(|| Some(env::home_dir()?.join(".cargo")));
        if let Some(settings) = settings
            .map(|folder| folder.join("config.toml"))
            .filter(|file| file.is_file())
        {
            self.copy(&settings, &self.root.join("root/.cargo/config.toml"))?;
        }
        Ok(())
    }

    fn clone_checkout(&self, checkout: &Path) -> anyhow::Result<()> {
        let clone = self.root.join(CLONE);
        process::run(
            process::command("git")
                .args(["clone", "--quiet", "--no-hardlinks", "--"])
                .arg(checkout)
                .arg(&clone),
        )
    }

    /// A shell command in the clone, with the environment of a fresh login.
    fn shell(&self, command: &str) -> Command {
        let path = format!(
            "/{TOOLCHAIN}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        );
        let mut chroot = process::command("chroot");
        chroot
            .arg(&self.root)
            .args(["sh", "-c", &format!("cd /{CLONE} 2>/dev/null; {command}")])
            .env_clear()
            .envs(&self.environment)
            .env("PATH", path)
            .env("HOME", "/root");
        chroot
    }

    /// A path of this system as it is seen from outside.
    fn inside(&self, path: &Path) -> PathBuf {
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }

    fn copy(&self, from: &Path, to: &Path) -> anyhow::Result<()> {
        if let Some(folder) = to.parent() {
            fs::create_dir_all(folder)
                .with_context(|| format!("could not make {}", folder.display()))?;
        }
        // A link there may point anywhere, and here that is a file of this machine.
        if to.is_symlink() {
            fs::remove_file(to).with_context(|| format!("could not remove {}", to.display()))?;
        }
        fs::copy(from, to)
            .with_context(|| format!("could not copy {} to {}", from.display(), to.display()))?;
        Ok(())
    }
}

/// Removes a folder if it is there, with everything in it that is not another file system.
fn remove(folder: &Path) -> anyhow::Result<()> {
    process::run(
        process::command("rm")
            .args(["-rf", "--one-file-system", "--"])
            .arg(folder),
    )
}

/// Runs a command and shows what it wrote only when it failed.
fn quietly(command: &mut Command) -> anyhow::Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .output()
        .with_context(|| format!("could not start {program}"))?;
    if !output.status.success() {
        let (out, err) = (
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
        bail!("{program} failed: {}\n{out}{err}", output.status);
    }
    Ok(())
}

/// What tells programs how to get out of this network, and cargo where crates come from. No tokens.
fn network_environment(
    all: impl Iterator<Item = (OsString, OsString)>,
) -> BTreeMap<OsString, OsString> {
    const PREFIXES: [&str; 5] = [
        "CARGO_HTTP_",
        "CARGO_NET_",
        "CARGO_REGISTRIES_",
        "CARGO_REGISTRY_",
        "CARGO_SOURCE_",
    ];
    const NAMES: [&str; 6] = [
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
        "NO_PROXY",
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
    ];
    all.filter(|(name, _)| {
        let name = name.to_string_lossy().to_uppercase();
        let wanted = NAMES.contains(&name.as_str())
            || PREFIXES.iter().any(|prefix| name.starts_with(prefix));
        wanted && !name.ends_with("_TOKEN")
    })
    .collect()
}

/// The lines of `apt-config dump` that name a proxy.
fn apt_proxies(dump: &str) -> String {
    let is_proxy = |line: &&str| line.starts_with("Acquire::http") && line.contains("::Proxy");
    dump.lines()
        .filter(is_proxy)
        .flat_map(|line| [line, "\n"])
        .collect()
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::{apt_proxies, network_environment};

    #[test]
    fn the_network_is_passed_on_and_nothing_else() {
        let pairs = [
            ("https_proxy", true),
            ("NO_PROXY", true),
            ("SSL_CERT_FILE", true),
            ("CARGO_HTTP_CAINFO", true),
            ("CARGO_REGISTRIES_MINE_INDEX", true),
            ("CARGO_REGISTRIES_MINE_TOKEN", false),
            ("CARGO_REGISTRY_TOKEN", false),
            ("CARGO_HOME", false),
            ("CARGO_MANIFEST_DIR", false),
            ("PATH", false),
            ("LD_LIBRARY_PATH", false),
        ];
        let all = pairs.map(|(name, _)| (OsString::from(name), OsString::from("x")));
        let passed = network_environment(all.into_iter());
        for (name, expected) in pairs {
            assert_eq!(
                passed.contains_key(&OsString::from(name)),
                expected,
                "{name}"
            );
        }
    }

    #[test]
    fn only_proxies_are_taken_from_apt() {
        let dump = "APT::Architecture \"amd64\";\nAcquire::http::Proxy \"http://proxy.example:3128\";\n\
            Acquire::https::Proxy::mirror.example \"DIRECT\";\nAcquire::Languages \"none\";\n";
        let expected = "Acquire::http::Proxy \"http://proxy.example:3128\";\n\
            Acquire::https::Proxy::mirror.example \"DIRECT\";\n";
        assert_eq!(apt_proxies(dump), expected);
        assert_eq!(apt_proxies(""), "");
    }
}
