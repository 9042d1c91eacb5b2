//! One connection.

use std::convert::Infallible;
use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::response::Response;
use hyper::Request;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::arriving::Exchange;
use super::held::Held;
use super::lingering::Lingering;
use super::places::Seat;
use super::progress::{HEAD_TIME, IDLE_TIME, Progress};
use crate::metrics::requests;

/// Longest head of a request, in bytes.
const HEAD_MOST: usize = 32 * 1024;
/// Whoever takes nothing of what is sent for this long is gone.
const SEND_TIME: Duration = Duration::from_secs(30);
/// At the end it is looked this often whether a request has become whole.
const LAST_LOOK: Duration = Duration::from_secs(1);

/// Serves one connection to its end. When `stop` is cancelled it ends with the request it is in.
pub(crate) async fn serve(
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    seat: Arc<Seat>,
    stop: CancellationToken,
) {
    tune(&stream);
    converse(stream, peer, router, seat, stop).await;
}

async fn converse<S>(
    stream: S,
    peer: SocketAddr,
    router: Router,
    seat: Arc<Seat>,
    stop: CancellationToken,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let progress = Arc::new(Progress::new());
    let stream = Lingering::new(stream, Arc::clone(&progress));
    let follows = Arc::new(AtomicBool::new(false));
    let service = service_fn(|request| {
        let (request, exchange) = Exchange::of(request, Arc::clone(&seat), Arc::clone(&progress));
        answer(
            request,
            peer,
            router.clone(),
            exchange,
            Arc::clone(&follows),
        )
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        // It begins with the wait for the head.
        .header_read_timeout(IDLE_TIME + HEAD_TIME)
        .max_header_size(HEAD_MOST)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let served = async {
        tokio::select! {
            biased;
            ended = connection.as_mut() => Some(ended),
            () = seat.give_way().cancelled() => {
                if seat.is_idle() {
                    return None;
                }
                // A whole request came just then: it is answered, and is the last one.
                connection.as_mut().graceful_shutdown();
                tokio::select! {
                    ended = connection => Some(ended),
                    () = never_whole(&seat) => None,
                }
            }
            () = stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                tokio::select! {
                    ended = connection => Some(ended),
                    () = gives_way(&seat) => None,
                    () = never_whole(&seat) => None,
                }
            }
        }
    };
    let ended = tokio::select! {
        // What has come is heard before its time is over, also when this process stood still meanwhile.
        biased;
        ended = served => ended,
        () = progress.is_too_slow() => None,
    };
    if let Some(Err(error)) = ended {
        if follows.load(Ordering::Relaxed) && took_nothing(&error) {
            requests::count_lagged();
        }
        tracing::debug!(%peer, %error, "a connection ended");
    }
}

/// Whether the system gave the connection up, for the other side took nothing of what was sent for [`SEND_TIME`].
fn took_nothing(error: &hyper::Error) -> bool {
    let cause = error.source().and_then(|cause| cause.downcast_ref());
    cause.is_some_and(|cause: &io::Error| cause.kind() == io::ErrorKind::TimedOut)
}

/// Waits until the connection has to give way, and is idle.
async fn gives_way(seat: &Seat) {
    seat.give_way().cancelled().await;
    if !seat.is_idle() {
        never_whole(seat).await;
    }
}

/// Waits until there is no whole request at two looks in a row, so that what was answered between them is on its way: a
/// client that sends slowly holds up no end.
async fn never_whole(seat: &Seat) {
    let mut was_idle = false;
    loop {
        sleep(LAST_LOOK).await;
        let idle = seat.is_idle();
        if idle && was_idle {
            return;
        }
        was_idle = idle;
    }
}

/// Answers one request, and notes whether an event stream is the answer.
async fn answer(
    mut request: Request<Body>,
    peer: SocketAddr,
    router: Router,
    exchange: Arc<Exchange>,
    follows: Arc<AtomicBool>,
) -> Result<Response, Infallible> {
    request.extensions_mut().insert(ConnectInfo(peer));
    let response = router.oneshot(request).await?;
    let stream = requests::is_stream(&response);
    follows.store(stream, Ordering::Relaxed);
    // A stream of events has no end.
    if !stream {
        exchange.answers();
    }
    Ok(response.map(|body| Held::wrap(body, exchange)))
}

/// Without these, a peer that is gone without a word holds its place for hours. Where they are refused, it does.
fn tune(stream: &TcpStream) {
    use rustix::net::sockopt;
    let _ = stream.set_nodelay(true);
    let _ = sockopt::set_socket_keepalive(stream, true);
    let _ = sockopt::set_tcp_keepidle(stream, SEND_TIME);
    let millis = u32::try_from(SEND_TIME.as_millis()).unwrap_or(u32::MAX);
    let _ = sockopt::set_tcp_user_timeout(stream, millis);
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::pin::Pin;
    use std::sync::OnceLock;
    use std::task::{Context, Poll};

    use axum::body::{Bytes, HttpBody};
    use axum::http::StatusCode;
    use axum::http::header::CONTENT_TYPE;
    use axum::routing::{get, post};
    use hyper::body::Frame;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::task::{JoinHandle, yield_now};
    use tokio::time::{Instant, timeout};

    use super::super::places::Places;
    use super::super::progress::ANSWER_TIME;
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    /// What is on its way at most: less than anything large here.
    const ON_THE_WAY: usize = 16 * 1024;

    /// A client's end, and when the connection ends. Nothing but time passes between them, so that an hour of
    /// waiting is over at once.
    async fn connect(router: Router) -> (DuplexStream, JoinHandle<Instant>) {
        let seat = Places::new(1).take().await;
        connect_at(router, seat)
    }

    fn connect_at(router: Router, seat: Arc<Seat>) -> (DuplexStream, JoinHandle<Instant>) {
        let (client, stream) = duplex(ON_THE_WAY);
        let peer = SocketAddr::from(([127, 0, 0, 1], 1));
        let stop = CancellationToken::new();
        let served = tokio::spawn(async move {
            converse(stream, peer, router, seat, stop).await;
            Instant::now()
        });
        (client, served)
    }

    /// Answers with a dot.
    fn router() -> Router {
        let endless = |kind| get(move || async move { ([(CONTENT_TYPE, kind)], Body::new(Long)) });
        Router::new()
            .route("/", get(async || "."))
            .route("/later", get(async || sleep(ANSWER_TIME * 2).await))
            .route("/large", get(async || "x".repeat(ON_THE_WAY * 8)))
            .route("/unread-large", post(async || "x".repeat(ON_THE_WAY * 8)))
            .route("/unread", post(async || (StatusCode::FORBIDDEN, ".")))
            .route("/download", endless("text/html"))
            .route("/stream", endless(requests::EVENT_STREAM))
    }

    /// Says this, and reads the answer that ends with a dot.
    async fn is_answered(client: &mut DuplexStream, request: &[u8]) -> bool {
        if client.write_all(request).await.is_err() {
            return false;
        }
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n.") {
            match client.read_buf(&mut answer).await {
                Ok(0) | Err(_) => return false,
                Ok(_) => {}
            }
        }
        true
    }

    /// How long until the connection has ended.
    async fn ended_after(served: JoinHandle<Instant>) -> Duration {
        let since = Instant::now();
        let ended = timeout(IDLE_TIME * 2, served).await;
        ended.expect("it does not end").unwrap() - since
    }

    #[track_caller]
    fn assert_about(took: Duration, limit: Duration) {
        assert!(took >= limit && took <= limit + SECOND * 2, "{took:?}");
    }

    #[tokio::test]
    async fn who_is_asked_to_give_way_with_a_whole_request_is_answered_first() {
        let seat = Places::new(1).take().await;
        let asks: Arc<OnceLock<CancellationToken>> = Arc::default();
        asks.set(seat.give_way().clone()).unwrap();
        let answer = move || async move {
            asks.get().unwrap().cancel();
            yield_now().await;
            "the whole answer"
        };
        let (mut client, _served) = connect_at(Router::new().route("/", get(answer)), seat);
        client.write_all(&ask("/")).await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert!(answer.ends_with("the whole answer"), "{answer:?}");
    }

    /// A body that there is always more of.
    struct Long;

    impl HttpBody for Long {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            let some = Bytes::from_static(&[b'x'; 65536]);
            Poll::Ready(Some(Ok(Frame::data(some))))
        }
    }

    fn ask(path: &str) -> Vec<u8> {
        format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n").into_bytes()
    }

    /// Sends a body that nobody reads.
    fn send(length: usize) -> Vec<u8> {
        send_to("/unread", length)
    }

    fn send_to(path: &str, length: usize) -> Vec<u8> {
        let head =
            format!("POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {length}\r\n\r\n");
        [head.into_bytes(), vec![b'x'; length]].concat()
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_kept_for_longer_than_proxies_keep_theirs() {
        let (mut client, served) = connect(router()).await;
        for before in [ask("/"), send(1), send(ON_THE_WAY * 2 / 3)] {
            for idle in [0, 9, 10, 11, 60, 120, 600, 619] {
                assert!(is_answered(&mut client, &before).await, "before {idle} s");
                sleep(SECOND * idle).await;
            }
        }
        assert!(is_answered(&mut client, &ask("/")).await);
        assert_about(ended_after(served).await, IDLE_TIME);
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_has_ten_seconds() {
        let (_silent, served) = connect(router()).await;
        assert_about(ended_after(served).await, HEAD_TIME);
        for idle in [None, Some(0), Some(60), Some(619)] {
            for seconds in [9, 11] {
                let (mut client, served) = connect(router()).await;
                if let Some(idle) = idle {
                    assert!(is_answered(&mut client, &ask("/")).await);
                    sleep(SECOND * idle).await;
                }
                let since = Instant::now();
                let request = ask("/");
                let (begin, end) = request.split_at(request.len() - 2);
                for byte in &begin[..9] {
                    client.write_all(&[*byte]).await.unwrap();
                    sleep(SECOND * seconds / 9).await;
                }
                client.write_all(&begin[9..]).await.unwrap_or_default();
                let answered = is_answered(&mut client, end).await;
                assert_eq!(answered, seconds == 9, "{idle:?}");
                if !answered {
                    assert_about(served.await.unwrap() - since, HEAD_TIME);
                }
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_handler_takes_is_its_own_affair() {
        let (mut client, _served) = connect(router()).await;
        client.write_all(&ask("/later")).await.unwrap();
        let mut answer = Vec::new();
        client.read_buf(&mut answer).await.unwrap();
        assert!(answer.starts_with(b"HTTP/1.1 200"), "{answer:?}");
        assert!(is_answered(&mut client, &ask("/")).await);
    }

    #[tokio::test(start_paused = true)]
    async fn who_never_takes_the_answer_loses_the_place_unless_it_has_no_end() {
        for before in [ask("/"), send(1), send(ON_THE_WAY * 2 / 3)] {
            let (mut client, served) = connect(router()).await;
            assert!(is_answered(&mut client, &before).await);
            sleep(ANSWER_TIME / 2).await;
            client.write_all(&ask("/stream")).await.unwrap();
            assert!(timeout(ANSWER_TIME * 30, served).await.is_err());

            let (mut client, served) = connect(router()).await;
            assert!(is_answered(&mut client, &before).await);
            sleep(ANSWER_TIME / 2).await;
            client.write_all(&ask("/download")).await.unwrap();
            assert_about(ended_after(served).await, ANSWER_TIME);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_asks_for_more_than_they_take_loses_the_place() {
        for length in [1, ON_THE_WAY * 2 / 3] {
            let (mut client, served) = connect(router()).await;
            let requests = [send_to("/unread-large", length), ask("/"), ask("/")].concat();
            client.write_all(&requests).await.unwrap();
            assert_about(ended_after(served).await, ANSWER_TIME);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_was_asked_to_give_way_and_takes_nothing_loses_the_place_too() {
        let seat = Places::new(1).take().await;
        let (mut client, served) = connect_at(router(), Arc::clone(&seat));
        client.write_all(&ask("/download")).await.unwrap();
        sleep(SECOND).await;
        seat.give_way().cancel();
        assert_about(ended_after(served).await, ANSWER_TIME - SECOND);
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_waits_behind_a_slow_answer_is_answered() {
        let (mut client, _served) = connect(router()).await;
        let both = [ask("/large"), ask("/")].concat();
        client.write_all(&both[..both.len() - 9]).await.unwrap();
        let mut answer = vec![0; ON_THE_WAY / 2];
        client.read_exact(&mut answer).await.unwrap();
        client.write_all(&both[both.len() - 9..]).await.unwrap();
        for _ in 0..15 {
            sleep(HEAD_TIME / 2).await;
            client.read_exact(&mut answer).await.unwrap();
        }
        assert!(is_answered(&mut client, b"").await);
    }

    #[tokio::test(start_paused = true)]
    async fn half_a_head_behind_a_slow_answer_has_ten_seconds_from_its_end() {
        let (mut client, served) = connect(router()).await;
        client.write_all(&ask("/large")).await.unwrap();
        let mut answer = vec![0; ON_THE_WAY / 2];
        client.read_exact(&mut answer).await.unwrap();
        client.write_all(&ask("/")[..9]).await.unwrap();
        // Then what is left of it is on the way.
        for _ in 0..14 {
            sleep(HEAD_TIME / 2).await;
            client.read_exact(&mut answer).await.unwrap();
        }
        assert_about(ended_after(served).await, HEAD_TIME);
    }
}
