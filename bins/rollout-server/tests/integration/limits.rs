//! Clients that are slow, many, or say too much.

use std::time::{Duration, Instant};

use reqwest::StatusCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{Site, client};

/// Sends a head of a request a byte at a time: how long until the server has enough of it.
async fn drip(address: String) -> Duration {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let began = Instant::now();
    let mut answer = [0; 1];
    for byte in b"GET /healthz HTTP/1.1\r\nhost: "
        .iter()
        .chain(std::iter::repeat(&b'x'))
    {
        if stream.write_all(&[*byte]).await.is_err() {
            break;
        }
        let wait = Duration::from_millis(200);
        // It ends the connection, or says what is wrong first; anything but silence is the end.
        if tokio::time::timeout(wait, stream.read(&mut answer))
            .await
            .is_ok()
        {
            break;
        }
        assert!(
            began.elapsed() < Duration::from_secs(30),
            "it is still listened to"
        );
    }
    began.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_and_idle_clients_hold_nothing_up() {
    let site = Site::without_hosts().await;
    let mut server = site.serve().await;
    let dripping = tokio::spawn(drip(server.address.clone()));
    let mut idle = Vec::new();
    for _ in 0..2000 {
        idle.push(TcpStream::connect(&server.address).await.unwrap());
    }
    while !dripping.is_finished() {
        let began = Instant::now();
        assert_eq!(server.get("/api/updates/status").await.0, StatusCode::OK);
        assert!(
            began.elapsed() < Duration::from_secs(1),
            "{:?}",
            began.elapsed()
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let cut_after = dripping.await.unwrap();
    assert!(cut_after >= Duration::from_secs(9), "{cut_after:?}");
    assert!(cut_after <= Duration::from_secs(12), "{cut_after:?}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_too_many_takes_the_place_of_an_idle_connection() {
    let site = Site::without_hosts().await;
    std::fs::write(site.path("rollout.toml"), "[server]\nmax_connections = 8\n").unwrap();
    let mut server = site.serve().await;
    let mut busy = server.events(None).await;
    let mut idle = Vec::new();
    for _ in 0..30 {
        idle.push(TcpStream::connect(&server.address).await.unwrap());
    }
    let began = Instant::now();
    assert_eq!(server.get("/api/updates/status").await.0, StatusCode::OK);
    assert!(
        began.elapsed() < Duration::from_secs(1),
        "{:?}",
        began.elapsed()
    );
    // The first ones were cut, and the stream, which is older than all of them, was not.
    let mut byte = [0; 1];
    assert_eq!(idle[0].read(&mut byte).await.unwrap_or(0), 0);
    server.stop().await;
    assert_eq!(busy.next().await.unwrap().name.as_deref(), Some("bye"));
}

/// Sends all of a request but the end of its body, once the server asks for the body.
pub(crate) async fn almost_ask(address: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!(
        "POST /login HTTP/1.1\r\nhost: {address}\r\norigin: http://{address}\r\nexpect: 100-continue\r\n\
         content-type: application/x-www-form-urlencoded\r\ncontent-length: 26\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = vec![0; b"HTTP/1.1 100 Continue\r\n\r\n".len()];
    stream.read_exact(&mut answer).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 100"), "{answer:?}");
    stream.write_all(b"name=anna&password=wron").await.unwrap();
    stream
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_does_not_end_keeps_no_place() {
    let site = Site::without_hosts().await;
    std::fs::write(site.path("rollout.toml"), "[server]\nmax_connections = 8\n").unwrap();
    let mut server = site.serve().await;
    let mut slow = Vec::new();
    for _ in 0..8 {
        slow.push(almost_ask(&server.address).await);
    }
    let began = Instant::now();
    assert_eq!(server.get("/api/updates/status").await.0, StatusCode::OK);
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "{:?}",
        began.elapsed()
    );
    // The oldest gave way, and only that: the last one ends its body and is answered.
    let mut byte = [0; 1];
    assert_eq!(slow[0].read(&mut byte).await.unwrap_or(0), 0);
    let last = slow.last_mut().unwrap();
    last.write_all(b"g!!").await.unwrap();
    let mut status = vec![0; b"HTTP/1.1 422".len()];
    last.read_exact(&mut status).await.unwrap();
    assert_eq!(status, b"HTTP/1.1 422");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_and_bodies_that_are_too_large_are_refused() {
    let site = Site::without_hosts().await;
    let mut server = site.serve().await;
    let large = "x".repeat(40 * 1024);
    let response = server
        .client
        .get(server.url("/healthz"))
        .header("x-large", large)
        .send()
        .await
        .unwrap();
    assert_eq!(
        response.status(),
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE
    );
    let response = server
        .client
        .post(server.url("/api/updates/trigger"))
        .bearer_auth(&server.token)
        .header("content-type", "application/json")
        .body(" ".repeat(200 * 1024))
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE);
    // The connections of these were ended; another client knows of none.
    server.client = client();
    let (status, body) = server.get("/api/updates/status").await;
    assert_eq!(
        (status, body["rollout"].is_null()),
        (StatusCode::OK, true),
        "{body}"
    );
    server.stop().await;
}
