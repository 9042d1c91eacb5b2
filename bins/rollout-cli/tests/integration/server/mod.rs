//! The same program on a fleet that a server keeps.

mod follows;
mod hostile;
mod hosts;
mod logins;
mod lost_answers;
mod parity;

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::support::{Ran, Running, Site, wait_until};

/// The built server. `cargo xtask test` builds it with everything; a test run of this package alone builds it here.
fn server_program() -> &'static PathBuf {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let beside =
            PathBuf::from(env!("CARGO_BIN_EXE_rollout-cli")).with_file_name("rollout-server");
        if std::env::var_os("ROLLOUT_TEST_BUILT").is_none() {
            let built = Command::new(env!("CARGO"))
                .args(["build", "-q", "-p", "rollout-server"])
                .status()
                .unwrap();
            assert!(built.success(), "rollout-server cannot be built");
        }
        beside
    })
}

/// A site with a server on its database, and an admin's token for it.
pub(crate) struct Served {
    pub(crate) site: Site,
    child: Child,
    pub(crate) address: String,
}

impl Served {
    /// So many hosts, as [`Site::new`] makes them.
    pub(crate) fn new(hosts: usize, more: &str) -> Self {
        Self::on(Site::new(hosts, more))
    }

    /// A server on this site.
    pub(crate) fn on(site: Site) -> Self {
        let mut served = Self {
            child: listen(&site, "127.0.0.1:0"),
            address: String::new(),
            site,
        };
        served.address = served.wait();
        let made = served
            .site
            .place
            .json(&["tokens", "create", "robot", "--role", "admin"]);
        served.keep_token("token", &made);
        served
    }

    /// Keeps the token in a file that is fit for it.
    pub(crate) fn keep_token(&self, file: &str, made: &Value) {
        let path = self.site.place.write(file, made["token"].as_str().unwrap());
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn wait(&self) -> String {
        let file = self.site.place.path("port");
        let mut address = String::new();
        wait_until("the server listens", || {
            address = fs::read_to_string(&file)
                .unwrap_or_default()
                .trim()
                .to_owned();
            address.parse::<SocketAddr>().is_ok()
        });
        fs::remove_file(file).unwrap();
        address
    }

    /// Ends the server as a power cut does.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Lets it do nothing.
    pub(crate) fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on.
    pub(crate) fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let process = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(process, signal).unwrap();
    }

    /// Starts it again where it was.
    pub(crate) fn again(&mut self) {
        self.child = listen(&self.site, &self.address);
        self.wait();
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The program with these arguments, in an environment that names the server.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.site.place.command(arguments);
        command
            .env("ROLLOUT_SERVER", self.url())
            .env("ROLLOUT_TOKEN_FILE", self.site.place.path("token"));
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        Ran::of(self.command(arguments).output().unwrap())
    }

    pub(crate) fn expect(&self, code: i32, arguments: &[&str]) -> Ran {
        let ran = self.run(arguments);
        assert_eq!(ran.code, code, "{arguments:?}: {ran:#?}");
        ran
    }

    pub(crate) fn start(&self, arguments: &[&str]) -> Running {
        let mut command = self.command(arguments);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        Running::of(command.spawn().unwrap())
    }
}

fn listen(site: &Site, address: &str) -> Child {
    let mut command = Command::new(server_program());
    command
        .args(["--listen", address, "--port-file"])
        .arg(site.place.path("port"))
        .current_dir(site.place.path("."))
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", site.place.path("."))
        .env("TMPDIR", site.place.path("."))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(fs::File::create(site.place.path("server.log")).unwrap());
    command.spawn().unwrap()
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
