//! The handle that every handler gets, and what can be set.

use std::error::Error;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use fleet_store::{AdminStore, SessionTimes};
use fleet_types::{HostId, Policy, Timestamp, UserName, view};
use rollout_orchestrator::{Orchestrator, SlotTransport};
use rollout_settings::{AppDefaults, Entry, Subnet};
use tokio_util::sync::CancellationToken;

use crate::guards::{Denials, Triggers};
use crate::identity::Identify;
use crate::secrets::Hasher;
use crate::sign_in::StoreIdentity;
use crate::streams::Streams;
use crate::{api, guards, pages};

/// The API over one store and one orchestrator. A cheap handle: clones share everything.
#[derive(Clone, Debug)]
pub struct AdminApi {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    orchestrator: Orchestrator,
    store: Arc<dyn AdminStore>,
    access: Access,
    process: Arc<dyn HostProcess>,
    settings: ApiSettings,
    streams: Streams,
}

/// Who people are.
#[derive(Debug)]
struct Access {
    identify: Arc<dyn Identify>,
    /// None when the embedding service signs people in.
    sign_in: Option<Arc<StoreIdentity>>,
    mounted: Mounted,
    bounds: Bounds,
}

/// What there is beside the pages below `/admin` and the API below `/api`.
#[derive(Clone, Debug)]
pub(crate) struct Mounted {
    pub(crate) process: bool,
    pub(crate) dashboard: bool,
    /// Where people sign in; none when it is not known.
    pub(crate) sign_in: Option<String>,
}

/// How the API is part of another service, which knows its callers itself. All of its routes are below `/admin` and `/api`,
/// unless something else is said here.
#[derive(Clone, Debug)]
pub struct Embedding {
    identify: Arc<dyn Identify>,
    mounted: Mounted,
}

impl Embedding {
    /// In a service that knows its callers like this.
    #[must_use]
    pub fn new(identify: Arc<dyn Identify>) -> Self {
        let mounted = Mounted {
            process: false,
            dashboard: false,
            sign_in: None,
        };
        Self { identify, mounted }
    }

    /// People sign in at this path or address: whoever looks at a page and is not known is sent there, with the path of the
    /// page as `next`. Without it they are told so (401).
    #[must_use]
    pub fn sign_in_at(mut self, address: impl Into<String>) -> Self {
        self.mounted.sign_in = Some(address.into());
        self
    }

    /// Owners see their instances at `/dashboard`.
    #[must_use]
    pub fn with_dashboard(mut self) -> Self {
        self.mounted.dashboard = true;
        self
    }

    /// `/healthz`, `/readyz` and `/metrics` tell of the process.
    #[must_use]
    pub fn with_process_routes(mut self) -> Self {
        self.mounted.process = true;
        self
    }
}

/// What all callers share, and its end.
#[derive(Debug)]
struct Bounds {
    hasher: Hasher,
    denials: Denials,
    triggers: Triggers,
    stop: CancellationToken,
    /// Why this process was not ready when it was last asked.
    unready: Mutex<Option<&'static str>>,
}

impl Bounds {
    fn new(store: &Arc<dyn AdminStore>) -> Self {
        let stop = CancellationToken::new();
        Self {
            hasher: Hasher::default(),
            denials: Denials::new(Arc::clone(store), stop.clone()),
            triggers: Triggers::default(),
            stop,
            unready: Mutex::default(),
        }
    }
}

/// Why a process cannot work now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotReady {
    /// In words that anybody may see.
    pub why: &'static str,
    /// For the log.
    pub cause: String,
}

/// What the API asks of the process that it runs in.
#[async_trait]
pub trait HostProcess: fmt::Debug + Send + Sync {
    /// Whether a worker of this process is registered as alive, so that what is triggered here is carried out.
    fn ready(&self) -> Result<(), NotReady>;
    /// Numbers in the text format of Prometheus; none when it keeps none.
    fn metrics(&self) -> Option<String> {
        None
    }
    /// The way to hosts for what is part of no rollout: fetching host keys. None when it reaches no hosts.
    fn transport(&self) -> Option<SlotTransport> {
        None
    }
    /// Looks whether the service of a host is active, and with `fix` starts it again when it is not, within the limits of
    /// the health checker. None when a rollout is working on the host. The error is for the log. Asked only where there
    /// is a [`transport`](Self::transport).
    async fn check_health(
        &self,
        host: HostId,
        fix: bool,
    ) -> Result<Option<view::HealthCheck>, Box<dyn Error + Send + Sync>> {
        let _ = (host, fix);
        Err("this process checks no health".into())
    }
}

