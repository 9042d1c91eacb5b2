//! One API over one store in memory, with people, tokens and a simulated fleet.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use admin_api::{AdminApi, ApiSettings, HostProcess, NotReady, secrets};
use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{HeaderMap, Request, StatusCode};
use fleet_store::*;
use fleet_types::*;
use http_body_util::BodyExt;
use rollout_orchestrator::{
    Orchestrator, OrchestratorSettings, PlanRequest, SlotTransport, SshDefaults, WorkMode, Worker,
};
use serde_json::Value;
use ssh_exec::Identity;
use tokio::sync::Notify;
use tower::ServiceExt;
use update_engine::testing::{SimFleet, SimHost, SimOrigin, SimRelease};
use uuid::Uuid;

/// The process around the API.
#[derive(Debug, Default)]
pub(crate) struct TestProcess {
    pub(crate) down: AtomicBool,
    pub(crate) transport: Mutex<Option<SlotTransport>>,
    /// Told when a look at a service may end; none where no health is checked.
    pub(crate) looks: Mutex<Option<Arc<Notify>>>,
}

#[async_trait::async_trait]
impl HostProcess for TestProcess {
    fn ready(&self) -> Result<(), NotReady> {
        if self.down.load(Ordering::SeqCst) {
            Err(NotReady {
                why: "no worker",
                cause: "none was started".to_owned(),
            })
        } else {
            Ok(())
        }
    }
    fn metrics(&self) -> Option<String> {
        Some("rollout_hosts 3\n".to_owned())
    }
    fn transport(&self) -> Option<SlotTransport> {
        self.transport.lock().unwrap().clone()
    }
    async fn check_health(
        &self,
        _: HostId,
        _: bool,
    ) -> Result<Option<view::HealthCheck>, Box<dyn std::error::Error + Send + Sync>> {
        let looks = self.looks.lock().unwrap().clone();
        looks.ok_or("no health is checked")?.notified().await;
        Ok(Some(view::HealthCheck {
            name: "web-001".to_owned(),
            health: HealthState::Active,
            message: "up".to_owned(),
            done: view::CheckDone::Restarted,
        }))
    }
}

pub(crate) struct World {
    pub(crate) store: Arc<DieselStore>,
    pub(crate) fleet: SimFleet,
    pub(crate) clock: ManualClock,
    pub(crate) process: Arc<TestProcess>,
    pub(crate) orchestrator: Orchestrator,
    pub(crate) api: AdminApi,
    /// The tip of `main`.
    pub(crate) new: CommitHash,
}

pub(crate) fn actor() -> Actor {
    Actor::local("ann")
}

impl World {
    pub(crate) async fn new(hosts: usize) -> Self {
        Self::with(hosts, ApiSettings::default()).await
    }

    /// Hosts `web-001`…, one good release behind `main`.
    pub(crate) async fn with(hosts: usize, settings: ApiSettings) -> Self {
        let clock = ManualClock::ticking();
        let store = Arc::new(DieselStore::in_memory_with(StoreOptions {
            clock: Arc::new(clock.clone()),
            ..StoreOptions::default()
        }));
        Self::on(store, clock, hosts, settings).await
    }

    pub(crate) async fn on(
        store: Arc<DieselStore>,
        clock: ManualClock,
        hosts: usize,
        mut settings: ApiSettings,
    ) -> Self {
        let mut origin = SimOrigin::default();
        let old = origin.push("main", SimRelease::Good);
        let new = origin.push("main", SimRelease::Good);
        let fleet = SimFleet::new(origin.clone());
        let names: Vec<String> = (1..=hosts)
            .map(|number| format!("web-{number:03}"))
            .collect();
        for name in &names {
            fleet.add(name, SimHost::on(&old, &origin));
        }
        let inventory = names.iter().map(|name| sample_host(name)).collect();
        store.host_add(inventory, &actor()).await.unwrap();
        let ssh = SshDefaults {
            identity: Some(Identity::File("/keys/default".into())),
            ..SshDefaults::default()
        };
        let orchestrator = Orchestrator::new(
            Arc::clone(&store) as Arc<dyn Store>,
            Arc::new(fleet.transport()),
            OrchestratorSettings {
                ssh,
                ..OrchestratorSettings::default()
            },
        );
        settings.app.repo = Some("/srv/app".parse().unwrap());
        settings.app.service = Some("app".parse().unwrap());
        settings.ssh_user = Some("deploy".parse().unwrap());
        let process = Arc::new(TestProcess::default());
        let api = AdminApi::new(
            orchestrator.clone(),
            Arc::clone(&store) as Arc<dyn AdminStore>,
            Arc::clone(&process) as Arc<dyn HostProcess>,
            settings,
        );
        Self {
            store,
            fleet,
            clock,
            process,
            orchestrator,
            api,
            new,
        }
    }

    /// A worker that does the work of every rollout, as the server's does.
    pub(crate) async fn worker(&self) -> Worker {
        let me = NewWorker {
            id: WorkerId(Uuid::now_v7()),
            label: "test".into(),
            serves: true,
            process: None,
        };
        Worker::start(&self.orchestrator, me, WorkMode::All)
            .await
            .unwrap()
    }

    /// A token that acts as `name`.
    pub(crate) async fn token_as(&self, name: &str, role: Role) -> String {
        let secret = secrets::new_token().unwrap();
        let token = NewToken {
            id: TokenId(Uuid::now_v7()),
            name: name.parse().unwrap(),
            role,
            secret: secret.hash,
            expires_at: None,
        };
        self.store.token_create(token, &actor()).await.unwrap();
        secret.text
    }

