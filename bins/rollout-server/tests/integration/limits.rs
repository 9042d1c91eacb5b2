//! Clients that are slow, many, or say too much.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use local_fleet::ReleaseSpec;
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::support::{Base, LIMIT, Running, Site, client, until};

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

/// Follows the feed from its beginning, and reads nothing of it. There is room for little of it on the way.
async fn follow_and_take_nothing(server: &Running) -> TcpStream {
    let (address, token) = (&server.address, &server.token);
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(2304).unwrap();
    let mut stream = socket.connect(address.parse().unwrap()).await.unwrap();
    let head = format!(
        "GET /api/updates/events?after=0 HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {token}\r\n\
         accept: text/event-stream\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_takes_nothing_is_cut_and_counted() {
    let site = Site::with_hosts(Base::Sqlite, 4, ReleaseSpec::good("Next")).await;
    let mut server = site.serve().await;
    // Much to read, far more than there is room for on the way.
    server.trigger().await;
    server.rollout_in(&["completed"]).await;
    let lagged = async || {
        let url = server.url("/metrics");
        let asked = server.client.get(url).bearer_auth(&server.token);
        let text = asked.send().await.unwrap().text().await.unwrap();
        let mut lines = text.lines();
        let told = lines.find_map(|line| line.strip_prefix("rollout_server_sse_lagged_total "));
        told.unwrap().parse::<u64>().unwrap()
    };
    assert_eq!(lagged().await, 0);
    let mut reads = server.events(Some(0)).await;
    let first = reads.next().await.unwrap();
    // Whoever goes by themselves was not too slow.
    drop(server.events(Some(0)).await);
    let _stuck = follow_and_take_nothing(&server).await;
    until("a stream that was cut", async || {
        let count = lagged().await;
        assert!(count <= 1, "{count}");
        (count == 1).then_some(())
    })
    .await;
    // The one that is read is there as before.
    assert!(reads.next().await.unwrap().id > first.id);
    server.stop().await;
    site.end().await;
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

/// Begins a request and sends a byte of its body now and then; when the server has had enough, begins another one. Counts
/// the bodies begun.
async fn trickle(address: String, head: String, number: u64, begun: Arc<AtomicUsize>) {
    // Not all at the same moment.
    let pause = Duration::from_millis(1000 + (number * 37) % 2000);
    loop {
        if let Ok(mut stream) = TcpStream::connect(&address).await
            && stream.write_all(head.as_bytes()).await.is_ok()
        {
            begun.fetch_add(1, Ordering::Relaxed);
            let mut answer = [0; 1];
            // Whatever it says, it has had enough.
            while timeout(pause, stream.read(&mut answer)).await.is_err()
                && stream.write_all(b"x").await.is_ok()
            {}
        }
        tokio::time::sleep(pause).await;
    }
}

fn heads(server: &Running) -> [String; 2] {
    let (address, token) = (&server.address, &server.token);
    [
        format!(
            "POST /login HTTP/1.1\r\nhost: {address}\r\norigin: http://{address}\r\n\
             content-type: application/x-www-form-urlencoded\r\ncontent-length: 5000\r\n\r\nname="
        ),
        format!(
            "POST /api/hosts HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {token}\r\n\
             content-type: application/json\r\ncontent-length: 5000\r\n\r\n{{"
        ),
    ]
}

/// Requests of a client who does as one should: the answers come within a second, but for one or two in which this machine
/// did something else.
async fn in_time(server: &Running, path: &str, bodies: &[Value], expected: StatusCode) {
    let mut late = Vec::new();
    for body in bodies {
        let began = Instant::now();
        let (status, answer) = server.post(path, body.clone()).await;
        let took = began.elapsed();
        assert_eq!(status, expected, "{path}: {answer}");
        assert!(took < Duration::from_secs(5), "{path}: {took:?} {answer}");
        if took > Duration::from_secs(1) {
            late.push(took);
        }
    }
    assert!(late.len() <= 2, "{path}: {late:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_slow_senders_hold_up_nobody() {
    const SENDERS: usize = 2000;
    let site = Site::with_hosts(Base::Sqlite, 1, ReleaseSpec::good("Next")).await;
    // With the usual limit there is room for all of them; with the other one they have to give way.
    for limit in ["", "[server]\nmax_connections = 1000\n"] {
        site.configure(limit);
        let mut server = site.serve().await;
        // Who keeps a connection that others need more finds it cut when it is used again; each request comes anew here.
        let builder = Client::builder().pool_max_idle_per_host(0);
        server.client = builder.timeout(LIMIT).build().unwrap();
        let (_, hosts) = server.get("/api/hosts").await;
        let host = hosts["hosts"][0]["name"].as_str().unwrap();
        let clear = format!("/api/hosts/{host}/clear");
        let heads = heads(&server);
        let begun = Arc::new(AtomicUsize::new(0));
        let mut senders = JoinSet::new();
        for number in 0..SENDERS {
            let (head, address) = (&heads[number % heads.len()], &server.address);
            let sender = trickle(
                address.clone(),
                head.clone(),
                number as u64,
                Arc::clone(&begun),
            );
            senders.spawn(sender);
        }
        // They are there once all have come, and those who came before somebody else have been let in and looked up.
        until("a crowd", async || {
            let all = begun.load(Ordering::Relaxed) >= SENDERS;
            let request = server.client.get(server.url("/api/updates/status"));
            let answer = request.bearer_auth(&server.token).send();
            let let_in = all && answer.await.is_ok();
            let_in.then_some(())
        })
        .await;
        in_time(&server, &clear, &vec![json!({}); 20], StatusCode::OK).await;
        let all = json!({ "all": true });
        in_time(
            &server,
            "/api/updates/trigger",
            &[all],
            StatusCode::ACCEPTED,
        )
        .await;
        senders.shutdown().await;
        server.rollout_in(&["completed"]).await;
        server.stop().await;
    }
    site.end().await;
}

/// Sends a body that is too large, with its length said before or in chunks, for as long as it is taken: the bytes that
/// were, and the status of the answer.
async fn send_too_much(server: &Running, chunked: bool) -> (usize, String) {
    let mut stream = TcpStream::connect(&server.address).await.unwrap();
    let (address, token) = (&server.address, &server.token);
    let length = if chunked {
        "transfer-encoding: chunked"
    } else {
        "content-length: 100000000"
    };
    let head = format!(
        "POST /api/updates/trigger HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {token}\r\n\
         content-type: application/json\r\n{length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x10000));
    let part = if chunked {
        chunk.as_bytes()
    } else {
        &chunk.as_bytes()[7..7 + 0x10000]
    };
    let (mut reader, mut writer) = stream.into_split();
    let mut status = vec![0; b"HTTP/1.1 413".len()];
    let mut sent = 0;
    let send = async {
        // Far more than is ever taken.
        for _ in 0..1000 {
            if writer.write_all(part).await.is_err() {
                break;
            }
            sent += part.len();
        }
    };
    let (_, answered) = tokio::join!(send, reader.read_exact(&mut status));
    answered.unwrap();
    (sent, String::from_utf8(status).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_are_refused_take_no_memory() {
    const ALL: usize = 800 << 20;
    const MOST: u64 = 50 << 20;
    let site = Site::without_hosts().await;
    let mut server = site.serve().await;
    let (mut sent, mut at_first) = (0, None);
    let mut bodies = 0_u32;
    while sent < ALL {
        let (one, other) =
            tokio::join!(send_too_much(&server, true), send_too_much(&server, false));
        for (bytes, status) in [one, other] {
            assert_eq!(status, "HTTP/1.1 413");
            assert!(bytes < 64 << 20, "it took {bytes} bytes of one body");
            sent += bytes;
        }
        bodies += 2;
        // What the first requests need is needed once.
        if bodies >= 20 {
            let now = server.memory();
            let before = *at_first.get_or_insert(now);
            let grown = now.saturating_sub(before);
            assert!(grown < MOST, "{grown} bytes more after {bodies} bodies");
        }
    }
    assert!(at_first.is_some(), "only {bodies} bodies");
    server.stop().await;
}
