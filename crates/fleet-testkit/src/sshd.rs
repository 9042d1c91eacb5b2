//! An OpenSSH server of the test's own.

use std::fmt::Write as _;
use std::io::Read as _;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::keys::{KeyKind, TestKey};
use crate::ports::free_port;
use crate::tools::{find, folder, run, text, until, write};

/// How often another port is tried when someone took the free one.
const ATTEMPTS: usize = 5;

/// How a server is set up.
#[derive(Clone, Debug)]
pub struct SshdOptions {
    host_keys: Vec<KeyKind>,
    authorized: Vec<String>,
    lines: Vec<String>,
    environment: Vec<(String, String)>,
    login_shell: Option<PathBuf>,
}

impl Default for SshdOptions {
    /// One Ed25519 host key, nobody may sign in.
    fn default() -> Self {
        Self {
            host_keys: vec![KeyKind::Ed25519],
            authorized: Vec::new(),
            lines: Vec::new(),
            environment: Vec::new(),
            login_shell: None,
        }
    }
}

impl SshdOptions {
    /// Sets the kinds of host keys, one key each.
    #[must_use]
    pub fn host_keys(mut self, kinds: &[KeyKind]) -> Self {
        self.host_keys = kinds.to_vec();
        self
    }

    /// Lets the holder of this public key sign in. Options may stand before it: `command="..." ssh-ed25519 ...`.
    #[must_use]
    pub fn authorize(mut self, line: impl Into<String>) -> Self {
        self.authorized.push(line.into());
        self
    }

    /// Adds a line to the configuration, before the defaults: sshd keeps the first value that it sees.
    #[must_use]
    pub fn line(mut self, line: impl Into<String>) -> Self {
        self.lines.push(line.into());
        self
    }

    /// Sets a variable for the sessions: `PATH` with stand-ins in front, ... `HOME` is a folder of the server's own,
    /// so that the start-up files of whoever runs the tests have no part in them.
    #[must_use]
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Has commands run by this shell, as if it were the user's login shell.
    #[must_use]
    pub fn login_shell(mut self, shell: impl Into<PathBuf>) -> Self {
        self.login_shell = Some(shell.into());
        self
    }
}

/// A running server. Its sessions are those of the current user.
#[derive(Debug)]
pub struct Sshd {
    child: Child,
    port: u16,
    user: String,
    host_keys: Vec<TestKey>,
    folder: tempfile::TempDir,
}

impl Sshd {
    /// Starts a server on a free port of 127.0.0.1 and waits until it answers.
    ///
    /// # Panics
    ///
    /// When sshd is missing or does not start; ask [`is_left_out`](crate::is_left_out) first.
    #[must_use]
    pub fn start(options: SshdOptions) -> Self {
        let program = find("sshd").expect("openssh-server is missing; run cargo xtask test");
        let folder = folder();
        let user = run("id", &["-un"]).trim().to_owned();
        if user == "root" {
            std::fs::create_dir_all("/run/sshd")
                .expect("root can make the folder that sshd asks for");
        }
        let host_keys: Vec<TestKey> = options
            .host_keys
            .iter()
            .map(|kind| {
                TestKey::generate(
                    folder.path(),
                    &format!("host-{kind:?}").to_lowercase(),
                    *kind,
                )
            })
            .collect();
        std::fs::create_dir(folder.path().join("home"))
            .expect("a folder can be made in a new folder");
        write(
            &folder.path().join("authorized"),
            &(options.authorized.join("\n") + "\n"),
        );
        for _ in 0..ATTEMPTS {
            let port = free_port();
            let mut config = configuration(folder.path(), port, &options, &host_keys);
            write(&folder.path().join("config"), &config);
            if knows_penalties(&program, folder.path()) {
                // Tests fail to sign in on purpose, and must not be shut out for it.
                config.push_str("PerSourcePenalties no\n");
                write(&folder.path().join("config"), &config);
            }
            if let Some(child) = spawn(&program, folder.path(), port) {
                return Self {
                    child,
                    port,
                    user,
                    host_keys,
                    folder,
                };
            }
        }
        let log = std::fs::read_to_string(folder.path().join("log")).unwrap_or_default();
        panic!("sshd does not start: {log}");
    }

