//! Every step run twice: the second run changes nothing.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use fleet_types::{AttemptStatus, Reason};
use ssh_exec::{
    CommandOutput, ConnectError, Endpoint, HostKey, IdentityError, RemoteCommand, Session,
    SessionError, Transport,
};
use update_engine::run_attempt;
use update_engine::testing::MemoryJournal;

use super::place::Place;
use crate::support::assert_ended;

/// Sends every command twice, the second time as one whose first answer was lost, and compares the host after each.
#[derive(Debug)]
struct Twice<T> {
    inner: T,
    place: Arc<Place>,
    compared: Arc<Mutex<Vec<&'static str>>>,
}

struct TwiceSession {
    inner: Box<dyn Session>,
    place: Arc<Place>,
    compared: Arc<Mutex<Vec<&'static str>>>,
}

impl std::fmt::Debug for TwiceSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TwiceSession")
    }
}

#[async_trait]
impl<T: Transport> Transport for Twice<T> {
    async fn connect(&self, endpoint: &Endpoint) -> Result<Box<dyn Session>, ConnectError> {
        let inner = self.inner.connect(endpoint).await?;
        Ok(Box::new(TwiceSession {
            inner,
            place: Arc::clone(&self.place),
            compared: Arc::clone(&self.compared),
        }))
    }

    async fn check_identity(&self, endpoint: &Endpoint) -> Result<(), IdentityError> {
        self.inner.check_identity(endpoint).await
    }

    async fn host_keys(&self, endpoint: &Endpoint) -> Result<Vec<HostKey>, ConnectError> {
        self.inner.host_keys(endpoint).await
    }
}

#[async_trait]
impl Session for TwiceSession {
    async fn run(&mut self, command: &RemoteCommand) -> Result<CommandOutput, SessionError> {
        self.inner.run(command).await?;
        let once = state_of(&self.place);
        let again = match command.get("resume") {
            Some(_) => command.clone().param("resume", "1"),
            None => command.clone(),
        };
        let output = self.inner.run(&again).await?;
        let after = state_of(&self.place);
        let differing: Vec<_> = once
            .iter()
            .filter(|(name, was)| after.get(*name) != Some(was))
            .collect();
        assert!(
            differing.is_empty(),
            "{} twice: {differing:?}",
            command.name()
        );
        assert_eq!(once.len(), after.len(), "{} twice", command.name());
        self.compared.lock().unwrap().push(command.name());
        Ok(output)
    }

    async fn close(self: Box<Self>) {
        self.inner.close().await;
    }
}

/// Every file of the clone with content and time of change, but for what each run of a command writes anew: its own
/// lock's folder, and the dependencies.
fn state_of(place: &Place) -> BTreeMap<String, String> {
    let mut state = BTreeMap::new();
    collect(&place.path("state/app"), &mut state);
    let running = place.read("state/running");
    state.insert("running".to_owned(), running);
    state
}

fn collect(folder: &Path, state: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.to_str().unwrap().to_owned();
        if [
            "/.git/rollout",
            "/node_modules",
            "/.git/index",
            "/.git/ORIG_HEAD",
        ]
        .iter()
        .any(|own| name.ends_with(own))
        {
            continue;
        }
        if path.is_dir() {
            collect(&path, state);
            continue;
        }
        let data = fs::metadata(&path).unwrap();
        let in_git = name.contains("/.git/");
        let time = if in_git {
            (0, 0)
        } else {
            (data.mtime(), data.mtime_nsec())
        };
        state.insert(
            name,
            format!(
                "{time:?} {}",
                String::from_utf8_lossy(&fs::read(&path).unwrap())
            ),
        );
    }
}

async fn twice(release: &str) -> (Arc<Place>, fleet_types::Outcome, Vec<&'static str>) {
    let place = Arc::new(Place::new());
    let new = place.release("two", release);
    let compared = Arc::new(Mutex::new(Vec::new()));
    let transport = Twice {
        inner: place.transport(),
        place: Arc::clone(&place),
        compared: Arc::clone(&compared),
    };
    let outcome = run_attempt(place.spec(&new), &transport, &mut MemoryJournal::default())
        .await
        .unwrap();
    let names = compared.lock().unwrap().clone();
    (place, outcome, names)
}

#[tokio::test]
async fn forward() {
    let (place, outcome, names) = twice("service=ok\n").await;
    assert_eq!(outcome.reason, Reason::Updated, "{outcome:?}");
    place.assert_on(&place.head(), "two");
    assert_eq!(names, ["inspect", "pull", "install", "restart", "verify"]);
}

#[tokio::test]
async fn back() {
    let (place, outcome, names) = twice("service=dies\n").await;
    assert_ended(&outcome, AttemptStatus::RolledBack, Reason::Unhealthy);
    place.assert_on(&place.head(), "one");
    assert_eq!(
        names[5..],
        [
            "rollback_checkout",
            "rollback_install",
            "rollback_restart",
            "rollback_verify"
        ]
    );
}
