//! The stream to a host: its owner can cut it, and it remembers whether anything came.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::oneshot;

/// Cuts the stream when dropped.
///
/// The SSH library runs each connection in a task that outlives a dropped connection attempt, and for ever when the
/// peer stays mute in the key exchange. With its stream cut it ends.
#[derive(Debug)]
pub(crate) struct Cutter {
    _held: oneshot::Sender<()>,
}

/// The stream.
pub(crate) struct Link {
    stream: Box<dyn Duplex>,
    cut: Option<oneshot::Receiver<()>>,
    heard: Arc<AtomicBool>,
}

impl Link {
    /// `heard` is set once anything comes.
    pub(crate) fn new(stream: Box<dyn Duplex>, heard: Arc<AtomicBool>) -> (Self, Cutter) {
        let (held, cut) = oneshot::channel();
        let link = Self {
            stream,
            cut: Some(cut),
            heard,
        };
        (link, Cutter { _held: held })
    }
}

impl AsyncRead for Link {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let is_cut = match &mut self.cut {
            Some(cut) => Pin::new(cut).poll(cx).is_ready(),
            None => true,
        };
        if is_cut {
            self.cut = None;
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.heard.store(true, Ordering::Relaxed);
        }
        polled
    }
}

impl AsyncWrite for Link {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Any stream to a host.
pub(crate) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin + 'static> Duplex for S {}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use tokio::io::AsyncReadExt as _;

    use super::*;

    #[tokio::test]
    async fn a_reader_that_waits_is_woken_by_the_cut() {
        let (ours, _theirs) = tokio::io::duplex(8);
        let (mut link, cutter) = Link::new(Box::new(ours), Arc::default());
        let reading = tokio::spawn(async move { link.read_u8().await });
        tokio::task::yield_now().await;
        drop(cutter);
        assert_eq!(
            reading.await.unwrap().unwrap_err().kind(),
            io::ErrorKind::ConnectionAborted
        );
    }
}
