//! Where people are signed in: what they see of it, and what they and admins end.

use axum::http::HeaderMap;
use fleet_store::*;
use fleet_types::{AuditResult, Role};
use serde_json::{Value, json};

use crate::world::*;

/// Anna at three places, and Bob at one.
struct People {
    world: World,
    here: String,
    there: (SessionId, String),
    elsewhere: (SessionId, String),
    bob: (SessionId, String),
}

impl People {
    async fn new() -> Self {
        let world = World::new(0).await;
        let here = world.session("anna", Role::Viewer).await;
        world.session("bob", Role::Admin).await;
        Self {
            here,
            there: world.one_more_session("anna", "192.0.2.1").await,
            elsewhere: world.one_more_session("anna", "2001:db8::7").await,
            bob: world.one_more_session("bob", "192.0.2.9").await,
            world,
        }
    }

    async fn call(&self, method: &'static str, path: &str, cookie: &str) -> Answer {
        self.world.send(as_browser(method, path, cookie)).await
    }

    /// Which of hers are open: here, there, elsewhere.
    async fn open(&self) -> [bool; 3] {
        let mut open = [false; 3];
        let cookies = [&self.here, &self.there.1, &self.elsewhere.1];
        for (open, cookie) in open.iter_mut().zip(cookies) {
            *open = self.call("GET", "/api/me", cookie).await.status == 200;
        }
        open
    }

    async fn bob_is_in(&self) -> bool {
        self.call("GET", "/api/me", &self.bob.1).await.status == 200
    }

    async fn ends_on_record(&self) -> Vec<AuditRecord> {
        let query = AuditQuery {
            action: Some("session.end".into()),
            limit: 100,
            ..AuditQuery::default()
        };
        self.world.store.audit_list(query).await.unwrap()
    }
}

fn as_browser(method: &'static str, path: &str, cookie: &str) -> Call {
    Call::new(method, path)
        .header("cookie", cookie)
        .header("sec-fetch-site", "same-origin")
}

fn listed(list: &Value) -> Vec<(&str, bool)> {
    let sessions = list["sessions"].as_array().unwrap().iter();
    sessions
        .map(|session| {
            let source = session["source"].as_str().unwrap();
            (source, session["current"].as_bool().unwrap())
        })
        .collect()
}

#[tokio::test]
async fn everybody_sees_their_own_and_no_secret() {
    let people = People::new().await;
    let answer = people.call("GET", "/api/sessions", &people.there.1).await;
    let list = answer.expect(200);
    assert_eq!(
        listed(&list),
        [("192.0.2.1", true), ("2001:db8::7", false), ("test", false)],
        "the one that asks, then the latest"
    );
    assert_eq!(list["sessions"][0]["id"], people.there.0.0.to_string());
    let session = list["sessions"][0].as_object().unwrap();
    let mut fields: Vec<&String> = session.keys().collect();
    fields.sort();
    assert_eq!(
        fields,
        ["created_at", "current", "id", "last_used_at", "source"]
    );
    let page = as_browser("GET", "/admin/account", &people.there.1).header("accept", "text/html");
    let page = people.world.send(page).await.text();
    for shown in ["192.0.2.1", "2001:db8::7", ">test<", "<b>this one</b>"] {
        assert!(page.contains(shown), "{shown}: {page}");
    }
    assert_eq!(page.matches(">End</button>").count(), 2);
    assert!(page.contains("id=\"end-others\"") && !page.contains("192.0.2.9"));
    for text in [answer.text(), page] {
        for cookie in [&people.here, &people.there.1, &people.elsewhere.1] {
            let secret = cookie.split_once('=').unwrap().1;
            let hash = secrets_hash(secret);
            assert!(!text.contains(secret) && !text.contains(&hash));
        }
    }
    // Somebody who is signed in once has nothing to end.
    people.world.session("vera", Role::Owner).await;
    let (_, vera) = people.world.one_more_session("vera", "192.0.2.2").await;
    people
        .call("DELETE", "/api/sessions", &vera)
        .await
        .expect(200);
    let page = as_browser("GET", "/admin/account", &vera).header("accept", "text/html");
    let page = people.world.send(page).await.text();
    assert!(page.contains("Nowhere else.") && !page.contains("end-others"));
}