/// Which names the API answers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AllowedHosts {
    /// Any: the embedding service checks the name.
    Any,
    /// The loopback names and these, without port.
    Named(Vec<String>),
}

/// Settings of the API.
#[derive(Clone, Debug)]
pub struct ApiSettings {
    /// Names that the API answers to.
    pub allowed_hosts: AllowedHosts,
    /// Whether people reach it over HTTPS only, so that cookies can insist on it.
    pub secure_cookies: bool,
    /// How long sessions last.
    pub session_times: SessionTimes,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<Subnet>,
    /// Largest body of a request, in bytes.
    pub body_limit: usize,
    /// How long a body may be on its way.
    pub body_time: Duration,
    /// How long a handler may take. Requests that wait on purpose get what they wait on top.
    pub time_limit: Duration,
    /// How long a look at a host is waited for: a connection has to come free first. Its request gets that on top.
    pub look_limit: Duration,
    /// Event streams and waiting status requests open at once.
    pub max_streams: usize,
    /// Of these, so many of one person or token.
    pub max_streams_of_one: usize,
    /// How often an event stream looks whether its caller may still see it. That counts as use of a session: a page that
    /// is open and live does not idle.
    pub recheck: Duration,
    /// How long an event stream is silent at most.
    pub keep_alive: Duration,
    /// The policy of a rollout that says nothing else.
    pub policy: Policy,
    /// The `max_in_flight` that was configured; none where it is four times the connections, whatever these are.
    pub max_in_flight: Option<u32>,
    /// `[app]`: how the service is updated on hosts that say nothing else.
    pub app: AppDefaults,
    /// The SSH user of hosts that name none.
    pub ssh_user: Option<UserName>,
    /// The SSH port of hosts that name none.
    pub ssh_port: u16,
    /// How often each host is looked at, where a health checker runs.
    pub health_every: Option<Duration>,
    /// Every setting in force, as the settings page shows them to admins.
    pub shown: Vec<Entry>,
}

impl ApiSettings {
    /// What was seen before this is old: three looks are missing.
    pub(crate) fn stale_before(&self, now: Timestamp) -> Option<Timestamp> {
        let late = self.health_every?.saturating_mul(3).as_millis();
        let late = i64::try_from(late).unwrap_or(i64::MAX);
        Some(Timestamp(now.0.saturating_sub(late)))
    }
}

impl Default for ApiSettings {
    fn default() -> Self {
        Self {
            allowed_hosts: AllowedHosts::Named(Vec::new()),
            secure_cookies: false,
            session_times: SessionTimes::default(),
            trusted_proxies: Vec::new(),
            body_limit: 64 * 1024,
            body_time: Duration::from_secs(20),
            time_limit: Duration::from_secs(30),
            look_limit: Duration::from_secs(90),
            max_streams: 256,
            max_streams_of_one: 64,
            recheck: Duration::from_secs(5),
            keep_alive: Duration::from_secs(15),
            policy: Policy::default(),
            max_in_flight: None,
            app: AppDefaults::default(),
            ssh_user: None,
            ssh_port: 22,
            health_every: None,
            shown: Vec::new(),
        }
    }
}

impl AdminApi {
    /// An API with people, sessions and tokens of the store.
    #[must_use]
    pub fn new(
        orchestrator: Orchestrator,
        store: Arc<dyn AdminStore>,
        process: Arc<dyn HostProcess>,
        settings: ApiSettings,
    ) -> Self {
        let bounds = Bounds::new(&store);
        let own = Arc::new(StoreIdentity::new(
            Arc::clone(&store),
            settings.session_times,
            settings.secure_cookies,
            bounds.hasher.clone(),
            bounds.denials.clone(),
        ));
        let access = Access {
            identify: Arc::clone(&own) as Arc<dyn Identify>,
            sign_in: Some(own),
            mounted: Mounted {
                process: true,
                dashboard: true,
                sign_in: Some("/login".to_owned()),
            },
            bounds,
        };
        Self::assemble(orchestrator, store, access, process, settings)
    }

