//! Rollout inside another service: its router beside routes of ours, callers as our gateway knows them, and a worker that
//! carries out what is triggered.
//!
//! `cargo run -p embedding`, then `curl -H 'X-User: anna' http://127.0.0.1:3000/api/updates/status`

mod gateway;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use admin_api::{AdminApi, ApiSettings, Embedding, HostProcess, NotReady};
use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use fleet_store::{AdminStore, DieselStore, NewWorker, Store, StoreOptions};
use fleet_types::WorkerId;
use rollout_orchestrator::{Orchestrator, OrchestratorSettings, SshDefaults, WorkMode, Worker};
use ssh_exec::{Identity, RusshSettings, RusshTransport};

use crate::gateway::Gateway;

/// What the API asks of this process.
#[derive(Debug)]
struct Process;

impl HostProcess for Process {
    fn ready(&self) -> Result<(), NotReady> {
        Ok(())
    }
}

/// Our service with everything of Rollout beside our own routes.
fn service(api: &AdminApi) -> Router {
    Router::new()
        .route("/", get(|| async { "our own page\n" }))
        .route("/login", get(|| async { "our own sign-in\n" }))
        .route("/healthz", get(|| async { "our own health\n" }))
        .fallback(|| async { (StatusCode::NOT_FOUND, "not ours\n") })
        .merge(api.router())
}

fn api(store: &Arc<DieselStore>) -> (AdminApi, Orchestrator) {
    let identity = Identity::File("/etc/rollout/id_ed25519".into());
    let ssh = SshDefaults {
        identity: Some(identity),
        ..SshDefaults::default()
    };
    let orchestrator = Orchestrator::new(
        Arc::clone(store) as Arc<dyn Store>,
        Arc::new(RusshTransport::new(RusshSettings::default())),
        OrchestratorSettings {
            ssh,
            ..OrchestratorSettings::default()
        },
    );
    let api = AdminApi::embedded(
        orchestrator.clone(),
        Arc::clone(store) as Arc<dyn AdminStore>,
        // People sign in at our own page.
        Embedding::new(Arc::new(Gateway)).sign_in_at("/login"),
        Arc::new(Process),
        ApiSettings::default(),
    );
    (api, orchestrator)
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let store = Arc::new(DieselStore::open("sqlite://rollout.db", StoreOptions::default()).await?);
    let (api, orchestrator) = api(&store);
    let me = NewWorker {
        id: WorkerId(uuid::Uuid::now_v7()),
        label: "our service".to_owned(),
        serves: true,
        process: None,
    };
    let mut worker = Worker::start(&orchestrator, me, WorkMode::All).await?;

    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    let app = service(&api).into_make_service_with_connect_info::<SocketAddr>();
    let stop = api.stop().clone();
    axum::serve(listener, app)
        .with_graceful_shutdown(async move {
            let _ = tokio::signal::ctrl_c().await;
            stop.cancel(); // event streams end, so that the server can
        })
        .await?;
    worker.stop(Duration::from_secs(30));
    worker.finished().await?;
    Ok(())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use axum::body::{Body, to_bytes};
    use axum::http::Request;
    use tower::ServiceExt;

    use super::*;

    #[tokio::test]
    async fn our_routes_and_theirs_stand_side_by_side() {
        let folder = std::env::temp_dir().join(format!("embedding-{}", uuid::Uuid::now_v7()));
        std::fs::create_dir(&folder).unwrap();
        let url = format!("sqlite://{}", folder.join("rollout.db").display());
        let store = Arc::new(
            DieselStore::open(&url, StoreOptions::default())
                .await
                .unwrap(),
        );
        let service = service(&api(&store).0);
        for (path, user, status, word) in [
            ("/", None, 200, "our own page"),
            ("/login", None, 200, "our own sign-in"),
            ("/healthz", None, 200, "our own health"),
            ("/logout", None, 404, "not ours"),
            ("/metrics", Some("anna"), 404, "not ours"),
            ("/api/updates/status", None, 401, "unauthenticated"),
            ("/api/updates/status", Some("anna"), 200, "\"rollout\""),
            ("/api/users", Some("anna"), 403, "forbidden"),
            (
                "/admin/updates?a=b",
                None,
                303,
                "/login?next=/admin/updates%3Fa%3Db",
            ),
            ("/admin/updates", Some("anna"), 200, "/admin/assets/"),
        ] {
            let mut request = Request::get(path)
                .header("host", "localhost")
                .header("accept", "text/html");
            if let Some(user) = user {
                request = request.header("x-user", user);
            }
            let answer = service
                .clone()
                .oneshot(request.body(Body::empty()).unwrap())
                .await
                .unwrap();
            assert_eq!(answer.status(), status, "{path} {user:?}");
            let mut said = match answer.headers().get("location") {
                Some(to) => to.to_str().unwrap().to_owned(),
                None => String::new(),
            };
            let body = to_bytes(answer.into_body(), usize::MAX).await.unwrap();
            said += std::str::from_utf8(&body).unwrap();
            assert!(said.contains(word), "{path} {user:?}: {said}");
        }
        std::fs::remove_dir_all(folder).unwrap();
    }
}
