//! A fleet of real SSH hosts, a database, and the built server on both.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use fleet_store::{
    Access, Actor, DieselStore, HostSpec, Inventory, NewHost, NewUser, StoreOptions,
};
use fleet_types::{AppSettings, Role, StepTimeouts};
use local_fleet::{LocalFleet, ReleaseSpec};
use rustix::process::{Pid, Signal, kill_process};

pub(crate) const PASSWORD: &str = "a long enough password";

/// What every test has. The fleet is on its second release in waiting: all hosts run the first.
pub(crate) struct Site {
    pub(crate) url: String,
    pub(crate) fleet: LocalFleet,
    server: Option<Server>,
    folder: tempfile::TempDir,
}

/// Who may sign in, each with [`PASSWORD`]. `carla` owns the first host.
const PEOPLE: [(&str, Role); 4] = [
    ("anna", Role::Admin),
    ("otto", Role::Operator),
    ("vera", Role::Viewer),
    ("carla", Role::Owner),
];

/// The program; killed when it is dropped, as after a test that failed.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Site {
    /// Hosts, people and a server; `release` is what they may be updated to.
    pub(crate) async fn start(hosts: usize, release: ReleaseSpec) -> Self {
        let mut site = Self::prepare(hosts, release).await;
        let store = site.store().await;
        let hash = access_secrets::hash_password(PASSWORD.to_owned())
            .await
            .unwrap();
        for (name, role) in PEOPLE {
            let user = NewUser {
                name: name.parse().unwrap(),
                role,
                password: Some(hash.clone()),
            };
            store.user_add(user, &Actor::local("test")).await.unwrap();
        }
        drop(store);
        site.run_server(false);
        site
    }

    /// The same without any people: the server has never been started.
    pub(crate) async fn unborn(hosts: usize, release: ReleaseSpec) -> (Self, String) {
        let mut site = Self::prepare(hosts, release).await;
        let secret = site.run_server(true);
        (site, secret.expect("a first start offers a setup secret"))
    }

    async fn prepare(hosts: usize, release: ReleaseSpec) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("rollout-browser-")
            .tempdir()
            .unwrap();
        let fleet = LocalFleet::builder()
            .root(folder.path().join("fleet"))
            .hosts(hosts)
            .start()
            .await
            .unwrap();
        fleet.add_release(release).await.unwrap();
        let site = Self {
            url: String::new(),
            fleet,
            server: None,
            folder,
        };
        std::fs::write(
            site.path("rollout.toml"),
            "[rollout]\nsettle = \"200ms\"\n[health]\nfix = false\n",
        )
        .unwrap();
        let store = site.store().await;
        let actor = Actor::local("test");
        let new = site
            .fleet
            .hosts()
            .iter()
            .enumerate()
            .map(|(at, host)| NewHost {
                name: host.name().parse().unwrap(),
                spec: HostSpec {
                    address: host.address().parse().unwrap(),
                    port: host.port(),
                    user: host.user().parse().unwrap(),
                    key: Some(host.client_key().display().to_string()),
                    jump: Vec::new(),
                    app: AppSettings {
                        repo: host.repository().display().to_string().parse().unwrap(),
                        remote: "origin".parse().unwrap(),
                        branch: "main".parse().unwrap(),
                        install: "bun install".to_owned(),
                        service: host.service().parse().unwrap(),
                        verify: None,
                        generated: vec!["bun.lock".to_owned(), "bun.lockb".to_owned()],
                        min_free_mib: 1,
                        timeouts: StepTimeouts {
                            // What is to be slow is not to fail by it.
                            install: 3600,
                            ..StepTimeouts::default()
                        },
                    },
                },
                labels: [("plan".to_owned(), ["small", "large"][at % 2].to_owned())].into(),
                owner: (at == 0).then(|| "carla".to_owned()),
            });
        store.host_add(new.collect(), &actor).await.unwrap();
        for host in site.fleet.hosts() {
            let name = host.name().parse().unwrap();
            store
                .host_pin(&name, vec![host.host_key()], &actor)
                .await
                .unwrap();
        }
        site
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn database(&self) -> String {
        format!("sqlite://{}", self.path("rollout.db").display())
    }

    pub(crate) async fn store(&self) -> DieselStore {
        DieselStore::open(&self.database(), StoreOptions::default())
            .await
            .unwrap()
    }

    /// Starts the server and waits until it says where it listens. The setup secret, if it `offers` one.
    fn run_server(&mut self, offers: bool) -> Option<String> {
        let mut child = Command::new(env!("CARGO_BIN_EXE_rollout-server"))
            .arg("--listen")
            .arg(self.url.strip_prefix("http://").unwrap_or("127.0.0.1:0"))
            .arg("--database-url")
            .arg(self.database())
            .arg("--config")
            .arg(self.path("rollout.toml"))
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let err = BufReader::new(child.stderr.take().expect("piped"));
        self.server = Some(Server(child));
        self.url.clear();
        let (mut secret, mut said) = (None, String::new());
        let mut lines = err.lines().map_while(Result::ok);
        for line in lines.by_ref() {
            said.push_str(&line);
            said.push('\n');
            if let Some((_, found)) = line.split_once("setup secret: ") {
                secret = Some(found.trim().to_owned());
            }
            if let Some((_, found)) = line.split_once("listening on ") {
                let url = found.split_whitespace().next().unwrap_or_default();
                self.url = url.trim_end_matches('/').to_owned();
            }
            if !self.url.is_empty() && secret.is_some() == offers {
                // Somebody has to read on, or the server waits for room in the pipe.
                std::thread::spawn(move || lines.for_each(drop));
                return secret;
            }
        }
        panic!("the server ended:\n{said}");
    }

    /// Kills the server at once.
    pub(crate) fn crash(&mut self) {
        self.end_server(Signal::KILL);
    }

    /// Starts it again at the same address.
    pub(crate) fn restart(&mut self) {
        self.run_server(false);
    }

    fn end_server(&mut self, signal: Signal) {
        if let Some(mut server) = self.server.take() {
            let child = &mut server.0;
            let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
            let _ = kill_process(pid.unwrap(), signal);
            let begun = Instant::now();
            while child.try_wait().unwrap().is_none() {
                assert!(begun.elapsed() < Duration::from_secs(40), "it does not end");
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }

    /// Ends the server at once, whatever is under way, and the fleet.
    pub(crate) async fn end(mut self) {
        self.crash();
        self.fleet.stop().await;
    }

    /// Ends the server as an init system does, and the fleet.
    pub(crate) async fn stop(mut self) {
        self.end_server(Signal::TERM);
        self.fleet.stop().await;
    }
}
