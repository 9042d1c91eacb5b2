//! The router inside another service, which knows its callers itself.

use std::sync::Arc;
use std::time::Duration;

use admin_api::{
    AdminApi, ApiSettings, Caller, CallerKind, Embedding, HostProcess, Identify, IdentifyError,
};
use async_trait::async_trait;
use axum::Router;
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::routing::get;
use fleet_store::AdminStore;
use fleet_types::Role;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::world::*;

/// Callers by a header that a gateway sets; some of them are trouble.
#[derive(Debug)]
struct Gateway;

#[async_trait]
impl Identify for Gateway {
    async fn identify(&self, parts: &Parts) -> Result<Option<Caller>, IdentifyError> {
        let name = parts
            .headers
            .get("x-user")
            .and_then(|name| name.to_str().ok());
        match name {
            None => Ok(None),
            Some("trouble") => Err(IdentifyError {
                cause: "no /run/gateway.sock".into(),
            }),
            Some("panic") => panic!("a secret of the service"),
            Some("slow") => {
                tokio::time::sleep(Duration::from_secs(3600)).await;
                Ok(None)
            }
            Some(name) => Ok(Some(Caller {
                name: name.to_owned(),
                role: Role::Operator,
                source: Caller::source_of(parts),
                kind: CallerKind::Embedded,
            })),
        }
    }
}

fn service(world: &World) -> Router {
    let api = AdminApi::embedded(
        world.orchestrator.clone(),
        Arc::clone(&world.store) as Arc<dyn AdminStore>,
        Embedding::new(Arc::new(Gateway)),
        Arc::clone(&world.process) as Arc<dyn HostProcess>,
        ApiSettings::default(),
    );
    assert!(api.sign_in().is_none());
    Router::new()
        .route("/mine", get(|| async { "mine" }))
        .merge(api.router())
}

/// What embedders may want beside `/admin` and `/api`, and where strangers go.
#[tokio::test]
async fn only_what_is_asked_for_is_mounted() {
    let world = World::new(1).await;
    let whole = |embedding: Embedding| {
        AdminApi::embedded(
            world.orchestrator.clone(),
            Arc::clone(&world.store) as Arc<dyn AdminStore>,
            embedding,
            Arc::clone(&world.process) as Arc<dyn HostProcess>,
            ApiSettings::default(),
        )
        .router()
    };
    let plain = || Embedding::new(Arc::new(Gateway));
    let bare = Router::new()
        .fallback(|| async { (StatusCode::IM_A_TEAPOT, "mine") })
        .merge(whole(plain()));
    for rule in admin_api::RULES {
        let path = rule.path.replace(['{', '}', '*'], "");
        let call = Call::new(rule.method.as_str(), &path).header("x-user", "dora");
        let (status, _) = ask(&bare, call).await;
        let ours = path.starts_with("/admin") || path.starts_with("/api");
        assert_eq!(status == 418, !ours, "{rule:?}: {status}");
    }
    // What is not ours is not ours under any name.
    let elsewhere = Call::new("GET", "/theirs").header("host", "any.example");
    assert_eq!(ask(&bare, elsewhere).await, (418, "mine".to_owned()));

    let html = || Call::new("GET", "/admin/updates").header("accept", "text/html");
    let (status, page) = ask(&bare, html()).await;
    assert_eq!(status, 401);
    assert!(!page.contains("/login"), "{page}");
    for (address, to) in [
        ("/enter", "/enter?next=/admin/updates"),
        ("/admin/enter", "/admin/enter?next=/admin/updates"),
        (
            "https://id.example/?app=7",
            "https://id.example/?app=7&next=/admin/updates",
        ),
    ] {
        let service = whole(plain().sign_in_at(address));
        let response = service.clone().oneshot(html().request()).await.unwrap();
        assert_eq!(response.status(), 303);
        assert_eq!(response.headers()["location"], to);
        // The scripts of the pages know it by that from a page of ours.
        let (_, page) = ask(&service, html().header("x-user", "dora")).await;
        let told = format!("data-sign-in=\"{address}\"");
        assert!(page.contains(&told), "{told}: {page}");
    }
    let more = whole(plain().with_dashboard().with_process_routes());
    for path in ["/dashboard", "/healthz", "/readyz", "/metrics"] {
        let call = Call::new("GET", path).header("x-user", "dora");
        assert_eq!(ask(&more, call).await.0, 200, "{path}");
    }
}

async fn ask(service: &Router, call: Call) -> (u16, String) {
    let response = service.clone().oneshot(call.request()).await.unwrap();
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

fn by(user: &str) -> Call {
    Call::new("GET", "/api/me").header("x-user", user)
}

#[tokio::test(start_paused = true)]
async fn a_service_brings_its_own_callers() {
    let world = World::new(2).await;
    let service = service(&world);
    assert_eq!(
        ask(
            &service,
            Call::new("GET", "/mine").header("host", "any.example")
        )
        .await,
        (200, "mine".to_owned())
    );
    let (status, me) = ask(&service, by("dora")).await;
    let me: Value = serde_json::from_str(&me).unwrap();
    assert_eq!(
        (status, &me["kind"], &me["name"]),
        (200, &json!("embedded"), &json!("dora"))
    );
    assert_eq!(ask(&service, Call::new("GET", "/api/me")).await.0, 401);
    // The sign-in of the store counts for nothing here.
    let token = world.token(Role::Admin).await;
    assert_eq!(
        ask(&service, Call::new("GET", "/api/me").token(&token))
            .await
            .0,
        401
    );
    let trigger = Call::new("POST", "/api/updates/trigger")
        .header("x-user", "dora")
        .json(&json!({ "all": true }));
    assert_eq!(ask(&service, trigger).await.0, 202);
    assert_eq!(
        ask(
            &service,
            Call::new("GET", "/api/users").header("x-user", "dora")
        )
        .await
        .0,
        403
    );
}

#[tokio::test(start_paused = true)]
async fn trouble_of_the_service_says_nothing_of_it() {
    let world = World::new(0).await;
    let service = service(&world);
    for (user, status, code) in [
        ("trouble", 503, "identity_unavailable"),
        ("panic", 500, "internal"),
        ("slow", 503, "timeout"),
    ] {
        let (got, body) = ask(&service, by(user)).await;
        let problem: Value = serde_json::from_str(&body).unwrap();
        assert_eq!((got, &problem["code"]), (status, &json!(code)), "{body}");
        assert!(!body.contains("secret") && !body.contains("/run"), "{body}");
        assert_eq!(problem["request_id"].as_str().unwrap().len(), 36);
    }
    assert_eq!(ask(&service, by("dora")).await.0, 200, "and life goes on");
}
