//! Hosts with real OpenSSH servers, and the program beside them.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use fleet_testkit::{KeyKind, Sshd, SshdOptions, TestKey};
use local_fleet::{
    FleetBuilder, LocalFleet, LocalHost, LogEvent, ReleaseSpec, ServiceBehaviour, Truth,
};
use tokio::runtime::Runtime;

use crate::program::Program;

/// Hosts, and the program with a fleet of its own.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) program: Program,
    pub(crate) machines: Vec<Machine>,
    fleet: LocalFleet,
    runtime: Runtime,
    folder: tempfile::TempDir,
}

/// One host.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) host: LocalHost,
    pub(crate) sshd: Sshd,
    /// What the program is told: where to connect, and with which key.
    pub(crate) port: u16,
    pub(crate) key: PathBuf,
}

impl Site {
    /// So many hosts, `web-01` and on, on a first release that is well; the program does not know them yet.
    pub(crate) fn bare(hosts: usize) -> Self {
        Self::made(hosts, LocalFleet::builder(), "", None)
    }

    /// The same with git commands in the hosts' logs, with this in the program's configuration, and perhaps on another
    /// database than a file of its own.
    #[cfg(feature = "crash-points")]
    pub(crate) fn bare_with_git_in_logs(
        hosts: usize,
        configuration: &str,
        database: Option<&str>,
    ) -> Self {
        Self::made(
            hosts,
            LocalFleet::builder().log_git(),
            configuration,
            database,
        )
    }

    fn made(
        hosts: usize,
        builder: FleetBuilder,
        configuration: &str,
        database: Option<&str>,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let fleet = runtime
            .block_on(
                builder
                    .hosts(hosts)
                    .root(folder.path().join("fleet"))
                    .names(|number| format!("web-{:02}", number + 1))
                    .start(),
            )
            .unwrap();
        let key = TestKey::generate(folder.path(), "login", KeyKind::Ed25519);
        let machines = fleet
            .hosts()
            .iter()
            .map(|host| Machine::start(host, &key, options(&fleet, host, &key)))
            .collect();
        let home = folder.path().join("controller");
        fs::create_dir(&home).unwrap();
        let service = fleet.description().service;
        let own = format!("sqlite://{}", home.join("rollout.db").display());
        let database = database.unwrap_or(&own);
        let configuration = format!(
            "database_url = \"{database}\"\n[app]\nservice = \"{service}\"\n{configuration}"
        );
        fs::write(home.join("rollout.toml"), configuration).unwrap();
        Self {
            program: Program::at(&home),
            machines,
            fleet,
            runtime,
            folder,
        }
    }

    /// The same, in the program's fleet and with pinned host keys.
    pub(crate) fn new(hosts: usize) -> Self {
        Self::bare(hosts).enrolled()
    }

    /// The same, whose hosts have git commands in their logs as well.
    pub(crate) fn with_git_in_logs(hosts: usize) -> Self {
        Self::made(hosts, LocalFleet::builder().log_git(), "", None).enrolled()
    }

    /// With its hosts in the program's fleet, and their keys pinned.
    pub(crate) fn enrolled(self) -> Self {
        self.import();
        self.program.expect(0, &["hosts", "trust", "--all", "-y"]);
        self
    }

    /// Makes the hosts known to the program, from a file with commas.
    pub(crate) fn import(&self) {
        let mut text = "name,address,port,user,key,repo\n".to_owned();
        for machine in &self.machines {
            let Machine {
                host,
                sshd,
                port,
                key,
            } = machine;
            let (name, user) = (host.name(), sshd.user());
            let (key, repository) = (key.display(), host.repository());
            let repository = repository.display();
            writeln!(text, "{name},127.0.0.1,{port},{user},{key},{repository}").unwrap();
        }
        let file = self.path("hosts.csv");
        fs::write(&file, text).unwrap();
        self.program
            .expect(0, &["hosts", "import", file.to_str().unwrap()]);
    }

    /// The file of the program's database.
    #[cfg(feature = "crash-points")]
    pub(crate) fn database(&self) -> String {
        let file = self.path("controller/rollout.db");
        file.to_str().unwrap().to_owned()
    }

