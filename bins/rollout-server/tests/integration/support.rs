//! A fleet, a database, and servers on both.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use admin_api::secrets::new_token;
use fleet_store::{Access, Actor, DieselStore, Inventory, NewToken, StoreOptions};
use fleet_testkit::{Door, KeyKind, Postgres, Sshd, SshdOptions, TestKey};
use fleet_types::{Role, TokenId};
use local_fleet::{FleetBuilder, LocalFleet, LocalHost, ReleaseSpec};
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use rollout_parts::demo;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use uuid::Uuid;

/// How long anything may take before something is wrong.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);
/// The same for a whole rollout, on a machine that does much else.
const LIMIT_OF_ROLLOUT: Duration = Duration::from_secs(180);

/// A client that keeps its connections to itself.
pub(crate) fn client() -> Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder().timeout(LIMIT).build().unwrap()
}

/// Waits until something is there.
pub(crate) async fn until<T>(what: &str, look: impl AsyncFnMut() -> Option<T>) -> T {
    within(LIMIT, what, look).await
}

async fn within<T>(limit: Duration, what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(began.elapsed() < limit, "{what}: not in {limit:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The kind of database that a site is on.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Base {
    /// A file of its own.
    Sqlite,
    /// A database of its own on the PostgreSQL server that the tests share.
    Postgres,
    /// A database of its own on this PostgreSQL server.
    On(&'static Postgres),
}

/// A database with hosts and a token of an admin, and a release that waits.
pub(crate) struct Site {
    pub(crate) fleet: Option<LocalFleet>,
    pub(crate) token: String,
    folder: tempfile::TempDir,
    database_url: String,
}

impl Site {
    /// No hosts, nobody: as before the first start.
    pub(crate) fn empty() -> Self {
        Self::empty_on(Base::Sqlite)
    }

    pub(crate) fn empty_on(base: Base) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("rollout-server-test-")
            .tempdir()
            .unwrap();
        fs::write(folder.path().join("rollout.toml"), "").unwrap();
        let database_url = match base {
            Base::Sqlite => format!("sqlite://{}/rollout.db", folder.path().display()),
            Base::Postgres => new_database(Postgres::shared()),
            Base::On(server) => new_database(server),
        };
        Self {
            fleet: None,
            token: String::new(),
            folder,
            database_url,
        }
    }

    /// A token, no hosts.
    pub(crate) async fn without_hosts() -> Self {
        Self::without_hosts_on(Base::Sqlite).await
    }

    pub(crate) async fn without_hosts_on(base: Base) -> Self {
        let mut site = Self::empty_on(base);
        site.token = add_token(&site.store().await).await;
        site
    }

    /// So many hosts on their first release, with a second one waiting.
    pub(crate) async fn with_hosts(base: Base, hosts: usize, release: ReleaseSpec) -> Self {
        Self::with_fleet(base, LocalFleet::builder(), hosts, release).await
    }

    /// The same, whose hosts have git commands in their logs as well.
    pub(crate) async fn with_git_in_logs(base: Base, hosts: usize, release: ReleaseSpec) -> Self {
        Self::with_fleet(base, LocalFleet::builder().log_git(), hosts, release).await
    }

    async fn with_fleet(
        base: Base,
        builder: FleetBuilder,
        hosts: usize,
        release: ReleaseSpec,
    ) -> Self {
        let mut site = Self::without_hosts_on(base).await;
        let fleet = builder
            .root(site.path("fleet"))
            .hosts(hosts)
            .start()
            .await
            .unwrap();
        fleet.add_release(release).await.unwrap();
        let settings = demo::settings(&fleet, site.folder.path()).unwrap();
        let configuration = format!(
            "[ssh]\nkey = {:?}\n[rollout]\nsettle = \"300ms\"\n[health]\nfix = false\n",
            fleet.description().client_key.display().to_string()
        );
        fs::write(site.path("rollout.toml"), configuration).unwrap();
        let store = site.store().await;
        let actor = Actor::local("test");
        let new = demo::new_hosts(&fleet, &settings).unwrap();
        store.host_add(new, &actor).await.unwrap();
        for host in fleet.hosts() {
            let name = host.name().parse().unwrap();
            let keys = vec![host.host_key()];
            store.host_pin(&name, keys, &actor).await.unwrap();
        }
        site.fleet = Some(fleet);
        site
    }

    /// So many hosts behind OpenSSH servers, each behind a door.
    pub(crate) async fn with_sshd(base: Base, hosts: usize) -> (Self, Vec<(Sshd, Door)>) {
        let mut site = Self::without_hosts_on(base).await;
        let builder = LocalFleet::builder().root(site.path("fleet")).log_git();
        let fleet = builder.hosts(hosts).start().await.unwrap();
        let key = TestKey::generate(site.folder.path(), "login", KeyKind::Ed25519);
        let settings = demo::settings(&fleet, site.folder.path()).unwrap();
        let configuration = format!(
            "[ssh]\nkey = {:?}\n[rollout]\nsettle = \"300ms\"\n[health]\nfix = false\n",
            key.private().display().to_string()
        );
        fs::write(site.path("rollout.toml"), configuration).unwrap();
        let mut entries = demo::new_hosts(&fleet, &settings).unwrap();
        let mut servers = Vec::new();
        for (host, entry) in fleet.hosts().iter().zip(&mut entries) {
            let sshd = Sshd::start(sshd_options(&fleet, host, &key));
            let door = Door::to(sshd.port());
            entry.spec.port = door.port();
            entry.spec.user = sshd.user().parse().unwrap();
            servers.push((sshd, door));
        }
        let store = site.store().await;
        let actor = Actor::local("test");
        store.host_add(entries, &actor).await.unwrap();
        for (host, (sshd, _)) in fleet.hosts().iter().zip(&servers) {
            let name = host.name().parse().unwrap();
            let keys = sshd.host_key_lines();
            store.host_pin(&name, keys, &actor).await.unwrap();
        }
        site.fleet = Some(fleet);
        (site, servers)
    }

    /// A server on a database, once it listens said to be in a file: how it is started.
    pub(crate) fn server_command(&self, database_url: &str, port_file: &Path) -> Command {
        let port_file = port_file.display().to_string();
        let mut all = vec!["--listen", "127.0.0.1:0", "--port-file", &port_file];
        all.extend(["--config", "rollout.toml", "--database-url", database_url]);
        self.command(&all)
    }

    pub(crate) fn database_url(&self) -> &str {
        &self.database_url
    }

    /// The database by this other way from now on.
    pub(crate) fn go_through(&mut self, change: impl FnOnce(&str) -> String) {
        self.database_url = change(&self.database_url);
    }

    /// Adds to the configuration of servers that are started from now on.
    pub(crate) fn configure(&self, more: &str) {
        let path = self.path("rollout.toml");
        let text = fs::read_to_string(&path).unwrap();
        fs::write(path, text + more).unwrap();
    }

    /// A further token of an admin.
    pub(crate) async fn more_tokens(&self, count: usize) -> Vec<String> {
        let store = self.store().await;
        let mut tokens = Vec::new();
        for number in 0..count {
            tokens.push(add_token_of(&store, &format!("robot-{number}")).await);
        }
        tokens
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The file of an SQLite database.
    pub(crate) fn database(&self) -> PathBuf {
        self.path("rollout.db")
    }

    pub(crate) async fn store(&self) -> DieselStore {
        DieselStore::open(&self.database_url, StoreOptions::default())
            .await
            .unwrap()
    }

    /// The program, in an environment that holds nothing of this machine's.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rollout-server"));
        command
            .args(arguments)
            .current_dir(self.folder.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.folder.path())
            .env("TMPDIR", self.folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        command
    }

    /// A server on the database that may not be up yet.
    pub(crate) fn begin(&self) -> Running {
        let mut command = self.server_command(&self.database_url, &self.path("port-of-begun"));
        Running::new(command.spawn().unwrap(), self.token.clone())
    }

    /// A server on the database, once it listens.
    pub(crate) async fn serve(&self) -> Running {
        self.serve_with(&[], |_| {}).await
    }

    pub(crate) async fn serve_with(
        &self,
        arguments: &[&str],
        change: impl FnOnce(&mut Command),
    ) -> Running {
        let database = self.database_url.as_str();
        let mut all = vec!["--config", "rollout.toml", "--database-url", database];
        all.extend(arguments);
        self.start(&all, change).await
    }

    /// A server that may or may not use the database, once it listens.
    pub(crate) async fn start(
        &self,
        arguments: &[&str],
        change: impl FnOnce(&mut Command),
    ) -> Running {
        let file = self.path(&format!("port-{}", Uuid::now_v7()));
        let name = file.display().to_string();
        let mut all = vec!["--listen", "127.0.0.1:0", "--port-file", &name];
        all.extend(arguments);
        let mut command = self.command(&all);
        change(&mut command);
        let mut running = Running::new(command.spawn().unwrap(), self.token.clone());
        running.wait_for(&file).await;
        running
    }

    /// Runs a server that must not come up: its exit code and what it said.
    pub(crate) fn refuse(
        &self,
        arguments: &[&str],
        change: impl FnOnce(&mut Command),
    ) -> (i32, String) {
        let mut command = self.command(arguments);
        change(&mut command);
        let output = command.output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        (output.status.code().unwrap(), said)
    }

    pub(crate) async fn end(self) {
        if let Some(fleet) = self.fleet {
            fleet.stop().await;
        }
    }
}

/// Its sessions see the host as the fleet's own servers would show it.
fn sshd_options(fleet: &LocalFleet, host: &LocalHost, key: &TestKey) -> SshdOptions {
    let home = host.home().display();
    let git = fleet.description().root.join("gitconfig");
    SshdOptions::default()
        .authorize(key.public_line())
        .env("PATH", format!("{home}/bin:/usr/local/bin:/usr/bin:/bin"))
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", git.display().to_string())
        .env("LOCAL_FLEET_HOST", home.to_string())
}

fn new_database(server: &Postgres) -> String {
    server.url(&server.new_database())
}

async fn add_token(store: &DieselStore) -> String {
    add_token_of(store, "robot").await
}

async fn add_token_of(store: &DieselStore, name: &str) -> String {
    let token = new_token().unwrap();
    let kept = NewToken {
        id: TokenId(Uuid::now_v7()),
        name: name.parse().unwrap(),
        role: Role::Admin,
        secret: token.hash,
        expires_at: None,
    };
    let actor = Actor::local("test");
    store.token_create(kept, &actor).await.unwrap();
    token.text
}

/// A server at work. It is killed when this is dropped.
pub(crate) struct Running {
    child: Child,
    said: Arc<Mutex<String>>,
    pub(crate) address: String,
    pub(crate) token: String,
    pub(crate) client: Client,
}

impl Running {
    fn new(mut child: Child, token: String) -> Self {
        let said = Arc::new(Mutex::new(String::new()));
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let heard = Arc::clone(&said);
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                heard.lock().unwrap().push_str(&(line + "\n"));
            }
        });
        Self {
            child,
            said,
            address: String::new(),
            token,
            client: client(),
        }
    }

    async fn wait_for(&mut self, file: &Path) {
        let began = Instant::now();
        loop {
            if let Ok(text) = fs::read_to_string(file) {
                self.address = text.trim().to_owned();
                return;
            }
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "{ended:?}: {}", self.said());
            assert!(
                began.elapsed() < LIMIT,
                "it does not come up: {}",
                self.said()
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// What it said so far.
    pub(crate) fn said(&self) -> String {
        self.said.lock().unwrap().clone()
    }

    /// What it said, once it has said this.
    pub(crate) async fn has_said(&self, word: &str) -> String {
        until(&format!("{word:?} on standard error"), async || {
            Some(self.said()).filter(|said| said.contains(word))
        })
        .await
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) async fn send(&self, method: Method, path: &str, body: Option<Value>) -> Response {
        let mut request = self
            .client
            .request(method, self.url(path))
            .bearer_auth(&self.token);
        if let Some(body) = body {
            request = request.json(&body);
        }
        request.send().await.unwrap()
    }

    pub(crate) async fn get(&self, path: &str) -> (StatusCode, Value) {
        let response = self.send(Method::GET, path, None).await;
        (response.status(), response.json().await.unwrap_or_default())
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> (StatusCode, Value) {
        let response = self.send(Method::POST, path, Some(body)).await;
        (response.status(), response.json().await.unwrap_or_default())
    }

    /// Starts a rollout over all hosts: its id.
    pub(crate) async fn trigger(&self) -> String {
        let (status, body) = self
            .post("/api/updates/trigger", json!({ "all": true }))
            .await;
        assert_eq!(status, StatusCode::ACCEPTED, "{body}");
        body["rollout"]["id"].as_str().unwrap().to_owned()
    }

    /// The rollout, once it is in one of these states.
    pub(crate) async fn rollout_in(&self, states: &[&str]) -> Value {
        let ends = ["completed", "completed_with_failures", "halted", "aborted"];
        let what = format!("a rollout in {states:?}");
        within(LIMIT_OF_ROLLOUT, &what, async || {
            let (_, status) = self.get("/api/updates/status").await;
            let state = status["rollout"]["state"].as_str().unwrap_or_default();
            let found = states.contains(&state);
            assert!(
                found || !ends.contains(&state),
                "{}\n{}",
                status["rollout"],
                self.said()
            );
            found.then(|| status["rollout"].clone())
        })
        .await
    }

    /// What the process holds in memory, in bytes.
    pub(crate) fn memory(&self) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let status = fs::read_to_string(path).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.unwrap().trim().strip_suffix(" kB").unwrap();
        kib.parse::<u64>().unwrap() * 1024
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// How it ended, and how long that took.
    pub(crate) async fn ended(&mut self) -> (ExitStatus, Duration) {
        let began = Instant::now();
        let status = until("the end of the server", async || {
            self.child.try_wait().unwrap()
        })
        .await;
        (status, began.elapsed())
    }

    /// Its process, or what stands around it.
    pub(crate) fn process(&self) -> u32 {
        self.child.id()
    }

    /// Kills it at once.
    pub(crate) async fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.ended().await;
    }

    /// Ends it in good order.
    pub(crate) async fn stop(&mut self) {
        self.signal(Signal::TERM);
        let (status, _) = self.ended().await;
        assert!(status.success(), "{status}: {}", self.said());
    }

    /// Follows the events.
    pub(crate) async fn events(&self, after: Option<i64>) -> Stream {
        let mut request = self.follow().bearer_auth(&self.token);
        if let Some(after) = after {
            request = request.header("last-event-id", after.to_string());
        }
        Self::stream(request).await
    }

    /// Follows the events from now on, in a session.
    pub(crate) async fn events_in_session(&self, cookie: &str) -> Stream {
        Self::stream(self.follow().header("cookie", cookie)).await
    }

    fn follow(&self) -> RequestBuilder {
        let request = self.client.get(self.url("/api/updates/events"));
        request.header("accept", "text/event-stream")
    }

    async fn stream(request: RequestBuilder) -> Stream {
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        Stream {
            response,
            text: String::new(),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// A stream of events.
pub(crate) struct Stream {
    response: Response,
    text: String,
}

/// One message of a stream.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) id: Option<i64>,
    pub(crate) name: Option<String>,
    pub(crate) data: Value,
}

impl Stream {
    /// The next message; none when the stream ended or was cut.
    pub(crate) async fn next(&mut self) -> Option<Message> {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.text = rest;
                match message(&block) {
                    Some(message) => return Some(message),
                    None => continue,
                }
            }
            let chunk = self.response.chunk().await.ok()??;
            self.text.push_str(&String::from_utf8_lossy(&chunk));
        }
    }
}

fn message(block: &str) -> Option<Message> {
    let field = |name: &str| {
        let line = block.lines().find_map(|line| line.strip_prefix(name))?;
        Some(line.trim_start().to_owned())
    };
    let data = field("data:")?;
    Some(Message {
        id: field("id:").and_then(|id| id.parse().ok()),
        name: field("event:"),
        data: serde_json::from_str(&data).unwrap_or(Value::String(data)),
    })
}
