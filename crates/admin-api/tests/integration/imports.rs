//! A whole fleet pasted into a form, and errors before anybody was asked who they are.

use axum::body::Body;
use fleet_store::*;
use fleet_types::Role;
use futures_util::stream;

use crate::world::*;

/// What the form refuses: more than a mebibyte.
const MOST: usize = 1024 * 1024;

fn form(path: &str, token: &str) -> Call {
    Call::new("POST", path)
        .token(token)
        .header("accept", "text/html")
        .header("content-type", "application/x-www-form-urlencoded")
}

/// A list as people paste it, encoded as browsers do.
fn pasted(hosts: usize) -> String {
    let mut body =
        "format=csv&hosts=name%2Caddress%2Cport%2Cuser%2Ckey%2Clabels%2Cowner".to_owned();
    for at in 0..hosts {
        let (high, low) = (at / 250, at % 250 + 1);
        body.push_str(&format!(
            "%0D%0Aweb-{at:05}%2C10.0.{high}.{low}%2C22%2Cdeploy%2C%2Cregion%3Deu%2Cacme"
        ));
    }
    body
}

#[tokio::test]
async fn ten_thousand_hosts_are_pasted() {
    let world = World::new(0).await;
    let token = world.token(Role::Admin).await;
    let body = pasted(10_000);
    assert!(body.len() > 640 * 1024, "{}", body.len());
    let length = body.len().to_string();
    let call = form("/admin/hosts/import", &token).header("content-length", &length);
    let answer = world.send(call.body(body)).await;
    assert_eq!(answer.status, 303, "{}", answer.text());
    assert_eq!(answer.header("location"), "/admin/updates/hosts");
    let last = world.store.host_get(&"web-09999".parse().unwrap()).await;
    assert_eq!(last.unwrap().unwrap().owner.as_deref(), Some("acme"));
}

#[tokio::test]
async fn a_long_list_with_a_fault_is_shown_again() {
    let world = World::new(0).await;
    let token = world.token(Role::Admin).await;
    let body = pasted(2_000) + "%0D%0Awrong%2C10.1.0.1%2Cno+port%2C%2C%2C%2C";
    let answer = world
        .send(form("/admin/hosts/import", &token).body(body))
        .await;
    assert_eq!(answer.status, 422);
    let text = answer.text();
    for kept in [
        "web-00000,10.0.0.1",
        "web-01999,",
        "wrong,10.1.0.1,no port",
        "hosts.2000.port",
    ] {
        assert!(text.contains(kept), "{kept} is lost");
    }
    assert_eq!(world.store.host_list().await.unwrap().len(), 0);
}

#[tokio::test]
async fn only_a_list_of_hosts_may_be_that_long_and_only_of_those_who_may() {
    let world = World::new(0).await;
    let (admin, viewer) = (
        world.token(Role::Admin).await,
        world.token(Role::Viewer).await,
    );
    let cases = [
        ("/admin/hosts/import", &viewer, 100 * 1024, 403),
        ("/admin/hosts/import", &admin, MOST + 1, 413),
        ("/admin/hosts/new", &admin, 100 * 1024, 413),
        ("/login", &admin, 100 * 1024, 413),
    ];
    for (path, token, size, status) in cases {
        // As the request says itself, and as it turns out.
        let body = format!("x={}", "y".repeat(size));
        let length = body.len().to_string();
        let says = form(path, token).header("content-length", &length);
        let chunks = body.into_bytes();
        let chunks: Vec<_> = chunks
            .chunks(8192)
            .map(|part| Ok::<_, std::io::Error>(part.to_vec()))
            .collect();
        let whole = Body::from(vec![b'y'; size + 2]);
        for call in [
            says.body(whole),
            form(path, token).body(Body::from_stream(stream::iter(chunks))),
        ] {
            let answer = world.send(call).await;
            assert_eq!(answer.status.as_u16(), status, "{path} {size}");
        }
    }
    // Nobody reads what somebody sends who may not: the body never ends.
    let endless = stream::repeat_with(|| Ok::<_, std::io::Error>(vec![b'y'; 8192]));
    let call = form("/admin/hosts/import", &viewer).body(Body::from_stream(endless));
    assert_eq!(world.send(call).await.status.as_u16(), 403);
}

#[tokio::test]
async fn who_is_signed_in_is_not_asked_to_sign_in() {
    let world = World::new(0).await;
    let cookie = world.session("anna", Role::Admin).await;
    let length = (MOST + 1).to_string();
    let ask = |method, path: &str| {
        Call::new(method, path)
            .header("accept", "text/html")
            .header("cookie", &cookie)
            .header("sec-fetch-site", "same-origin")
    };
    let cases = [
        (
            413,
            ask("POST", "/admin/hosts/import").header("content-length", &length),
        ),
        (
            403,
            ask("POST", "/admin/hosts/import").header("sec-fetch-site", "cross-site"),
        ),
        (
            414,
            ask("GET", &format!("/admin/users?x={}", "y".repeat(5000))),
        ),
        (400, ask("GET", "/admin/users?token=x")),
        (404, ask("GET", "/admin/nothing")),
    ];
    for (status, call) in cases {
        let what = format!("{call:?}");
        let answer = world.send(call).await;
        assert_eq!(answer.status.as_u16(), status, "{what}");
        let text = answer.text();
        assert!(!text.contains("Sign in"), "{what}: {text}");
        assert!(text.contains("To the first page"), "{what}: {text}");
    }
    // Who may not do something still has their own page.
    let viewer = world.session("vera", Role::Viewer).await;
    let refused = world
        .send(ask("GET", "/admin/users").header("cookie", &viewer))
        .await;
    assert_eq!(refused.status, 403);
    assert!(
        refused.text().contains("vera (viewer)"),
        "{}",
        refused.text()
    );
    // The way on is right for those who are signed in, and for those who are not.
    let there = world.send(ask("GET", "/admin")).await;
    assert_eq!(there.header("location"), "/admin/updates");
    let stranger = Call::new("GET", "/admin").header("accept", "text/html");
    assert_eq!(
        world.send(stranger).await.header("location"),
        "/login?next=/admin"
    );
}