/// As the store keeps it.
fn secrets_hash(secret: &str) -> String {
    let hash = admin_api::secrets::secret_hash(secret);
    hash.0.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn one_is_ended_or_all_others_with_a_form() {
    let people = People::new().await;
    let form = async |path: String| {
        let call = as_browser("POST", &path, &people.here).header("accept", "text/html");
        people.world.send(call).await
    };
    let done = form(format!("/admin/account/sessions/{}/end", people.there.0.0)).await;
    assert_eq!(done.header("location"), "/admin/account?ended=1");
    assert_eq!(people.open().await, [true, false, true]);
    // Once more: there is no such session now, and the page says so above what there is.
    let gone = form(format!("/admin/account/sessions/{}/end", people.there.0.0)).await;
    assert_eq!(gone.status, 404);
    assert!(gone.text().contains("id=\"problem\"") && gone.text().contains("2001:db8::7"));
    people.world.one_more_session("anna", "192.0.2.3").await;
    let done = form("/admin/account/sessions/end".to_owned()).await;
    assert_eq!(done.header("location"), "/admin/account?ended=2");
    assert_eq!(people.open().await, [true, false, false]);
    let page = as_browser("GET", "/admin/account?ended=2", &people.here);
    let page = people.world.send(page.header("accept", "text/html")).await;
    assert!(page.text().contains("Ended: 2 sessions."));
    assert!(people.bob_is_in().await);
    let rows = people.ends_on_record().await;
    assert_eq!(rows.len(), 3, "{rows:?}");
    for row in &rows {
        let who = (row.actor.name.as_str(), row.actor.source.as_str());
        assert_eq!(who, ("anna", "203.0.113.9"));
        assert_eq!(row.subject.as_deref(), Some("anna"));
        assert_eq!(row.result, AuditResult::Done);
    }
    let told = rows[2].detail.as_deref().unwrap();
    assert!(
        told.starts_with("begun ") && told.ends_with("from 192.0.2.1"),
        "{told}"
    );
}

#[tokio::test]
async fn nobody_ends_what_is_somebody_elses() {
    let people = People::new().await;
    let of_bob = people.bob.0.0.to_string();
    for id in [
        of_bob.as_str(),
        "nonsense",
        "00000000-0000-7000-8000-000000000000",
    ] {
        let api = format!("/api/sessions/{id}");
        let answer = people.call("DELETE", &api, &people.here).await;
        answer.problem(404, "not_found");
        let form = format!("/admin/account/sessions/{id}/end");
        let answer = people.call("POST", &form, &people.here).await;
        assert_eq!(answer.status, 404, "{id}");
    }
    // Nor does an admin by their own list; they end all of a person's.
    let path = format!("/api/sessions/{}", people.there.0.0);
    let answer = people.call("DELETE", &path, &people.bob.1).await;
    answer.problem(404, "not_found");
    // A program that bears her name is not her.
    let token = people.world.token_as("anna", Role::Owner).await;
    let list = people.world.get("/api/sessions", &token).await;
    assert_eq!(list.expect(200), json!({ "sessions": [] }));
    let others = Call::new("DELETE", "/api/sessions").token(&token);
    let answer = people.world.send(others).await;
    answer.problem(409, "no_session");
    let one = Call::new("DELETE", &path).token(&token);
    people.world.send(one).await.problem(404, "not_found");
    assert_eq!(people.open().await, [true; 3]);
    assert!(people.bob_is_in().await);
    assert_eq!(people.ends_on_record().await, []);
}

#[tokio::test]
async fn a_page_of_somebody_else_ends_nothing() {
    let people = People::new().await;
    let paths = [
        ("POST", "/admin/account/sessions/end".to_owned()),
        (
            "POST",
            format!("/admin/account/sessions/{}/end", people.there.0.0),
        ),
        ("DELETE", "/api/sessions".to_owned()),
        ("DELETE", format!("/api/sessions/{}", people.there.0.0)),
    ];
    for (method, path) in &paths {
        let bare = || Call::new(method, path).header("cookie", &people.here);
        for call in [
            bare(),
            bare().header("sec-fetch-site", "cross-site"),
            bare().header("origin", "http://evil.example"),
        ] {
            let answer = people.world.send(call).await;
            answer.problem(403, "cross_site");
        }
        // Looking ends nothing either.
        let look = people.call("GET", path, &people.here).await;
        assert_ne!(look.status, 303, "{path}");
    }
    let path = "/admin/users/anna/sessions/end";
    let call = Call::new("POST", path).header("cookie", &people.bob.1);
    people.world.send(call).await.problem(403, "cross_site");
    assert_eq!(people.open().await, [true; 3]);
    assert_eq!(people.ends_on_record().await, []);
}

#[tokio::test]
async fn an_admin_ends_all_of_a_person() {
    let people = People::new().await;
    let page = as_browser("GET", "/admin/users", &people.bob.1).header("accept", "text/html");
    let page = people.world.send(page).await.text();
    assert!(page.contains("aria-label=\"End all sessions of anna\""));
    let path = "/admin/users/anna/sessions/end";
    let answer = people.call("POST", path, &people.here).await;
    answer.problem(403, "forbidden");
    assert_eq!(people.open().await, [true; 3]);
    let done = people.call("POST", path, &people.bob.1).await;
    assert_eq!(done.header("location"), "/admin/users?ended=3");
    assert_eq!(people.open().await, [false; 3]);
    assert!(people.bob_is_in().await);
    let rows = people.ends_on_record().await;
    let told: Vec<(&str, Option<&str>)> = rows
        .iter()
        .map(|row| (row.actor.name.as_str(), row.subject.as_deref()))
        .collect();
    assert_eq!(told, [("bob", Some("anna")); 3]);
    // They may sign in again, and there is nobody to end nothing of.
    people.world.one_more_session("anna", "192.0.2.4").await;
    let api = |name: &str| format!("/api/users/{name}/sessions");
    let answer = people.call("DELETE", &api("anna"), &people.bob.1).await;
    assert_eq!(answer.expect(200), json!({ "ended": 1 }));
    let answer = people.call("DELETE", &api("anna"), &people.bob.1).await;
    assert_eq!(answer.expect(200), json!({ "ended": 0 }));
    let answer = people.call("DELETE", &api("nobody"), &people.bob.1).await;
    answer.problem(404, "not_found");
}

#[tokio::test]
async fn the_page_bears_any_number_of_them() {
    let people = People::new().await;
    for number in 0..90 {
        let source = format!("198.51.100.{number}");
        people.world.one_more_session("anna", &source).await;
    }
    let page = as_browser("GET", "/admin/account", &people.here).header("accept", "text/html");
    let page = people.world.send(page).await.text();
    assert!(page.contains("<b>this one</b>") && page.contains("And 43 more"));
    assert_eq!(page.matches(">End</button>").count(), 49);
    let done = people
        .call("POST", "/admin/account/sessions/end", &people.here)
        .await;
    assert_eq!(done.header("location"), "/admin/account?ended=92");
    assert_eq!(people.open().await, [true, false, false]);
}

#[tokio::test]
async fn where_somebody_comes_from_is_shown_as_text() {
    let people = People::new().await;
    let secret = admin_api::secrets::new_secret().unwrap();
    let session = NewSession {
        id: SessionId(uuid::Uuid::now_v7()),
        secret: secret.hash,
        user: "anna".parse().unwrap(),
        checked: None,
        source: "\"><script>alert(1)</script>".into(),
    };
    let by = actor();
    let opened = people.world.store.session_open(session, &by);
    opened.await.unwrap();
    let page = as_browser("GET", "/admin/account", &people.here).header("accept", "text/html");
    let page = people.world.send(page).await.text();
    assert!(page.contains("alert(1)") && !page.contains("<script>alert"));
    // One that was signed in by the door has the address that it came from.
    let door = people.world.api.sign_in().unwrap();
    let hash = admin_api::secrets::hash_password("correct horse battery".into()).await;
    let bob = "bob".parse().unwrap();
    let set = people
        .world
        .store
        .user_set_password(&bob, hash.unwrap(), &by);
    set.await.unwrap();
    let none = HeaderMap::new();
    let signed = door.sign_in("bob", "correct horse battery".into(), "198.51.100.5", &none);
    let cookie = signed.await.unwrap().set_cookie;
    let cookie = cookie.split(';').next().unwrap();
    let list = people
        .call("GET", "/api/sessions", cookie)
        .await
        .expect(200);
    assert_eq!(listed(&list), [("198.51.100.5", true)]);
}
