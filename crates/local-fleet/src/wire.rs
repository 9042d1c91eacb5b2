//! One TCP connection that can be reset or silenced from outside, and the count of those that are open.

use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// Locks, whoever panicked before: everything behind these locks is whole after each single statement.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A connection as the host holds it.
#[derive(Debug)]
pub(crate) struct Line {
    socket: TcpStream,
    cut: CancellationToken,
    silent: AtomicBool,
}

impl Line {
    pub(crate) fn new(socket: TcpStream) -> Arc<Self> {
        Arc::new(Self {
            socket,
            cut: CancellationToken::new(),
            silent: AtomicBool::new(false),
        })
    }

    /// Resets the connection: the peer loses what is under way in both directions.
    pub(crate) fn cut(&self) {
        // Without it the peer would get an orderly end; when it cannot be set, an end is an end as well.
        let _ = rustix::net::sockopt::set_socket_linger(&self.socket, Some(Duration::ZERO));
        self.cut.cancel();
    }

    /// Nothing goes in or out any more; the connection stays open.
    pub(crate) fn silence(&self) {
        self.silent.store(true, Ordering::SeqCst);
    }

    /// Ends when the peer has closed the connection; what it sends until then is thrown away.
    pub(crate) async fn closed_by_peer(&self) {
        let mut scratch = [0; 1024];
        loop {
            if self.socket.readable().await.is_err() {
                return;
            }
            match self.socket.try_read(&mut scratch) {
                Ok(1..) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Ok(0) | Err(_) => return,
            }
        }
    }

    /// Cancelled when the connection has been cut or has ended otherwise.
    pub(crate) fn over(&self) -> CancellationToken {
        self.cut.clone()
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.cut.cancel();
    }
}

/// The two ends of a [`Line`] that the SSH library reads and writes.
pub(crate) struct Wire {
    line: Arc<Line>,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Wire {
    pub(crate) fn new(line: Arc<Line>) -> Self {
        let cut = Box::pin(line.cut.clone().cancelled_owned());
        Self { line, cut }
    }

    /// Ready with an error once cut; pending for ever when silent.
    fn poll_usable(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.cut.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        if self.line.silent.load(Ordering::SeqCst) {
            Poll::Pending
        } else {
            Poll::Ready(Ok(()))
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            ready!(self.poll_usable(context))?;
            ready!(self.line.socket.poll_read_ready(context))?;
            match self.line.socket.try_read(buffer.initialize_unfilled()) {
                Ok(count) => {
                    buffer.advance(count);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.poll_usable(context))?;
            ready!(self.line.socket.poll_write_ready(context))?;
            match self.line.socket.try_write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => return Poll::Ready(done),
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        match rustix::net::shutdown(&self.line.socket, rustix::net::Shutdown::Write) {
            Ok(()) | Err(rustix::io::Errno::NOTCONN) => Poll::Ready(Ok(())),
            Err(error) => Poll::Ready(Err(error.into())),
        }
    }
}

/// Counts connections as the hosts see them, over the whole fleet.
#[derive(Debug, Default)]
pub(crate) struct Gauge {
    lines: Mutex<(HashMap<u64, Weak<Line>>, usize)>,
    next: AtomicU64,
}

/// A connection that counts until this is dropped.
#[derive(Debug)]
pub(crate) struct Counted {
    gauge: Arc<Gauge>,
    id: u64,
}

impl Gauge {
    /// Counts a new connection, and remembers the highest count.
    pub(crate) fn count(self: &Arc<Self>, line: &Arc<Line>) -> Counted {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let mut state = lock(&self.lines);
        state.0.insert(id, Arc::downgrade(line));
        // The peer may have closed one just before it opened this, and our task for it has not run yet: ask the system.
        if state.0.len() > state.1 {
            state.1 = state.1.max(open_now(&state.0));
        }
        Counted {
            gauge: Arc::clone(self),
            id,
        }
    }

    /// Connections that are open at both ends now.
    pub(crate) fn open(&self) -> usize {
        open_now(&lock(&self.lines).0)
    }

    /// The most that were open at once.
    pub(crate) fn highest(&self) -> usize {
        lock(&self.lines).1
    }

    /// Starts the highest count anew.
    pub(crate) fn reset(&self) {
        let mut state = lock(&self.lines);
        state.1 = open_now(&state.0);
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        lock(&self.gauge.lines).0.remove(&self.id);
    }
}

/// How many of these the peer has not closed.
fn open_now(lines: &HashMap<u64, Weak<Line>>) -> usize {
    let lines: Vec<_> = lines.values().filter_map(Weak::upgrade).collect();
    lines.len() - closed_by_peer(&lines)
}

#[cfg(target_os = "linux")]
fn closed_by_peer(lines: &[Arc<Line>]) -> usize {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    let mut sockets: Vec<_> = lines
        .iter()
        .map(|line| PollFd::new(&line.socket, PollFlags::RDHUP))
        .collect();
    // An error means that the system could not say; then all count.
    poll(
        &mut sockets,
        Some(&Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        }),
    )
    .unwrap_or(0)
}

#[cfg(not(target_os = "linux"))]
fn closed_by_peer(_: &[Arc<Line>]) -> usize {
    0
}