    /// An API whose callers the embedding service knows: no sign-in page, no sessions.
    #[must_use]
    pub fn embedded(
        orchestrator: Orchestrator,
        store: Arc<dyn AdminStore>,
        embedding: Embedding,
        process: Arc<dyn HostProcess>,
        settings: ApiSettings,
    ) -> Self {
        let access = Access {
            identify: embedding.identify,
            sign_in: None,
            mounted: embedding.mounted,
            bounds: Bounds::new(&store),
        };
        Self::assemble(orchestrator, store, access, process, settings)
    }

    fn assemble(
        orchestrator: Orchestrator,
        store: Arc<dyn AdminStore>,
        access: Access,
        process: Arc<dyn HostProcess>,
        settings: ApiSettings,
    ) -> Self {
        let streams = Streams::new(settings.max_streams, settings.max_streams_of_one);
        Self {
            inner: Arc::new(Inner {
                orchestrator,
                store,
                access,
                process,
                settings,
                streams,
            }),
        }
    }

    /// Everything as one router, to serve alone or to merge with other routes; not to be nested under a path, for the
    /// pages and the table of rights name whole paths. Serve it with
    /// `into_make_service_with_connect_info::<SocketAddr>()`, for the audit names the address of the caller.
    pub fn router(&self) -> Router {
        let mut routes = Router::new().merge(api::routes()).merge(pages::routes());
        let own = self.sign_in().is_some();
        for (wanted, more) in [
            (own, pages::sign_in_routes()),
            (self.mounted().dashboard, pages::dashboard_routes()),
            (self.mounted().process, api::process_routes()),
        ] {
            if wanted {
                routes = routes.merge(more);
            }
        }
        let mut whole = guards::around(routes, self);
        if !own {
            // What is not ours is for the embedding service to answer, under whatever name.
            whole = whole.reset_fallback();
        }
        whole.with_state(self.clone())
    }

    /// Ends all event streams and waiting requests when cancelled.
    #[must_use]
    pub fn stop(&self) -> &CancellationToken {
        &self.inner.access.bounds.stop
    }

    /// Notes why this process is not ready. True: that is news, so the log is to have it.
    pub(crate) fn is_news(&self, unready: Option<&'static str>) -> bool {
        let known = &self.inner.access.bounds.unready;
        let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *known, unready) != unready
    }

    /// The sign-in of people and programs; none when the embedding service does that.
    #[must_use]
    pub fn sign_in(&self) -> Option<&StoreIdentity> {
        self.inner.access.sign_in.as_deref()
    }

    /// Where all passwords are hashed that people send, so that not too many are at once.
    #[must_use]
    pub fn hasher(&self) -> &Hasher {
        &self.inner.access.bounds.hasher
    }

    /// The settings.
    #[must_use]
    pub fn settings(&self) -> &ApiSettings {
        &self.inner.settings
    }

    pub(crate) fn orchestrator(&self) -> &Orchestrator {
        &self.inner.orchestrator
    }

    pub(crate) fn store(&self) -> &Arc<dyn AdminStore> {
        &self.inner.store
    }

    pub(crate) fn identify(&self) -> &Arc<dyn Identify> {
        &self.inner.access.identify
    }

    pub(crate) fn mounted(&self) -> &Mounted {
        &self.inner.access.mounted
    }

    /// Where people sign in; none when it is not known.
    pub(crate) fn sign_in_address(&self) -> Option<&str> {
        self.mounted().sign_in.as_deref()
    }

    pub(crate) fn process(&self) -> &Arc<dyn HostProcess> {
        &self.inner.process
    }

    pub(crate) fn streams(&self) -> &Streams {
        &self.inner.streams
    }

    pub(crate) fn denials(&self) -> &Denials {
        &self.inner.access.bounds.denials
    }

    pub(crate) fn triggers(&self) -> &Triggers {
        &self.inner.access.bounds.triggers
    }
}
