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
use axum::extract::ConnectInfo;
use axum::response::Response;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::arriving::Exchange;
use super::held::Held;
use super::lingering::Lingering;
use super::places::Seat;
use crate::metrics::requests;

/// From the beginning of a connection, or the first byte of a later request, to the end of the request's head.
const HEAD_TIME: Duration = Duration::from_secs(10);
/// For so long a connection is kept for another request. Caddy keeps its side for 120 s, nginx and load balancers for 60 s:
/// whoever sends a request just when the other side closes cannot know whether it was heard, so that the one who sends
/// should be the one who closes.
const IDLE_TIME: Duration = Duration::from_secs(150);
/// Longest head of a request, in bytes.
const HEAD_MOST: usize = 32 * 1024;
/// Whoever takes nothing of what is sent for this long is gone.
const SEND_TIME: Duration = Duration::from_secs(30);
/// Whoever takes longer than this for an answer that has an end reads so slowly that others need the place more.
const ANSWER_TIME: Duration = Duration::from_secs(120);
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
    let give_way = seat.give_way().clone();
    let stream = Lingering::new(stream, Arc::clone(&seat));
    let own = Arc::clone(&seat);
    let follows = Arc::new(AtomicBool::new(false));
    let follow = Arc::clone(&follows);
    let service = service_fn(move |request| {
        let (seat, follow) = (Arc::clone(&seat), Arc::clone(&follow));
        answer(request, peer, router.clone(), seat, follow)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        // It runs while there is no request, too.
        .header_read_timeout(IDLE_TIME)
        .max_header_size(HEAD_MOST)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = too_slow(&own) => return,
        () = give_way.cancelled() => {
            if own.is_idle() {
                return;
            }
            // A whole request came just then: it is answered, and is the last one.
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                ended = connection => ended,
                () = never_whole(&own) => return,
            }
        }
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                ended = connection => ended,
                () = gives_way(&own) => return,
                () = never_whole(&own) => return,
            }
        }
    };
    if let Err(error) = ended {
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

/// Waits until the head of a request, or an answer, has been on its way for longer than it may.
async fn too_slow(seat: &Seat) {
    loop {
        let head = HEAD_TIME.saturating_sub(seat.has_waited_for_head());
        let answer = ANSWER_TIME.saturating_sub(seat.has_been_sending());
        // What begins meanwhile is looked at before its time is over.
        match head.min(answer) {
            Duration::ZERO => return,
            left => sleep(left).await,
        }
    }
}

/// Answers one request, and notes whether an event stream is the answer.
async fn answer(
    request: Request<Incoming>,
    peer: SocketAddr,
    router: Router,
    seat: Arc<Seat>,
    follows: Arc<AtomicBool>,
) -> Result<Response, Infallible> {
    let (mut request, exchange) = Exchange::of(request, Arc::clone(&seat));
    request.extensions_mut().insert(ConnectInfo(peer));
    let response = router.oneshot(request).await?;
    let stream = requests::is_stream(&response);
    follows.store(stream, Ordering::Relaxed);
    // A stream of events has no end.
    if !stream {
        seat.sends();
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

    use axum::body::{Body, Bytes, HttpBody};
    use axum::http::header::CONTENT_TYPE;
    use axum::routing::get;
    use hyper::body::Frame;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::task::yield_now;

    use super::super::places::Places;
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_is_asked_to_give_way_with_a_whole_request_is_answered_first() {
        // The select that it is about looks at its branches in any order.
        for _ in 0..20 {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let seat = Places::new(1).take().await;
            let asks: Arc<OnceLock<CancellationToken>> = Arc::default();
            asks.set(seat.give_way().clone()).unwrap();
            let answer = move || async move {
                asks.get().unwrap().cancel();
                yield_now().await;
                "the whole answer"
            };
            let router = Router::new().route("/", get(answer));
            let mut client = TcpStream::connect(address).await.unwrap();
            let (stream, peer) = listener.accept().await.unwrap();
            let served = serve(stream, peer, router, seat, CancellationToken::new());
            let ask = async {
                let request = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n";
                client.write_all(request).await.unwrap();
                let mut answer = String::new();
                client.read_to_string(&mut answer).await.unwrap();
                answer
            };
            let ((), answer) = tokio::join!(served, ask);
            assert!(answer.ends_with("the whole answer"), "{answer:?}");
        }
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

    /// How a connection ends whose client asks and then reads nothing.
    async fn of_who_reads_nothing(kind: &'static str) -> bool {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let seat = Places::new(1).take().await;
        let answer = move || async move { ([(CONTENT_TYPE, kind)], Body::new(Long)) };
        let router = Router::new().route("/", get(answer));
        let address = listener.local_addr().unwrap();
        let mut client = TcpStream::connect(address).await.unwrap();
        let (stream, peer) = listener.accept().await.unwrap();
        let request = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n";
        client.write_all(request).await.unwrap();
        let served = serve(stream, peer, router, seat, CancellationToken::new());
        // Nobody else has anything to do, so that an hour passes at once.
        tokio::time::timeout(ANSWER_TIME * 30, served).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn who_never_takes_the_answer_loses_the_place_unless_it_has_no_end() {
        assert!(of_who_reads_nothing("text/html").await);
        assert!(!of_who_reads_nothing(requests::EVENT_STREAM).await);
    }

    const SECOND: Duration = Duration::from_secs(1);
    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n";

    /// A client of a server that answers, at a place of which there are more.
    async fn connect() -> TcpStream {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let client = TcpStream::connect(address).await.unwrap();
        let (stream, peer) = listener.accept().await.unwrap();
        let seat = Places::new(1).take().await;
        let router = Router::new().route("/", get(async || "."));
        tokio::spawn(serve(stream, peer, router, seat, CancellationToken::new()));
        client
    }

    async fn is_answered(client: &mut TcpStream) -> bool {
        client.write_all(REQUEST).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n.") {
            if client.read_buf(&mut answer).await.unwrap() == 0 {
                return false;
            }
        }
        true
    }

    /// How long until the server closes the connection.
    async fn closed_after(client: &mut TcpStream) -> Duration {
        let since = tokio::time::Instant::now();
        assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
        since.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_kept_for_longer_than_proxies_keep_theirs() {
        let mut client = connect().await;
        for idle in [0, 9, 10, 11, 60, 120, 149] {
            sleep(Duration::from_secs(idle)).await;
            assert!(is_answered(&mut client).await, "after {idle} s");
        }
        let closed = closed_after(&mut client).await;
        assert!(
            closed >= IDLE_TIME && closed < IDLE_TIME + SECOND,
            "{closed:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn every_head_has_ten_seconds() {
        let in_time = HEAD_TIME..HEAD_TIME + SECOND;
        let mut silent = connect().await;
        let closed = closed_after(&mut silent).await;
        assert!(in_time.contains(&closed), "{closed:?}");
        for (first, idle) in [(false, 0), (true, 0), (true, 60)] {
            let mut slow = connect().await;
            assert!(!first || is_answered(&mut slow).await);
            sleep(Duration::from_secs(idle)).await;
            let began = tokio::time::Instant::now();
            for byte in REQUEST.iter().take(9) {
                slow.write_all(&[*byte]).await.unwrap();
                sleep(SECOND).await;
            }
            closed_after(&mut slow).await;
            let closed = began.elapsed();
            assert!(in_time.contains(&closed), "{first} {idle}: {closed:?}");
        }
    }
}