    pub(crate) async fn token(&self, role: Role) -> String {
        self.token_as(&format!("{role}-{}", Uuid::now_v7().simple()), role)
            .await
    }

    /// A person without password, and the cookie of their session.
    pub(crate) async fn session(&self, name: &str, role: Role) -> String {
        let user = NewUser {
            name: name.parse().unwrap(),
            role,
            password: None,
        };
        self.store.user_add(user, &actor()).await.unwrap();
        self.one_more_session(name, "test").await.1
    }

    /// A session of somebody who is there, and its cookie.
    pub(crate) async fn one_more_session(&self, name: &str, source: &str) -> (SessionId, String) {
        let secret = secrets::new_secret().unwrap();
        let id = SessionId(Uuid::now_v7());
        let session = NewSession {
            checked: None,
            id,
            secret: secret.hash,
            user: name.parse().unwrap(),
            source: source.into(),
        };
        self.store.session_open(session, &actor()).await.unwrap();
        (id, format!("rollout_session={}", secret.text))
    }

    /// A rollout of the first hosts that ends like this on each.
    pub(crate) async fn ended(
        &self,
        outcomes: &[(AttemptStatus, Reason, bool, &str)],
    ) -> RolloutId {
        let words = (1..=outcomes.len()).map(|n| format!("web-{n:03}").parse().unwrap());
        let request = PlanRequest {
            selection: Selection::On(words.collect()),
            to: None,
            policy: Policy {
                stages: "100".parse().unwrap(),
                max_failure_percent: "100".parse().unwrap(),
                ..Policy::default()
            },
            message: None,
            actor: actor(),
            force: false,
        };
        let plan = self.orchestrator.plan(&request).await.unwrap();
        let id = self.orchestrator.trigger(&plan, None).await.unwrap();
        for (status, reason, needs_attention, message) in outcomes {
            let lease = self.begin(id).await;
            let outcome = Outcome {
                status: *status,
                reason: *reason,
                step: None,
                touched: *needs_attention || *status == AttemptStatus::RolledBack,
                needs_attention: *needs_attention,
                message: (*message).to_owned(),
                version: None,
            };
            let settled = HostEvent::Settled { outcome };
            self.store.attempt_record(&lease, &settled).await.unwrap();
        }
        self.store.rollout_advance(id).await.unwrap();
        id
    }

    /// The next host of a rollout is at work.
    pub(crate) async fn begin(&self, id: RolloutId) -> HostLease {
        let target = Resolution::Commit(self.new.clone());
        self.store.rollout_resolve(id, target).await.unwrap();
        let me = NewWorker {
            id: WorkerId(Uuid::now_v7()),
            label: "test".into(),
            serves: false,
            process: None,
        };
        let worker = self.store.worker_register(me).await.unwrap();
        let claim = self.store.attempt_claim(id, worker, &[]).await.unwrap();
        let Claim::Claimed(claimed) = claim else {
            panic!("{claim:?}");
        };
        claimed.lease
    }

    pub(crate) fn router(&self) -> Router {
        self.api.router()
    }

    pub(crate) async fn send(&self, call: Call) -> Answer {
        Answer::read(self.router().oneshot(call.request()).await.unwrap()).await
    }

    pub(crate) async fn get(&self, path: &str, token: &str) -> Answer {
        self.send(Call::new("GET", path).token(token)).await
    }

    pub(crate) async fn post(&self, path: &str, token: &str, body: Value) -> Answer {
        self.send(Call::new("POST", path).token(token).json(&body))
            .await
    }

    /// Rows of the audit trail that tell of a denial.
    pub(crate) async fn denials(&self) -> Vec<AuditRecord> {
        let query = AuditQuery {
            limit: 10_000,
            ..AuditQuery::default()
        };
        let rows = self.store.audit_list(query).await.unwrap();
        rows.into_iter()
            .filter(|row| row.result == AuditResult::Denied)
            .collect()
    }
}

/// A request in the making.
#[derive(Debug)]
pub(crate) struct Call {
    method: &'static str,
    path: String,
    headers: Vec<(String, String)>,
    body: Body,
}

impl Call {
    pub(crate) fn new(method: &'static str, path: &str) -> Self {
        let headers = vec![("host".to_owned(), "localhost:8080".to_owned())];
        Self {
            method,
            path: path.to_owned(),
            headers,
            body: Body::empty(),
        }
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.retain(|(known, _)| known != name);
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn token(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    pub(crate) fn json(self, body: &Value) -> Self {
        self.header("content-type", "application/json")
            .body(body.to_string())
    }

    pub(crate) fn body(mut self, body: impl Into<Body>) -> Self {
        self.body = body.into();
        self
    }

    pub(crate) fn request(self) -> Request<Body> {
        let mut request = Request::builder().method(self.method).uri(&self.path);
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let peer: SocketAddr = "203.0.113.9:4711".parse().unwrap();
        request
            .extension(ConnectInfo(peer))
            .body(self.body)
            .unwrap()
    }
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    async fn read(response: axum::response::Response) -> Self {
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes().to_vec();
        Self {
            status: parts.status,
            headers: parts.headers,
            body,
        }
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    /// The body, once the status is as expected.
    #[track_caller]
    pub(crate) fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", self.text());
        if self.body.is_empty() {
            Value::Null
        } else {
            self.json()
        }
    }

    /// An error with this status and code, in the one form that errors have.
    #[track_caller]
    pub(crate) fn problem(&self, status: u16, code: &str) -> Value {
        let body = self.expect(status);
        assert_eq!(self.header("content-type"), "application/problem+json");
        assert_eq!(body["code"], code, "{body}");
        assert_eq!(body["status"], status);
        assert_eq!(body["request_id"], self.header("x-request-id"));
        body
    }
}