    /// Its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The user to sign in as.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.user
    }

    /// Its host keys, in the order asked for.
    #[must_use]
    pub fn host_keys(&self) -> &[TestKey] {
        &self.host_keys
    }

    /// Its host keys as lines to pin.
    #[must_use]
    pub fn host_key_lines(&self) -> Vec<String> {
        self.host_keys
            .iter()
            .map(|key| key.public_line().to_owned())
            .collect()
    }

    /// Its folder, with `home` in it.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The home folder of its sessions.
    #[must_use]
    pub fn home(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    /// Replaces who may sign in. Holds from the next connection on.
    pub fn set_authorized(&self, lines: &[&str]) {
        write(
            &self.folder.path().join("authorized"),
            &(lines.join("\n") + "\n"),
        );
    }

    /// What it logged so far.
    #[must_use]
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.folder.path().join("log")).unwrap_or_default())
            .into_owned()
    }

    /// How many commands and shells it was asked for so far.
    #[must_use]
    pub fn sessions(&self) -> usize {
        self.log().matches("Starting session: ").count()
    }

    /// How many connections it accepted so far.
    #[must_use]
    pub fn connections(&self) -> usize {
        // One of them is the test kit's own look.
        self.log()
            .matches("Connection from ")
            .count()
            .saturating_sub(1)
    }

    /// Ends the server. Its open connections live on in processes of their own.
    pub fn stop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        self.stop();
    }
}

fn configuration(folder: &Path, port: u16, options: &SshdOptions, host_keys: &[TestKey]) -> String {
    let mut config = String::new();
    for line in &options.lines {
        let _ = writeln!(config, "{line}");
    }
    for key in host_keys {
        let _ = writeln!(config, "HostKey {}", text(key.private()));
    }
    if let Some(shell) = &options.login_shell {
        let _ = writeln!(
            config,
            "ForceCommand exec {} -c \"$SSH_ORIGINAL_COMMAND\"",
            text(shell)
        );
    }
    // sshd keeps the first `SetEnv` line alone.
    let _ = write!(config, "SetEnv \"HOME={}\"", text(&folder.join("home")));
    for (name, value) in &options.environment {
        let _ = write!(config, " \"{name}={value}\"");
    }
    let _ = write!(
        config,
        "\nListenAddress 127.0.0.1\nPort {port}\nPidFile none\nAuthorizedKeysFile {}\nStrictModes no\nUsePAM no\n\
         PermitRootLogin yes\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nLogLevel VERBOSE\n\
         MaxStartups 500\nUseDNS no\nPrintMotd no\n",
        text(&folder.join("authorized")),
    );
    config
}

/// Newer servers shut out addresses that misbehave; older ones do not know the setting's name.
fn knows_penalties(program: &Path, folder: &Path) -> bool {
    let output = Command::new(program)
        .args(["-T", "-f", text(&folder.join("config"))])
        .output()
        .unwrap_or_else(|error| panic!("sshd cannot be started: {error}"));
    String::from_utf8_lossy(&output.stdout).contains("persourcepenalties")
}

/// Starts sshd; `None` when it ends before it answers.
fn spawn(program: &Path, folder: &Path, port: u16) -> Option<Child> {
    let mut child = Command::new(program)
        .args([
            "-D",
            "-f",
            text(&folder.join("config")),
            "-E",
            text(&folder.join("log")),
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| panic!("sshd cannot be started: {error}"));
    let mut alive = true;
    until("sshd answers or ends", || {
        alive = matches!(child.try_wait(), Ok(None));
        !alive || greets(port)
    });
    alive.then_some(child)
}

fn greets(port: u16) -> bool {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else {
        return false;
    };
    let mut greeting = [0; 4];
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .is_ok()
        && stream.read_exact(&mut greeting).is_ok()
        && &greeting == b"SSH-"
}
