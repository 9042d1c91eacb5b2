//! A request on its way in.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use hyper::Request;
use hyper::body::{Frame, Incoming, SizeHint};

use super::places::{Busy, Seat};
use super::progress::Progress;

/// What a connection is at work on, from the end of the request to the end of the answer. Until the whole request is
/// there the connection is idle: a client that sends slowly keeps no place from others.
#[derive(Debug)]
pub(crate) struct Exchange {
    seat: Arc<Seat>,
    progress: Arc<Progress>,
    busy: Mutex<Option<Busy>>,
}

/// The body of a request, that tells when it has arrived.
#[derive(Debug)]
struct Arriving {
    body: Incoming,
    exchange: Option<Arc<Exchange>>,
}

impl Exchange {
    /// Of this request, whose head is there.
    pub(crate) fn of(
        request: Request<Incoming>,
        seat: Arc<Seat>,
        progress: Arc<Progress>,
    ) -> (Request<Body>, Arc<Self>) {
        progress.begins();
        // Whoever sent something just now is not the one that has been idle for longest.
        seat.stir();
        let exchange = Arc::new(Self {
            seat,
            progress,
            busy: Mutex::new(None),
        });
        let request = request.map(|body| {
            let mut arriving = Arriving {
                body,
                exchange: Some(Arc::clone(&exchange)),
            };
            arriving.look();
            Body::new(arriving)
        });
        (request, exchange)
    }

    /// The answer is being sent, and has an end.
    pub(crate) fn answers(&self) {
        self.progress.answers();
    }

    fn arrived(&self) {
        let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        *busy = Some(self.seat.busy());
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let busy = self.busy.get_mut().unwrap_or_else(PoisonError::into_inner);
        self.progress.ends(busy.is_none());
    }
}

impl Arriving {
    /// Tells of the end, once.
    fn look(&mut self) {
        if self.body.is_end_stream()
            && let Some(exchange) = self.exchange.take()
        {
            exchange.arrived();
        }
    }
}

impl HttpBody for Arriving {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        match polled {
            Poll::Ready(None) => {
                if let Some(exchange) = self.exchange.take() {
                    exchange.arrived();
                }
            }
            Poll::Ready(Some(Ok(_))) => self.look(),
            Poll::Ready(Some(Err(_))) | Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
