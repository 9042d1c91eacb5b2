//! The outside programs that tests need: the one table, and how they are found.

use std::fs;
use std::path::{Path, PathBuf};

use crate::machine::{self, Family};
use crate::process;

/// One outside tool. To add one, add a row to [`TOOLS`] and make its tests look at
/// `ROLLOUT_TEST_WITHOUT`.
#[derive(Debug)]
pub(crate) struct Tool {
    /// What `--without` takes.
    pub(crate) name: &'static str,
    /// Which tests need it, as the end of "needed by".
    pub(crate) needed_by: &'static str,
    /// Every program that these tests start.
    programs: &'static [&'static str],
    /// Where programs may be beside `PATH`; a `*` stands for any one folder name.
    folders: &'static [&'static str],
    /// The command that prints a version.
    version: &'static [&'static str],
    /// The packages that hold the programs.
    packages: Packages,
}

/// Package names as each family's package manager takes them.
#[derive(Debug)]
struct Packages {
    debian: &'static str,
    fedora: &'static str,
    suse: &'static str,
    arch: &'static str,
    alpine: &'static str,
    homebrew: &'static str,
}

/// Every outside tool. git and sh are not in it: nothing here works without them.
pub(crate) static TOOLS: &[Tool] = &[SSHD, POSTGRES, CHROMIUM, UNSHARE];

const SSHD: Tool = Tool {
    name: "sshd",
    needed_by: "the tests against a real OpenSSH server",
    programs: &["sshd", "ssh", "ssh-keygen", "ssh-agent"],
    folders: &["/usr/sbin", "/usr/local/sbin"],
    version: &["ssh", "-V"],
    packages: Packages {
        debian: "openssh-server openssh-client",
        fedora: "openssh-server openssh-clients",
        suse: "openssh",
        arch: "openssh",
        alpine: "openssh",
        homebrew: "openssh",
    },
};

const POSTGRES: Tool = Tool {
    name: "postgres",
    needed_by: "the tests on PostgreSQL",
    programs: &["initdb", "postgres", "psql"],
    folders: &["/usr/lib/postgresql/*/bin", "/usr/local/pgsql/bin"],
    version: &["postgres", "--version"],
    packages: Packages {
        debian: "postgresql",
        fedora: "postgresql-server",
        suse: "postgresql-server",
        arch: "postgresql",
        alpine: "postgresql",
        homebrew: "postgresql",
    },
};

const CHROMIUM: Tool = Tool {
    name: "chromium",
    needed_by: "the tests of the pages in a browser",
    programs: &["chromium", "chromedriver"],
    folders: &["/usr/lib/chromium", "/usr/lib64/chromium-browser"],
    version: &["chromedriver", "--version"],
    packages: Packages {
        debian: "chromium chromium-driver",
        fedora: "chromium chromedriver",
        suse: "chromium chromedriver",
        arch: "chromium",
        alpine: "chromium chromium-chromedriver",
        homebrew: "chromium chromedriver",
    },
};

const UNSHARE: Tool = Tool {
    name: "unshare",
    needed_by: "the tests that fill a disk",
    programs: &["unshare", "nsenter", "mount"],
    folders: &["/usr/sbin", "/sbin"],
    version: &["unshare", "--version"],
    packages: Packages {
        debian: "util-linux mount",
        fedora: "util-linux",
        suse: "util-linux",
        arch: "util-linux",
        alpine: "util-linux util-linux-misc",
        homebrew: "util-linux",
    },
};

impl Tool {
    /// The row of that name.
    pub(crate) fn named(name: &str) -> Option<&'static Tool> {
        TOOLS.iter().find(|tool| tool.name == name)
    }

    /// Those of its programs that this machine does not have.
    pub(crate) fn missing_programs(&self) -> Vec<&'static str> {
        let folders: Vec<PathBuf> = self
            .folders
            .iter()
            .flat_map(|pattern| expand(Path::new(pattern)))
            .collect();
        let missing = |program: &&str| machine::find_program(program, &folders).is_none();
        self.programs.iter().copied().filter(missing).collect()
    }

    /// What its version command prints, up to the first comma.
    pub(crate) fn version(&self) -> Option<String> {
        let (program, arguments) = self.version.split_first()?;
        printed_version(program, arguments)
    }

    /// The packages for a family, separated by spaces. For an unknown family those of Debian, the best known names.
    pub(crate) fn packages(&self, family: Family) -> &'static str {
        match family {
            Family::Debian | Family::Unknown => self.packages.debian,
            Family::Fedora => self.packages.fedora,
            Family::Suse => self.packages.suse,
            Family::Arch => self.packages.arch,
            Family::Alpine => self.packages.alpine,
            Family::MacOs => self.packages.homebrew,
        }
    }
}

/// The first line a program prints when asked for its version, up to the first comma.
pub(crate) fn printed_version(program: &str, arguments: &[&str]) -> Option<String> {
    let output = process::command(program).args(arguments).output().ok()?;
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    let line = text.lines().find(|line| !line.trim().is_empty())?;
    Some(line.split(',').next().unwrap_or(line).trim().to_owned())
}

/// The folders that a pattern names: itself, or with each `*` replaced by what is there.
fn expand(pattern: &Path) -> Vec<PathBuf> {
    let mut found = vec![PathBuf::new()];
    for part in pattern {
        found = if part == "*" {
            found
                .iter()
                .flat_map(fs::read_dir)
                .flatten()
                .flatten()
                .map(|entry| entry.path())
                .collect()
        } else {
            found.iter().map(|folder| folder.join(part)).collect()
        };
    }
    found
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::path::{Path, PathBuf};

    use super::{TOOLS, Tool, expand};

    #[test]
    fn every_row_is_complete_and_found_by_its_name() {
        for tool in TOOLS {
            assert!(
                std::ptr::eq(Tool::named(tool.name).unwrap(), tool),
                "{} is there twice",
                tool.name
            );
            assert!(
                !tool.programs.is_empty() && !tool.version.is_empty(),
                "{}",
                tool.name
            );
            assert!(
                !tool.name.contains([',', ' ']),
                "{:?} would not survive ROLLOUT_TEST_WITHOUT",
                tool.name
            );
        }
        assert!(Tool::named("sshd2").is_none());
    }

    #[test]
    fn a_star_stands_for_any_folder() {
        assert_eq!(expand(Path::new("/usr/sbin")), [PathBuf::from("/usr/sbin")]);
        assert!(expand(Path::new("/no/such/*/bin")).is_empty());
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        assert!(expand(&root.join("*")).contains(&root.join("src")));
    }
}
