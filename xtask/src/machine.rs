//! What kind of machine this is, and how packages get onto it.

use std::env;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

use crate::process;

/// Systems that share a package manager.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    Debian,
    Fedora,
    Suse,
    Arch,
    Alpine,
    MacOs,
    Unknown,
}

impl Family {
    /// The family of this machine.
    pub(crate) fn here() -> Self {
        if cfg!(target_os = "macos") {
            return Self::MacOs;
        }
        let text = fs::read_to_string("/etc/os-release")
            .or_else(|_| fs::read_to_string("/usr/lib/os-release"))
            .unwrap_or_default();
        Self::of_os_release(&text)
    }

    /// The family that the text of an `os-release` file tells, by `ID` first and then by `ID_LIKE`.
    fn of_os_release(text: &str) -> Self {
        let field = |name: &str| {
            let line = text
                .lines()
                .find_map(|line| line.trim().strip_prefix(name)?.strip_prefix('='));
            line.unwrap_or_default()
                .trim()
                .trim_matches(['"', '\''])
                .to_owned()
        };
        let (id, like) = (field("ID"), field("ID_LIKE"));
        [id.as_str()]
            .into_iter()
            .chain(like.split_whitespace())
            .find_map(|name| match name {
                "debian" | "ubuntu" => Some(Self::Debian),
                "fedora" | "rhel" | "centos" => Some(Self::Fedora),
                "suse" | "opensuse" => Some(Self::Suse),
                "arch" => Some(Self::Arch),
                "alpine" => Some(Self::Alpine),
                _ => None,
            })
            .unwrap_or(Self::Unknown)
    }

    /// What a person types to install packages, or `None` where we do not know.
    pub(crate) fn install_command(self, packages: &[&str], root: bool) -> Option<String> {
        let manager = match self {
            Self::Debian => "apt-get install --no-install-recommends",
            Self::Fedora => "dnf install",
            Self::Suse => "zypper install",
            Self::Arch => "pacman -S --needed",
            Self::Alpine => "apk add",
            Self::MacOs => return Some(format!("brew install {}", packages.join(" "))),
            Self::Unknown => return None,
        };
        let sudo = if root { "" } else { "sudo " };
        Some(format!("{sudo}{manager} {}", packages.join(" ")))
    }
}

/// Whether we are the superuser. A machine that cannot tell is treated as if we were not.
pub(crate) fn is_root() -> bool {
    process::read(process::command("id").arg("-u")).is_ok_and(|id| id.trim() == "0")
}

/// Installs Debian packages without starting or enabling the services in them. Silent unless it fails.
pub(crate) fn apt_get_install(packages: &[&str]) -> anyhow::Result<()> {
    let shims = ServiceShims::create()?;
    let updated = apt_get(&shims)
        .arg("update")
        .output()
        .context("could not start apt-get")?;
    if !updated.status.success() {
        // One of several sources may be away without being the one that has the package.
        eprintln!("xtask: apt-get update had errors, going on with the lists as they are");
    }
    let installed = apt_get(&shims)
        .args(["install", "--yes", "--no-install-recommends"])
        .args(packages)
        .output()
        .context("could not start apt-get")?;
    if !installed.status.success() {
        bail!(
            "apt-get install {} failed: {}\n{}{}",
            packages.join(" "),
            installed.status,
            String::from_utf8_lossy(&installed.stdout),
            String::from_utf8_lossy(&installed.stderr),
        );
    }
    Ok(())
}

fn apt_get(shims: &ServiceShims) -> Command {
    let mut command = process::command("apt-get");
    command
        .args([
            "-qq",
            "-o",
            "Dpkg::Use-Pty=0",
            "-o",
            "Dpkg::Options::=--force-confold",
        ])
        // The first is for an apt that gives maintainer scripts a PATH of its own, the second for older ones.
        .args(["-o", &format!("DPkg::Path={}", shims.path())])
        .env("PATH", shims.path())
        .env("DEBIAN_FRONTEND", "noninteractive");
    command
}

/// A folder of programs that stand before the ones with which a package's scripts start and
/// enable its services, and do nothing. A test starts the server it needs, on a port of its own;
/// installing one must not open the machine's port 22.
#[derive(Debug)]
struct ServiceShims {
    folder: PathBuf,
}

