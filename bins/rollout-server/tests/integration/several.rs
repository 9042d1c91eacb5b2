//! Several servers on one database.

use std::time::Duration;

use local_fleet::ReleaseSpec;
use reqwest::redirect::Policy;
use reqwest::{Client, StatusCode};
use serde_json::json;
use tokio::time::timeout;

use crate::support::{Base, Running, Site, Stream, until};

on_each_database!(
    two_servers_share_the_work_and_one_finishes_it_alone
        three_servers_stay_within_the_limit_of_connections_while_one_dies
        a_session_is_the_same_on_two_servers_and_ends_on_both
);

async fn two_servers_share_the_work_and_one_finishes_it_alone(base: Base) {
    let site = Site::with_hosts(base, 10, ReleaseSpec::good("Next")).await;
    let (mut first, mut second) = (site.serve().await, site.serve().await);
    assert_eq!(second.get("/readyz").await.0, StatusCode::OK);
    let id = first.trigger().await;
    let (status, body) = second
        .post("/api/updates/trigger", json!({ "all": true }))
        .await;
    assert_eq!(
        (status, body["active"].as_str()),
        (StatusCode::CONFLICT, Some(id.as_str()))
    );
    let mut stream = second.events(Some(0)).await;
    let mut finished = 0;
    while finished < 2 {
        let message = stream.next().await.unwrap();
        finished += usize::from(message.data["type"] == "host.finished");
    }
    first.kill().await;
    let rollout = second.rollout_in(&["completed"]).await;
    assert_eq!(rollout["counts"]["success"], 10, "{rollout}");
    drop(stream);
    // What was revoked here is revoked there.
    let third = site.serve().await;
    let (_, tokens) = third.get("/api/tokens").await;
    let token = tokens["tokens"][0]["id"]
        .as_str()
        .unwrap_or_else(|| panic!("{tokens}"));
    let gone = third
        .send(
            reqwest::Method::DELETE,
            &format!("/api/tokens/{token}"),
            None,
        )
        .await;
    assert!(gone.status().is_success(), "{}", gone.status());
    until("the end of the token", async || {
        let (status, _) = second.get("/api/updates/status").await;
        (status == StatusCode::UNAUTHORIZED).then_some(())
    })
    .await;
    second.stop().await;
    site.end().await;
}

async fn three_servers_stay_within_the_limit_of_connections_while_one_dies(base: Base) {
    let site = Site::with_hosts(base, 20, ReleaseSpec::good("Next")).await;
    let fleet = site.fleet.as_ref().unwrap();
    let mut servers = Vec::new();
    for _ in 0..3 {
        servers.push(site.serve().await);
    }
    let mut stream = servers[1].events(Some(0)).await;
    servers[1].trigger().await;
    let mut finished = 0;
    while finished < 4 {
        let message = stream.next().await.unwrap();
        finished += usize::from(message.data["type"] == "host.finished");
    }
    servers[0].kill().await;
    drop(stream);
    let rollout = servers[2].rollout_in(&["completed"]).await;
    assert_eq!(rollout["counts"]["success"], 20, "{rollout}");
    let target = rollout["target"]["version"].as_str().unwrap();
    for host in fleet.hosts() {
        let head = host.head().await.unwrap();
        assert_eq!(head, target, "{}", host.name());
    }
    let most = fleet.max_connections_seen();
    assert!((2..=5).contains(&most), "{most} connections at once");
    for server in &mut servers[1..] {
        server.stop().await;
    }
    site.end().await;
}

const PASSWORD: &str = "correct horse battery";

/// A person's browser: it follows no redirect by itself.
fn browser() -> Client {
    Client::builder().redirect(Policy::none()).build().unwrap()
}

/// Signs Anna in there: the cookie of her session.
async fn sign_in(server: &Running) -> String {
    let request = browser().post(server.url("/login"));
    let form = format!("name=anna&password={}", PASSWORD.replace(' ', "+"));
    let request = request
        .header("origin", format!("http://{}", server.address))
        .header("content-type", "application/x-www-form-urlencoded");
    let answer = request.body(form).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::SEE_OTHER, "{answer:?}");
    let cookie = answer.headers()["set-cookie"].to_str().unwrap();
    cookie.split(';').next().unwrap().to_owned()
}

async fn status_of(server: &Running, cookie: &str) -> StatusCode {
    let request = server.client.get(server.url("/api/me"));
    let answer = request.header("cookie", cookie).send().await.unwrap();
    answer.status()
}

/// The stream tells that its caller may not look any more, and ends.
async fn is_revoked(stream: &mut Stream) {
    let bye = async {
        loop {
            let message = stream.next().await.expect("it says why it ends");
            if message.name.as_deref() == Some("bye") {
                assert_eq!(message.data["reason"], "revoked");
                return stream.next().await.is_none();
            }
        }
    };
    let ended = timeout(Duration::from_secs(8), bye).await;
    assert!(ended.expect("it is still open"), "more came after the end");
}

async fn a_session_is_the_same_on_two_servers_and_ends_on_both(base: Base) {
    let site = Site::without_hosts_on(base).await;
    let (mut first, mut second) = (site.serve().await, site.serve().await);
    let anna = json!({ "name": "anna", "role": "operator", "password": PASSWORD });
    let (status, body) = first.post("/api/users", anna).await;
    assert_eq!(status, StatusCode::CREATED, "{body}");
    for end in [
        "/logout",
        "/api/sessions",
        "/api/users/anna/sessions",
        "/api/users/anna/disable",
        "/api/users/anna/password",
    ] {
        let cookie = sign_in(&first).await;
        assert_eq!(status_of(&second, &cookie).await, StatusCode::OK, "{end}");
        let mut streams = [
            first.events_in_session(&cookie).await,
            second.events_in_session(&cookie).await,
        ];
        if end == "/api/sessions" {
            // By herself, from elsewhere.
            let other = sign_in(&second).await;
            end_by(&second, end, &other).await;
            assert_eq!(status_of(&first, &other).await, StatusCode::OK);
        } else {
            end_by(&first, end, &cookie).await;
        }
        for server in [&second, &first] {
            let status = status_of(server, &cookie).await;
            assert_eq!(status, StatusCode::UNAUTHORIZED, "{end}");
        }
        let [here, there] = &mut streams;
        tokio::join!(is_revoked(here), is_revoked(there));
        let (status, body) = first.post("/api/users/anna/enable", json!({})).await;
        assert_eq!(status, StatusCode::NO_CONTENT, "{body}");
    }
    first.stop().await;
    second.stop().await;
    site.end().await;
}

/// Ends the session there: by its owner, or by an admin.
async fn end_by(server: &Running, path: &str, cookie: &str) {
    let request = match path {
        "/logout" => browser()
            .post(server.url(path))
            .header("cookie", cookie)
            .header("origin", format!("http://{}", server.address)),
        "/api/sessions" => browser()
            .delete(server.url(path))
            .header("cookie", cookie)
            .header("origin", format!("http://{}", server.address)),
        "/api/users/anna/sessions" => browser()
            .delete(server.url(path))
            .bearer_auth(&server.token),
        "/api/users/anna/password" => browser()
            .put(server.url(path))
            .bearer_auth(&server.token)
            .json(&json!({ "password": "another horse battery" })),
        _ => browser().post(server.url(path)).bearer_auth(&server.token),
    };
    let status = request.send().await.unwrap().status();
    assert!(
        status.is_success() || status.is_redirection(),
        "{path}: {status}"
    );
}