    /// A file beside everything.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The commit that all hosts began on.
    pub(crate) fn first(&self) -> String {
        self.fleet.first_release().commit
    }

    /// Pushes a release; its commit.
    pub(crate) fn release(&self, spec: ReleaseSpec) -> String {
        self.block(self.fleet.add_release(spec)).unwrap().commit
    }

    /// Pushes a release that runs well.
    pub(crate) fn good_release(&self) -> String {
        self.release(ReleaseSpec::good("Better"))
    }

    /// Pushes a release whose service is started again and again.
    pub(crate) fn bad_release(&self) -> String {
        let beat = std::time::Duration::from_millis(50);
        self.release(
            ReleaseSpec::good("Worse").service(ServiceBehaviour::CrashLoop {
                up: beat,
                down: beat,
            }),
        )
    }

    /// The machine of this name.
    pub(crate) fn machine(&self, name: &str) -> &Machine {
        let found = self
            .machines
            .iter()
            .find(|machine| machine.host.name() == name);
        found.unwrap()
    }

    /// What a host is, by its own account.
    pub(crate) fn truth(&self, machine: &Machine) -> Truth {
        self.block(machine.host.truth()).unwrap()
    }

    /// Every host must be on this commit, whole and with its service up.
    #[track_caller]
    pub(crate) fn assert_all_on(&self, commit: &str) {
        for machine in &self.machines {
            self.assert_on(machine.host.name(), commit);
        }
    }

    /// This host must be on this commit, whole and with its service up.
    #[track_caller]
    pub(crate) fn assert_on(&self, name: &str, commit: &str) {
        let truth = self.truth(self.machine(name));
        assert_eq!(truth, Truth::well_on(commit), "{name}");
    }

    /// Runs this on the fleet's own runtime.
    pub(crate) fn block<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }
}

impl Machine {
    fn start(host: &LocalHost, key: &TestKey, options: SshdOptions) -> Self {
        let sshd = Sshd::start(options);
        Self {
            host: host.clone(),
            port: sshd.port(),
            key: key.private().to_owned(),
            sshd,
        }
    }

    /// What its programs were called with, oldest first; git only where it is logged.
    pub(crate) fn commands(&self) -> Vec<String> {
        let began = |entry: local_fleet::LogEntry| match entry.event {
            LogEvent::Began(command) => Some(command),
            LogEvent::Ended { .. } => None,
        };
        self.host
            .log()
            .unwrap()
            .into_iter()
            .filter_map(began)
            .collect()
    }

    /// How often its service was restarted through systemctl.
    pub(crate) fn restarts(&self) -> usize {
        let restart = |command: &&String| command.starts_with("systemctl restart");
        self.commands().iter().filter(restart).count()
    }
}

/// An sshd whose sessions see the host as the fleet's own servers would show it.
pub(crate) fn options_of(host: &LocalHost, root: &Path, key: &TestKey) -> SshdOptions {
    let home = host.home().display();
    SshdOptions::default()
        .authorize(key.public_line())
        .env("PATH", format!("{home}/bin:/usr/local/bin:/usr/bin:/bin"))
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env(
            "GIT_CONFIG_GLOBAL",
            root.join("gitconfig").display().to_string(),
        )
        .env("LOCAL_FLEET_HOST", home.to_string())
}

fn options(fleet: &LocalFleet, host: &LocalHost, key: &TestKey) -> SshdOptions {
    options_of(host, &fleet.description().root, key)
}

#[test]
fn a_host_that_runs_what_was_not_installed_is_not_well() {
    if fleet_testkit::is_left_out("sshd") {
        return;
    }
    let site = Site::bare(1);
    let host = &site.machines[0].host;
    let (first, next) = (site.first(), site.good_release());
    site.assert_all_on(&first);
    // All that a rollout does but for the install.
    site.block(async {
        host.git(&["fetch", "--quiet"]).await.unwrap();
        host.git(&["merge", "--quiet", &next]).await.unwrap();
        host.reboot().await.unwrap();
    });
    let expected = Truth {
        runs_with: first.clone(),
        installed: first,
        ..Truth::well_on(&next)
    };
    assert_eq!(site.truth(&site.machines[0]), expected);
    assert_ne!(expected, Truth::well_on(&next));
}
