//! A server of the built program, with crash points, on a database that it shares.

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use fleet_types::view::Status;
use reqwest::{Client, StatusCode};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::program::is_stopped;
use crate::site::Site;

/// For anything that it does.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);
/// Whoever stands still at its moment gives no answer.
pub(super) const ANSWER: Duration = Duration::from_secs(5);

/// The built server. `cargo xtask` builds it with the tests; a test run of this package alone builds it here.
fn program() -> &'static PathBuf {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let beside =
            PathBuf::from(env!("CARGO_BIN_EXE_rollout-cli")).with_file_name("rollout-server");
        if std::env::var_os("ROLLOUT_TEST_BUILT").is_none() {
            let built = Command::new(env!("CARGO"))
                .args(["build", "-q", "-p", "rollout-server", "--all-features"])
                .status()
                .unwrap();
            assert!(built.success(), "rollout-server cannot be built");
        }
        let asked = Command::new(&beside)
            .env("ROLLOUT_CRASH_POINT", "no such point")
            .env("ROLLOUT_CRASH_FLAG", "/nowhere")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&asked.stderr);
        assert!(said.contains("crash point"), "it has none: {said}");
        beside
    })
}

/// A server at work. It is killed when this is dropped.
#[derive(Debug)]
pub(super) struct Server {
    child: Child,
    address: String,
    log: PathBuf,
    client: Client,
}

impl Server {
    /// Starts one, and waits until it listens.
    pub(super) fn start(
        site: &Site,
        name: &str,
        database: &str,
        variables: &[(&str, &str)],
    ) -> Result<Self, String> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (port, log) = (
            site.path(&format!("{name}.port")),
            site.path(&format!("{name}.log")),
        );
        let _ = fs::remove_file(&port);
        let home = site.path("controller");
        let child = Command::new(program())
            .args(["--config", "rollout.toml", "--listen", "127.0.0.1:0"])
            .args(["--database-url", database, "--port-file"])
            .arg(&port)
            .current_dir(&home)
            .env_clear()
            .env("HOME", &home)
            .env("ROLLOUT_LOG", "info")
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let mut server = Self {
            child,
            address: String::new(),
            log,
            client: Client::builder().timeout(PATIENCE).build().unwrap(),
        };
        server.wait("it listens", |server| {
            let told = fs::read_to_string(&port).unwrap_or_default();
            told.trim().clone_into(&mut server.address);
            !server.address.is_empty()
        })?;
        Ok(server)
    }

    /// Waits until this is so, as long as it lives.
    pub(super) fn wait(
        &mut self,
        what: &str,
        mut is_so: impl FnMut(&mut Self) -> bool,
    ) -> Result<(), String> {
        let since = Instant::now();
        while !is_so(self) {
            if self.ended().is_some() || since.elapsed() > PATIENCE {
                return Err(format!("not so: {what}: {}", self.said()));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Asks for a rollout; why there is no answer in this time, or a bad one.
    pub(super) fn trigger(
        &self,
        site: &Site,
        token: &str,
        body: &Value,
        patience: Duration,
    ) -> Result<(), String> {
        let url = format!("http://{}/api/updates/trigger", self.address);
        site.block(async {
            let sent = self.client.post(url).bearer_auth(token).json(body);
            let answer = sent
                .timeout(patience)
                .send()
                .await
                .map_err(|error| error.to_string())?;
            match answer.status() {
                StatusCode::ACCEPTED => Ok(()),
                status => Err(format!("{status}: {:?}", answer.text().await)),
            }
        })
    }

    /// Where everything stands; why it does not say in this time.
    pub(super) fn status(
        &self,
        site: &Site,
        token: &str,
        patience: Duration,
    ) -> Result<Status, String> {
        let url = format!("http://{}/api/updates/status", self.address);
        let since = Instant::now();
        let answer = site.block(async {
            let request = self.client.get(url).bearer_auth(token);
            let answer = request.timeout(patience).send().await?;
            let code = answer.status();
            Ok((code, answer.text().await?))
        });
        let why = match answer {
            Ok((StatusCode::OK, text)) => match serde_json::from_str(&text) {
                Ok(status) => return Ok(status),
                Err(error) => format!("{error}: {text}"),
            },
            Ok((code, text)) => format!("{code}: {text}"),
            Err::<_, reqwest::Error>(error) => format!("{error:?}"),
        };
        let took = since.elapsed();
        Err(format!("no status after {took:?}: {why}: {}", self.said()))
    }

    /// Whether it can do its work.
    pub(super) fn is_ready(&self, site: &Site) -> bool {
        let url = format!("http://{}/readyz", self.address);
        let answer = site.block(async { self.client.get(url).send().await });
        answer.is_ok_and(|answer| answer.status() == StatusCode::OK)
    }

    /// Lets it go on once it has stopped itself.
    pub(super) fn wake(&mut self) -> Result<(), String> {
        self.wait("it is stopped", |server| is_stopped(&server.child))?;
        self.signal(Signal::CONT);
        Ok(())
    }

    fn signal(&self, signal: Signal) {
        let id = Pid::from_child(&self.child);
        kill_process(id, signal).unwrap();
    }

    /// The number of its process.
    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it has.
    pub(super) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Waits for its end by `kill -9`.
    pub(super) fn is_killed(&mut self) -> Result<(), String> {
        let since = Instant::now();
        loop {
            match self.ended() {
                Some(status) if status.signal() == Some(Signal::KILL.as_raw()) => return Ok(()),
                Some(status) => return Err(format!("{status}: {}", self.said())),
                None if since.elapsed() > PATIENCE => {
                    return Err(format!("it lives: {}", self.said()));
                }
                None => std::thread::sleep(Duration::from_millis(5)),
            }
        }
    }

    /// Ends it in good order.
    pub(super) fn stop(mut self) -> Result<(), String> {
        self.signal(Signal::TERM);
        let since = Instant::now();
        loop {
            match self.ended() {
                Some(status) if status.success() => return Ok(()),
                Some(status) => return Err(format!("{status}: {}", self.said())),
                None if since.elapsed() > PATIENCE => {
                    return Err(format!("it does not end: {}", self.said()));
                }
                None => std::thread::sleep(Duration::from_millis(10)),
            }
        }
    }

    /// What it wrote into its log.
    pub(super) fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