impl ServiceShims {
    const NAMES: [&str; 4] = [
        "invoke-rc.d",
        "deb-systemd-invoke",
        "deb-systemd-helper",
        "update-rc.d",
    ];

    fn create() -> anyhow::Result<Self> {
        let shims = Self {
            folder: new_folder(&env::temp_dir(), "rollout-apt")?,
        };
        for name in Self::NAMES {
            let path = shims.folder.join(name);
            fs::write(&path, "#!/bin/sh\nexit 0\n")
                .with_context(|| format!("could not write {}", path.display()))?;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755))
                .with_context(|| format!("could not make {} a program", path.display()))?;
        }
        Ok(shims)
    }

    fn path(&self) -> String {
        format!(
            "{}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            self.folder.display()
        )
    }
}

impl Drop for ServiceShims {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.folder) {
            eprintln!("xtask: could not remove {}: {error}", self.folder.display());
        }
    }
}

/// Makes a new empty folder with a name of its own, open to us alone.
pub(crate) fn new_folder(parent: &Path, name: &str) -> anyhow::Result<PathBuf> {
    let template = parent.join(format!("{name}.XXXXXXXXXX"));
    let made = process::read(process::command("mktemp").arg("-d").arg(template))?;
    Ok(PathBuf::from(made.trim_end_matches('\n')))
}

/// Whether a program is in `PATH` or in one of root's folders.
pub(crate) fn has_program(name: &str) -> bool {
    find_program(name, &["/usr/sbin", "/sbin"].map(PathBuf::from)).is_some()
}

/// Looks for a program in `PATH`, then in further folders.
pub(crate) fn find_program(name: &str, folders: &[PathBuf]) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(folders.iter().cloned())
        .map(|folder| folder.join(name))
        .find(|file| is_program(file))
}

/// Whether a file is there that may be run.
pub(crate) fn is_program(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::path::Path;

    use super::{Family, find_program, is_program};

    #[test]
    fn only_a_file_that_may_be_run_is_a_program() {
        let sh = find_program("sh", &[]).unwrap();
        assert!(is_program(&sh));
        assert_eq!(find_program("no-such-program", &["/usr/bin".into()]), None);
        assert!(!is_program(Path::new("/usr")));
        assert!(!is_program(
            &Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")
        ));
        assert!(!is_program(Path::new("/no/such/file")));
    }

    #[test]
    fn families_are_told_by_os_release() {
        for (text, expected) in [
            (
                "PRETTY_NAME=\"Debian GNU/Linux 12\"\nVERSION_ID=\"12\"\nID=debian\n",
                Family::Debian,
            ),
            (
                "NAME=\"Ubuntu\"\nID=ubuntu\nID_LIKE=debian\n",
                Family::Debian,
            ),
            ("ID=linuxmint\nID_LIKE=\"ubuntu debian\"\n", Family::Debian),
            ("ID='raspbian'\nID_LIKE='debian'\n", Family::Debian),
            (
                "ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n",
                Family::Fedora,
            ),
            ("ID=fedora\n", Family::Fedora),
            (
                "ID=\"opensuse-leap\"\nID_LIKE=\"suse opensuse\"\n",
                Family::Suse,
            ),
            ("ID=manjaro\nID_LIKE=arch\n", Family::Arch),
            ("ID=alpine\n", Family::Alpine),
            ("ID=nixos\n", Family::Unknown),
            (
                "VERSION_ID=debian\nMY_ID=debian\n#ID=debian\n",
                Family::Unknown,
            ),
            ("", Family::Unknown),
        ] {
            assert_eq!(Family::of_os_release(text), expected, "{text}");
        }
    }

    #[test]
    fn install_commands_can_be_typed() {
        let packages = ["openssh-server", "openssh-client"];
        for (family, root, expected) in [
            (
                Family::Debian,
                false,
                Some("sudo apt-get install --no-install-recommends openssh-server openssh-client"),
            ),
            (
                Family::Fedora,
                true,
                Some("dnf install openssh-server openssh-client"),
            ),
            (
                Family::MacOs,
                false,
                Some("brew install openssh-server openssh-client"),
            ),
            (Family::Unknown, false, None),
        ] {
            assert_eq!(
                family.install_command(&packages, root).as_deref(),
                expected,
                "{family:?}"
            );
        }
    }
}
