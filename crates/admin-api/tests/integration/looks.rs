//! Looking at hosts that do not answer, and who hangs up meanwhile.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use admin_api::ApiSettings;
use async_trait::async_trait;
use fleet_store::*;
use fleet_types::{Role, WorkerId};
use rollout_orchestrator::{Orchestrator, OrchestratorSettings, SshDefaults, WorkMode, Worker};
use serde_json::json;
use ssh_exec::{ConnectError, Endpoint, HostKey, Identity, IdentityError, Session, Transport};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use crate::world::*;

/// A network whose hosts accept connections and stay silent, or for whose hosts there is no key.
#[derive(Debug)]
enum Network {
    Silent(SocketAddr),
    NoKey,
}

impl Network {
    async fn ask(&self) -> ConnectError {
        match self {
            Self::Silent(address) => {
                let mut stream = TcpStream::connect(address).await.unwrap();
                panic!("it was to be silent: {:?}", stream.read_u8().await);
            }
            Self::NoKey => ConnectError::Identity(IdentityError::Unreadable {
                path: "/etc/secret/place".to_owned(),
                cause: "denied".to_owned(),
            }),
        }
    }
}

#[async_trait]
impl Transport for Network {
    async fn connect(&self, _: &Endpoint) -> Result<Box<dyn Session>, ConnectError> {
        Err(self.ask().await)
    }
    async fn check_identity(&self, _: &Endpoint) -> Result<(), IdentityError> {
        Ok(())
    }
    async fn host_keys(&self, _: &Endpoint) -> Result<Vec<HostKey>, ConnectError> {
        Err(self.ask().await)
    }
}

/// A server that gives up looks after a moment, with a worker on this network.
async fn on(network: Network) -> (World, Worker, String) {
    let settings = ApiSettings {
        look_limit: Duration::from_millis(300),
        ..ApiSettings::default()
    };
    let world = World::with(1, settings).await;
    let settings = OrchestratorSettings {
        ssh: SshDefaults {
            identity: Some(Identity::File("/keys/default".into())),
            ..SshDefaults::default()
        },
        ..OrchestratorSettings::default()
    };
    let store = Arc::clone(&world.store) as Arc<dyn Store>;
    let orchestrator = Orchestrator::new(store, Arc::new(network), settings);
    let me = NewWorker {
        id: WorkerId(uuid::Uuid::now_v7()),
        label: "test".into(),
        serves: true,
        process: None,
    };
    let worker = Worker::start(&orchestrator, me, WorkMode::All)
        .await
        .unwrap();
    *world.process.transport.lock().unwrap() = Some(worker.transport());
    let admin = world.token(Role::Admin).await;
    (world, worker, admin)
}

/// The result and the detail of every row of this action.
async fn rows(world: &World, action: &str) -> Vec<(String, String)> {
    let query = AuditQuery {
        limit: 100,
        ..AuditQuery::default()
    };
    let all = world.store.audit_list(query).await.unwrap();
    all.into_iter()
        .filter(|row| row.action == action)
        .map(|row| (format!("{:?}", row.result), row.detail.unwrap_or_default()))
        .collect()
}

#[tokio::test]
async fn a_host_that_stays_silent_is_an_answer_of_its_own() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (world, _worker, admin) = on(Network::Silent(listener.local_addr().unwrap())).await;
    let check = world
        .post("/api/hosts/web-001/check", &admin, json!({}))
        .await;
    let check = check.expect(200)["check"].clone();
    assert_eq!(check["reachable"], false);
    assert_eq!(check["problems"][0]["reason"], "unreachable", "{check}");
    let scan = world
        .post("/api/hosts/web-001/scan", &admin, json!({}))
        .await;
    scan.problem(502, "unreachable");
    for action in ["host.check", "host.scan"] {
        let rows = rows(&world, action).await;
        assert_eq!(rows.len(), 1, "{action}: {rows:?}");
        assert!(
            rows[0].0 == "Failed" && rows[0].1.contains("no answer"),
            "{rows:?}"
        );
    }
    *world.process.looks.lock().unwrap() = Some(Arc::default());
    let seen = world
        .post("/api/hosts/web-001/health", &admin, json!({}))
        .await;
    let seen = seen.expect(200)["health"].clone();
    let told = (&seen["health"], &seen["done"]);
    assert_eq!(told, (&json!("unknown"), &json!("left_alone")), "{seen}");
}

#[tokio::test]
async fn a_plan_does_not_wait_for_hosts_that_stay_silent() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (world, _worker, admin) = on(Network::Silent(listener.local_addr().unwrap())).await;
    let text = crate::forms::page(&world, "/admin/updates/start?which=all", &admin).await;
    assert!(text.contains("main, resolved when it starts"), "{text}");
    let begun = crate::forms::Form::on(&text, "confirm");
    let begun = begun.send(&world, &admin).await;
    assert_eq!(begun.status.as_u16(), 303, "{}", begun.text());
}

#[tokio::test]
async fn who_hangs_up_is_on_record_all_the_same() {
    let (world, _worker, admin) = on(Network::NoKey).await;
    let may_end = Arc::new(Notify::new());
    *world.process.looks.lock().unwrap() = Some(Arc::clone(&may_end));
    let asking = world.post("/api/hosts/web-001/health", &admin, json!({ "fix": true }));
    let begun = async {
        while Arc::strong_count(&may_end) < 3 {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        answer = asking => panic!("{answer:?}"),
        () = begun => {}
    }
    may_end.notify_one();
    let row = async {
        loop {
            if let [row] = rows(&world, "host.fix").await.as_slice() {
                return row.clone();
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let row = tokio::time::timeout(Duration::from_secs(20), row).await;
    let expected = ("Done".to_owned(), "restarted; active: up".to_owned());
    assert_eq!(row.unwrap(), expected);
}

#[tokio::test]
async fn no_answer_names_a_file_of_the_server() {
    let (world, _worker, admin) = on(Network::NoKey).await;
    let all = json!({ "all": true, "dry_run": true });
    for (path, body, word) in [
        ("/api/hosts/web-001/check", json!({}), "no_credential"),
        ("/api/hosts/web-001/scan", json!({}), "unreachable"),
        ("/api/updates/trigger", all, "unresolved"),
    ] {
        let text = world.post(path, &admin, body).await.text();
        assert!(
            text.contains(word) && text.contains("log"),
            "{path}: {text}"
        );
        assert!(!text.contains("secret"), "{path}: {text}");
    }
}
