//! What keeps a server from starting, and what it says the first time.

use std::time::Duration;

use reqwest::StatusCode;
use serde_json::Value;

use crate::support::Site;

#[test]
fn what_is_wrong_is_said_before_anything_is_done() {
    let site = Site::empty();
    let file = |text: &str| std::fs::write(site.path("rollout.toml"), text).unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    for (text, arguments, variable, code, word) in [
        ("[server]\nport = 1\n", vec![], None, 2, "line 2, column 1"),
        ("", vec!["--listen", "0.0.0.0:0"], None, 2, "--behind-proxy"),
        (
            "",
            vec![],
            Some(("ROLLOUT_LISTEN", "[::]:0")),
            2,
            "--behind-proxy",
        ),
        (
            "",
            vec![],
            Some(("ROLLOUT_LISTEN", "here")),
            2,
            "ROLLOUT_LISTEN",
        ),
        ("", vec![], Some(("ROLLOUT_LOG", "a=b=c")), 2, "ROLLOUT_LOG"),
        ("", vec!["--listen", "localhost"], None, 2, "--listen"),
        (
            "",
            vec!["--demo", "--listen", "0.0.0.0:0"],
            None,
            2,
            "loopback alone",
        ),
        (
            "",
            vec!["--demo", "--config", "x"],
            None,
            2,
            "cannot be used with",
        ),
        (
            "",
            vec!["--listen", &taken],
            None,
            1,
            "cannot be listened on",
        ),
        (
            "",
            vec![
                "--database-url",
                "sqlite:///proc/x/y.db",
                "--listen",
                "127.0.0.1:0",
            ],
            None,
            1,
            "database",
        ),
    ] {
        file(text);
        let (ended, said) = site.refuse(&arguments, |command| {
            command.envs(variable);
        });
        assert_eq!(ended, code, "{text:?} {arguments:?}: {said}");
        assert!(said.contains(word), "{text:?} {arguments:?}: {said}");
        assert!(!said.contains("panicked"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_start_offers_the_place_of_the_first_admin() {
    let site = Site::empty();
    let mut server = site.serve().await;
    let said = server.has_said("listening on").await;
    let secret = said.split("setup secret: ").nth(1).unwrap();
    let secret = secret.lines().next().unwrap().to_owned();
    assert!(secret.len() >= 40, "{said}");
    assert!(said.contains(&server.url("/")), "{said}");
    assert_eq!(server.get("/api/users").await.0, StatusCode::UNAUTHORIZED);
    server.stop().await;
    // Said once, not kept.
    assert_eq!(server.said().matches(&secret).count(), 1);
    let database = std::fs::read(site.database()).unwrap();
    assert!(
        !database
            .windows(secret.len())
            .any(|part| part == secret.as_bytes())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_as_json_is_json_in_every_line() {
    let site = Site::without_hosts().await;
    let mut server = site
        .serve_with(&["--log", "json"], |command| {
            command.env("ROLLOUT_LOG", "debug");
        })
        .await;
    let _ = server.get("/api/updates/status").await;
    server.stop().await;
    let said = server.has_said("\"stopped\"").await;
    for line in said.lines() {
        let parsed: Value =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(
            parsed["message"].is_string() && parsed["level"].is_string(),
            "{line}"
        );
    }
    assert!(!said.contains(&server.token), "{said}");
    assert!(server.ended().await.1 < Duration::from_secs(1));
}
