//! A folder of its own for each test, the built program, and real SSH hosts.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use local_fleet::{LocalFleet, ReleaseSpec};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

/// How long anything in these tests may take before something is wrong.
pub(crate) const LIMIT: Duration = Duration::from_secs(90);

/// A folder that is home and current folder of the program.
pub(crate) struct Place {
    dir: tempfile::TempDir,
}

/// The words of a command line, as a shell that knows single quotes alone takes it apart.
pub(crate) fn words(line: &str) -> Vec<&str> {
    let mut words = Vec::new();
    for (number, part) in line.split('\'').enumerate() {
        if number % 2 == 1 {
            words.push(part);
        } else {
            words.extend(part.split_whitespace());
        }
    }
    words
}

/// How the program ended.
#[derive(Clone, Debug)]
pub(crate) struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self {
            dir: tempfile::Builder::new()
                .prefix("rollout-cli-test-")
                .tempdir()
                .unwrap(),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// The program with these arguments, in an environment that holds nothing of this machine's.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rollout-cli"));
        command
            .args(arguments)
            .current_dir(self.dir.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.dir.path())
            .env("USER", "tester")
            .env("TMPDIR", self.dir.path())
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        Ran::of(self.command(arguments).output().unwrap())
    }

    /// Runs, and what it says must be short when it fails.
    pub(crate) fn expect(&self, code: i32, arguments: &[&str]) -> Ran {
        let ran = self.run(arguments);
        assert_eq!(ran.code, code, "{arguments:?}: {ran:#?}");
        ran
    }

    /// Runs with `--json`, and reads the one object that comes of it.
    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        let mut arguments = arguments.to_vec();
        arguments.push("--json");
        let ran = self.expect(0, &arguments);
        serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran:#?}"))
    }

    pub(crate) fn start(&self, arguments: &[&str]) -> Running {
        let mut command = self.command(arguments);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        Running {
            child: Some(command.spawn().unwrap()),
        }
    }

    /// All files of the folder with their content: what a refused command must leave as it was.
    pub(crate) fn content(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let mut content = Vec::new();
        let mut folders = vec![self.dir.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                match path.is_dir() {
                    true => folders.push(path),
                    false => content.push((path.clone(), fs::read(&path).unwrap_or_default())),
                }
            }
        }
        content.sort();
        content
    }
}

impl Ran {
    pub(crate) fn of(output: Output) -> Self {
        Self {
            code: exit_code(&output),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Lines of JSON.
    pub(crate) fn lines(&self) -> Vec<Value> {
        self.stdout
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

/// A process that a signal killed has no code; it is shown as a shell would.
fn exit_code(output: &Output) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    output
        .status
        .code()
        .unwrap_or_else(|| 128 + output.status.signal().unwrap_or(0))
}

/// The program while it runs. It is killed when the test ends before it does.
pub(crate) struct Running {
    child: Option<Child>,
}

impl Running {
    pub(crate) fn of(child: Child) -> Self {
        Self { child: Some(child) }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        send(self.child.as_ref().unwrap().id(), signal).unwrap();
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.as_mut().unwrap().try_wait().unwrap().is_some()
    }

    /// Waits for its end, at most [`LIMIT`].
    pub(crate) fn end(mut self) -> Ran {
        let child = self.child.take().unwrap();
        let id = child.id();
        let (done, ended) = std::sync::mpsc::channel::<()>();
        let watchdog = std::thread::spawn(move || {
            if ended.recv_timeout(LIMIT).is_err() {
                let _ = send(id, Signal::KILL);
            }
        });
        let output = child.wait_with_output().unwrap();
        let _ = done.send(());
        watchdog.join().unwrap();
        Ran::of(output)
    }
}

fn send(id: u32, signal: Signal) -> rustix::io::Result<()> {
    let process = Pid::from_raw(i32::try_from(id).unwrap()).unwrap();
    kill_process(process, signal)
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Waits until something is so.
pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < LIMIT, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A place with a fleet of real SSH hosts that is in the inventory, with pinned keys.
pub(crate) struct Site {
    pub place: Place,
    pub fleet: LocalFleet,
    runtime: tokio::runtime::Runtime,
}

impl Site {
    /// So many hosts, `web-01` and on; `more` goes into the configuration.
    pub(crate) fn new(hosts: usize, more: &str) -> Self {
        let place = Place::new();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .unwrap();
        let fleet = runtime.block_on(async {
            LocalFleet::builder()
                .hosts(hosts)
                .root(place.path("fleet"))
                .names(|number| format!("web-{:02}", number + 1))
                .start()
                .await
                .unwrap()
        });
        let site = Self {
            place,
            fleet,
            runtime,
        };
        site.configure("", more);
        site.enrol();
        site
    }

    /// The same, and the install waits on every host for as long as the gate is closed.
    pub(crate) fn gated(hosts: usize, more: &str) -> Self {
        let site = Self::new(hosts, more);
        let gate = site.place.path("gate");
        let install = format!(
            "install = \"while [ -e '{}' ]; do sleep 0.02; done; bun install\"\n",
            gate.display()
        );
        site.configure(&install, more);
        for host in site.fleet.hosts() {
            site.place
                .expect(0, &["hosts", "edit", host.name(), "--reset-app", "-q"]);
        }
        site.close_gate();
        site
    }

    pub(crate) fn close_gate(&self) {
        fs::write(self.place.path("gate"), "").unwrap();
    }

    pub(crate) fn open_gate(&self) {
        fs::remove_file(self.place.path("gate")).unwrap();
    }

    fn configure(&self, app: &str, more: &str) {
        let fleet = self.fleet.description();
        let text = format!(
            "database_url = \"sqlite://rollout.db\"\n[app]\nservice = \"{}\"\n{app}[ssh]\nuser = \"{}\"\nkey = \"{}\"\n{more}",
            fleet.service,
            fleet.user,
            fleet.client_key.display()
        );
        self.place.write("rollout.toml", &text);
    }

    /// The same fleet in another database.
    pub(crate) fn move_to(&self, database_url: &str) {
        let text = fs::read_to_string(self.place.path("rollout.toml")).unwrap();
        let text = text.replace("sqlite://rollout.db", database_url);
        self.place.write("rollout.toml", &text);
        self.enrol();
    }

    fn enrol(&self) {
        let host = |host: &local_fleet::LocalHost| json!({ "name": host.name(), "address": host.address(), "port": host.port(), "repo": host.repository() });
        let hosts: Vec<Value> = self.fleet.hosts().iter().map(host).collect();
        self.place
            .write("hosts.json", &json!({ "hosts": hosts }).to_string());
        self.place.expect(0, &["hosts", "import", "hosts.json"]);
        self.place.expect(0, &["hosts", "trust", "-y", "-q"]);
    }

    pub(crate) fn release(&self, spec: ReleaseSpec) -> String {
        self.wait(self.fleet.add_release(spec)).unwrap().commit
    }

    pub(crate) fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    pub(crate) fn heads(&self) -> Vec<String> {
        self.fleet
            .hosts()
            .iter()
            .map(|host| self.wait(host.head()).unwrap())
            .collect()
    }

    pub(crate) fn status(&self) -> fleet_types::view::Status {
        serde_json::from_value(self.place.json(&["status"])).unwrap()
    }
}
