//! A small disk that a test can fill.

use std::fs::File;
use std::io::{ErrorKind, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::tools::folder;

/// Mounts, says so, and stays until its input ends.
const KEEPER: &str =
    r#"mount -t tmpfs -o "size=$SIZE" tmpfs "$DISK" && echo mounted && read -r end"#;

/// A file system of a few megabytes, in a mount namespace of its own: its `ENOSPC` is the kernel's. Programs get onto it
/// by [`Disk::on_it`]; this process reaches its files by [`Disk::outside`].
///
/// Root may mount; others may in a user namespace of their own, where the machine lets them have one.
#[derive(Debug)]
pub struct Disk {
    keeper: Child,
    own_users: bool,
    folder: tempfile::TempDir,
}

impl Disk {
    /// A new one of so many bytes.
    ///
    /// # Panics
    ///
    /// When this machine lets nobody mount; ask [`is_left_out("unshare")`](crate::is_left_out) first.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        let folder = folder();
        let size = bytes.to_string();
        for own_users in [false, true] {
            if let Some(keeper) = mount(folder.path(), &size, own_users) {
                return Self {
                    keeper,
                    own_users,
                    folder,
                };
            }
        }
        panic!(
            "this machine lets nobody mount, not even in a user namespace; \
             ROLLOUT_TEST_WITHOUT=unshare leaves out the tests that fill a disk"
        );
    }

    /// Its folder, for programs that are on it.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// A file on it, for this process.
    #[must_use]
    pub fn outside(&self, name: &str) -> PathBuf {
        let mut path = PathBuf::from(format!("/proc/{}/root", self.keeper.id()));
        path.extend(self.folder.path().components().skip(1));
        path.join(name)
    }

    /// The same program on this disk: with its arguments, its folder and its environment, under the same process id. What
    /// was said of its input and output has to be said again.
    #[must_use]
    pub fn on_it(&self, program: &Command) -> Command {
        let keeper = self.keeper.id().to_string();
        let mut command = Command::new("nsenter");
        command.args(["--target", &keeper, "--mount"]);
        if self.own_users {
            command.args(["--user", "--preserve-credentials"]);
        }
        // A folder that was entered outside is the one beneath the disk.
        let folder = program.get_current_dir().unwrap_or(self.path());
        command
            .args(["--", "/bin/sh", "-c", r#"cd "$0" && exec "$@""#])
            .arg(folder)
            .arg(program.get_program());
        command.args(program.get_args()).env_clear();
        for (name, value) in program.get_envs() {
            if let Some(value) = value {
                command.env(name, value);
            }
        }
        command
    }

    /// Fills what is free, to the last byte.
    ///
    /// # Panics
    ///
    /// When the file that takes the room cannot be written for another reason.
    pub fn fill(&self) {
        let mut ballast =
            File::create(self.ballast()).expect("a file can be made on the disk of the test");
        let mut part: &[u8] = &[b'x'; 4096];
        while !part.is_empty() {
            match ballast.write_all(part) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::StorageFull => {
                    part = &part[..part.len() / 2]
                }
                Err(error) => panic!("the disk of the test cannot be filled: {error}"),
            }
        }
    }

    /// Frees what [`Disk::fill`] took.
    ///
    /// # Panics
    ///
    /// When it was not filled.
    pub fn free(&self) {
        std::fs::remove_file(self.ballast()).expect("the disk was filled before");
    }

    fn ballast(&self) -> PathBuf {
        self.outside("ballast")
    }
}

impl Drop for Disk {
    /// The disk is gone with the last program on it.
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

fn mount(folder: &Path, size: &str, own_users: bool) -> Option<Child> {
    let mut command = Command::new("unshare");
    if own_users {
        command.args(["--user", "--map-root-user"]);
    }
    let mut keeper = command
        .args(["--mount", "--", "/bin/sh", "-c", KEEPER])
        .env("SIZE", size)
        .env("DISK", folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("unshare is missing; run cargo xtask test");
    let mut said = [0; 7];
    let output = keeper.stdout.as_mut();
    if output.is_some_and(|output| output.read_exact(&mut said).is_ok()) {
        return Some(keeper);
    }
    let _ = keeper.wait();
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_full_to_the_last_byte_and_free_again() {
        if crate::is_left_out("unshare") {
            return;
        }
        let disk = Disk::new(1 << 20);
        let put = |name: &str| {
            let mut shell = Command::new("/bin/sh");
            let line = format!("echo here > {name} && cat {name}");
            shell.args(["-c", &line]).current_dir(disk.path());
            disk.on_it(&shell).output().expect("nsenter can be started")
        };
        assert_eq!(put("one").stdout, b"here\n");
        disk.fill();
        assert!(!put("two").status.success());
        disk.free();
        assert_eq!(put("two").stdout, b"here\n");
        let read = std::fs::read(disk.outside("two"));
        assert_eq!(read.ok().as_deref(), Some(&b"here\n"[..]));
        assert!(!disk.path().join("one").exists(), "it is only on the disk");
    }
}
