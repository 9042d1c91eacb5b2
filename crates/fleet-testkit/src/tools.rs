//! Outside programs.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// How long anything started here may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Should tests of this tool be left out?
///
/// Tests never leave themselves out: without `sshd` they fail, and the message says what to do. Whoever runs them may
/// leave them out by naming the tool in `ROLLOUT_TEST_WITHOUT`; then each says so in one line.
///
/// # Panics
///
/// When the tool is missing and was not left out.
#[must_use]
pub fn is_left_out(tool: &str) -> bool {
    let left_out = std::env::var("ROLLOUT_TEST_WITHOUT").unwrap_or_default();
    if left_out
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '-')
        .any(|word| word == tool)
    {
        #[expect(
            clippy::print_stderr,
            reason = "the reader of the test's output must see that it did nothing"
        )]
        {
            eprintln!("skipped: {tool}");
        }
        return true;
    }
    for (program, package) in [("sshd", "openssh-server"), ("postgres", "postgresql")] {
        assert!(
            tool != program || find(program).is_some(),
            "{package} is missing; run cargo xtask test"
        );
    }
    assert!(
        find(tool).is_some(),
        "{tool} is missing; run cargo xtask test"
    );
    false
}

/// Where a program is. Some are in folders that are not in everybody's path.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/usr/local/sbin", "/sbin"].map(PathBuf::from))
        .chain(postgres_folders())
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}

/// Where `psql` is. In Debian's path there is a script of that name, which takes longer than what it starts.
pub(crate) fn find_psql() -> Option<PathBuf> {
    let beside_the_server = postgres_folders().into_iter().map(|it| it.join("psql"));
    let mut found = beside_the_server.filter(|file| file.is_file());
    found.next().or_else(|| find("psql"))
}

/// Where Debian keeps the programs of PostgreSQL, the newest version first.
fn postgres_folders() -> Vec<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql");
    let mut folders: Vec<PathBuf> = versions
        .into_iter()
        .flatten()
        .flatten()
        .map(|version| version.path().join("bin"))
        .collect();
    folders.sort();
    folders.reverse();
    folders.push(PathBuf::from("/usr/local/pgsql/bin"));
    folders
}

/// Runs a program to its end and returns its standard output.
///
/// # Panics
///
/// When it cannot be started or fails.
pub fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .unwrap_or_else(|error| panic!("{program} cannot be started: {error}"));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{program} {arguments:?} failed: {error}"
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Copies a program that is run at once.
///
/// A file that is open for writing cannot be run, and one that this process wrote may still be open in a child that another
/// thread is just about to start. So `cp` writes it.
///
/// # Panics
///
/// When it cannot be copied.
pub fn copy_program(from: &Path, to: &Path) {
    run("cp", &[text(from), text(to)]);
}

/// Waits until something holds.
///
/// # Panics
///
/// When it does not hold within 30 s.
#[track_caller]
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(
            begun.elapsed() < PATIENCE,
            "still not so after {PATIENCE:?}: {what}"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A path as text for a configuration file or an argument.
pub(crate) fn text(path: &Path) -> &str {
    path.to_str()
        .expect("temporary folders have names in UTF-8")
}

pub(crate) fn write(path: &Path, content: &str) {
    std::fs::write(path, content)
        .unwrap_or_else(|error| panic!("{} cannot be written: {error}", path.display()));
}

pub(crate) fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder can be made")
}
