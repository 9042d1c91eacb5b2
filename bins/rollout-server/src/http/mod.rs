//! Serving HTTP/1.1: with a limit on connections, a time for request heads, and an end that does not wait for ever.

mod arriving;
mod connection;
mod held;
mod lingering;
mod places;
mod progress;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use tokio::net::{TcpListener, TcpSocket};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub(crate) use held::Held;
use places::Places;

/// Connections that wait to be accepted. Of a crowd larger than this some are not heard, and try again a second later; the
/// system has a limit of its own, usually this one.
const WAITING: u32 = 4096;

/// Listens there.
pub(crate) fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // A server that is started again finds connections of the last one, which are no reason not to listen.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(WAITING)
}

/// A server at work.
#[derive(Debug)]
pub(crate) struct Server {
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Server {
    /// Serves the router on the listener, at most `most` connections at once. Who is too many takes the place of the
    /// connection that has been idle for longest.
    pub(crate) fn start(listener: TcpListener, router: Router, most: u32) -> Self {
        let server = Self {
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        };
        let accept = accept(
            listener,
            router,
            Places::new(most as usize),
            server.stop.clone(),
            server.tasks.clone(),
        );
        server.tasks.spawn(accept);
        server.tasks.close();
        server
    }

    /// Takes no connection any more; open ones end with the request that they are in.
    pub(crate) fn stop_accepting(&self) {
        self.stop.cancel();
    }

    /// Waits until all connections have ended.
    pub(crate) async fn drained(&self) {
        self.tasks.wait().await;
    }
}

async fn accept(
    listener: TcpListener,
    router: Router,
    places: Places,
    stop: CancellationToken,
    tasks: TaskTracker,
) {
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                recover(&error, &places).await;
                continue;
            }
        };
        let seat = tokio::select! {
            () = stop.cancelled() => return,
            seat = places.take() => seat,
        };
        let serve = connection::serve(stream, peer, router.clone(), seat, stop.clone());
        tasks.spawn(serve);
    }
}

/// A connection that was gone before it was accepted is nothing; without file descriptors it has to be waited.
async fn recover(error: &io::Error, places: &Places) {
    if matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
    ) {
        return;
    }
    tracing::warn!(%error, "a connection could not be accepted");
    places.make_room();
    sleep(Duration::from_millis(100)).await;
}

/// The address as it may be typed into a browser.
pub(crate) fn url(address: SocketAddr) -> String {
    format!("http://{address}")
}
