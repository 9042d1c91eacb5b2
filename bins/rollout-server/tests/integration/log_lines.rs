//! What people and hosts say cannot forge a line of the log.

use local_fleet::{Fault, ReleaseSpec};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{Base, Running, Site};

/// What somebody would like to read in the log.
const FORGED: &str = "2001-01-01T00:00:00.000000Z  INFO forged: all is well";

/// Sends a request as it stands, and hears the answer to its end.
async fn send_raw(server: &Running, request: String) {
    let mut stream = TcpStream::connect(&server.address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // It may be cut off: then there was nothing to answer.
    let _ = stream.read_to_end(&mut answer).await;
}

/// In every place of a request that a client fills.
fn requests(token: &str) -> Vec<String> {
    let encoded = FORGED.replace(' ', "%20");
    let whole = |first: &str, more: &str| {
        format!(
            "{first} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\nconnection: close\r\n{more}\r\n"
        )
    };
    let mut all = vec![
        whole(&format!("GET /x\r\n{FORGED}"), ""),
        whole(&format!("GET /x\n{FORGED}"), ""),
        whole(&format!("GET /{FORGED}"), ""),
    ];
    for end in ["%0d%0a", "%0a", "%0d", "%1b%5b2K%0a", "%e2%80%a8", "%c2%85"] {
        for place in ["/", "/admin/updates/hosts/", "/api/hosts/", "/assets/"] {
            all.push(whole(
                &format!("GET {place}x{end}{encoded}"),
                "accept: text/html\r\n",
            ));
        }
        all.push(whole(&format!("GET /api/hosts?search=x{end}{encoded}"), ""));
        all.push(whole(
            &format!("GET /api/updates/rollouts/x{end}{encoded}"),
            "",
        ));
        let form = format!("name=x{end}{encoded}&password=x{end}{encoded}");
        let length = form.len();
        let more = format!(
            "content-type: application/x-www-form-urlencoded\r\ncontent-length: {length}\r\n"
        );
        all.push(whole("POST /login", &more) + &form);
    }
    for end in [
        "\r",
        "\n",
        "\r\n ",
        "\r\n\t",
        "\u{85}",
        "\u{2028}",
        "\u{1b}[2K\u{8}",
    ] {
        for name in [
            "user-agent",
            "x-forwarded-for",
            "cookie",
            "accept",
            "x-request-id",
            "origin",
            "referer",
        ] {
            all.push(whole("GET /api/me", &format!("{name}: x{end}{FORGED}\r\n")));
        }
        all.push(whole(&format!("GET{end}{FORGED} /"), ""));
        all.push(whole("GET /api/me", "").replace("localhost", &format!("x{end}{FORGED}")));
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_forges_a_line() {
    let site = Site::with_hosts(Base::Sqlite, 2, ReleaseSpec::good("Second")).await;
    let fleet = site.fleet.as_ref().unwrap();
    // One host says it in place of every answer, the other where its install and its service fail.
    let says = format!("printf 'x\\r\\n{FORGED}\\n\\033[2K{FORGED}\\r'");
    let hosts = fleet.hosts();
    let instead = Fault::StartupFile(format!("{says}; {says} >&2; exit 0"));
    hosts[1].set_fault(instead).await.unwrap();
    let mut server = site
        .serve_with(&[], |command| {
            command.env("ROLLOUT_LOG", "debug");
        })
        .await;
    for request in requests(&server.token) {
        send_raw(&server, request).await;
    }
    let lines = format!("x\r\n{FORGED}\n\u{1b}[2K{FORGED}");
    for (path, body) in [
        (
            "/api/users",
            json!({ "name": lines, "role": "viewer", "password": lines }),
        ),
        ("/api/tokens", json!({ "name": lines, "role": "viewer" })),
        (
            "/api/hosts",
            json!({ "name": lines, "address": lines, "user": lines, "repo": lines }),
        ),
        (
            "/api/updates/trigger",
            json!({ "on": [lines], "to": lines }),
        ),
        ("/api/hosts/demo-01/health", json!({})),
        ("/api/hosts/demo-01/scan", json!({})),
    ] {
        server.post(path, body).await;
    }
    let more = json!({ "all": true, "message": lines, "max_failure_percent": 100 });
    let (status, answer) = server.post("/api/updates/trigger", more).await;
    assert_eq!(status, 202, "{answer}");
    server.rollout_in(&["completed_with_failures"]).await;
    server.stop().await;

    let said = server.said();
    let odd = |letter: char| letter.is_control() && letter != '\n' && letter != '\t';
    assert!(!said.contains(odd), "{said}");
    let mut telling = 0;
    for line in said.lines().filter(|line| line.contains("forged")) {
        assert!(!line.trim_start().starts_with(FORGED), "forged:\n{said}");
        telling += 1;
    }
    assert!(telling > 5, "nothing of it is in the log:\n{said}");
    let levels = ["ERROR", "WARN", "INFO", "DEBUG", "TRACE"];
    let begun = said
        .lines()
        .skip_while(|line| !line.contains("listening on"));
    for line in begun.skip(1) {
        let mut words = line.split_whitespace();
        let now = words
            .next()
            .is_some_and(|at| at.ends_with('Z') && !at.starts_with("2001-01-01"));
        let level = words.next().is_some_and(|word| levels.contains(&word));
        assert!(now && level, "{line:?} in:\n{said}");
    }
    site.end().await;
}

/// As JSON every line is one object, whatever is in it.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_forges_an_object() {
    let site = Site::without_hosts().await;
    let mut server = site
        .serve_with(&["--log", "json"], |command| {
            command.env("ROLLOUT_LOG", "debug");
        })
        .await;
    for request in requests(&server.token) {
        send_raw(&server, request).await;
    }
    server.stop().await;
    let mut telling = 0;
    for line in server.said().lines() {
        let object: Value =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line:?}"));
        assert!(object["level"].is_string(), "{line}");
        telling += usize::from(line.contains("forged"));
    }
    assert!(telling > 10, "{}", server.said());
    site.end().await;
}
