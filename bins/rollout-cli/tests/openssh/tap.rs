//! Passes connections on to an sshd, and knows which are open at any moment, over all hosts.
//!
//! sshd's own log cannot tell: it notes the end of a connection some time after the client has closed it.

use std::io;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// One connection to one host.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    pub(crate) host: usize,
    pub(crate) opened: Instant,
    /// None while the client has it open.
    pub(crate) closed: Option<Instant>,
}

/// The connections of a fleet.
#[derive(Debug, Default)]
pub(crate) struct Gauge {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    spans: Vec<Span>,
    open: Vec<(usize, TcpStream)>,
    highest: usize,
    /// The host whose next connection is cut as soon as it is opened.
    #[cfg(feature = "crash-points")]
    cut_next: Option<usize>,
}

impl Gauge {
    /// The most that were open at once.
    pub(crate) fn highest(&self) -> usize {
        self.state.lock().unwrap().highest
    }

    /// How many are open, or were closed a moment ago.
    pub(crate) fn open(&self) -> usize {
        self.state.lock().unwrap().open.len()
    }

    /// Every connection so far, in the order of their beginnings.
    pub(crate) fn spans(&self) -> Vec<Span> {
        self.state.lock().unwrap().spans.clone()
    }

    /// Ends every connection to this host that the client has open; how many these were.
    #[cfg(feature = "crash-points")]
    pub(crate) fn cut(&self, host: usize) -> usize {
        let state = self.state.lock().unwrap();
        let of_host = |(number, _): &&(usize, TcpStream)| state.spans[*number].host == host;
        let of_host = state.open.iter().filter(of_host);
        // One that the client has closed is over, also where our thread for it has not noticed.
        let open = of_host.filter(|(_, socket)| closed([socket]) == 0);
        open.filter(|(_, socket)| socket.shutdown(Shutdown::Both).is_ok())
            .count()
    }

    /// The next connection to this host is to end as soon as it is opened.
    #[cfg(feature = "crash-points")]
    pub(crate) fn cut_next(&self, host: usize) {
        self.state.lock().unwrap().cut_next = Some(host);
    }

    /// Takes back [`Self::cut_next`]; whether no connection has come that it could have ended.
    #[cfg(feature = "crash-points")]
    pub(crate) fn forget_cut(&self) -> bool {
        self.state.lock().unwrap().cut_next.take().is_some()
    }

    /// Forgets what was.
    pub(crate) fn reset(&self) {
        let mut state = self.state.lock().unwrap();
        assert!(state.open.is_empty(), "a connection is open");
        *state = State::default();
    }

    fn begin(&self, host: usize, client: &TcpStream) -> usize {
        let mut state = self.state.lock().unwrap();
        let number = state.spans.len();
        state.spans.push(Span {
            host,
            opened: Instant::now(),
            closed: None,
        });
        #[cfg(feature = "crash-points")]
        if state.cut_next == Some(host) {
            state.cut_next = None;
            // It may be over already.
            let _ = client.shutdown(Shutdown::Both);
        }
        state.open.push((number, client.try_clone().unwrap()));
        // The client may have closed one just before it opened this, and our thread for it has not noticed: ask the
        // system. All of these are connected, so those that are still open now are open at once.
        let closed = closed(state.open.iter().map(|(_, socket)| socket));
        state.highest = state.highest.max(state.open.len() - closed);
        number
    }

    fn end(&self, number: usize) {
        let mut state = self.state.lock().unwrap();
        state.spans[number].closed = Some(Instant::now());
        state.open.retain(|(other, _)| *other != number);
    }
}

/// How many of these the other side has closed by now.
fn closed<'a>(sockets: impl IntoIterator<Item = &'a TcpStream>) -> usize {
    let mut sockets: Vec<_> = sockets
        .into_iter()
        .map(|socket| PollFd::new(socket, PollFlags::RDHUP))
        .collect();
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    poll(&mut sockets, Some(&now)).unwrap()
}

/// The way to one host.
#[derive(Debug)]
pub(crate) struct Tap {
    port: u16,
    ends: Arc<AtomicBool>,
    accepting: Option<JoinHandle<()>>,
}

impl Tap {
    /// Listens on a free port of 127.0.0.1 and passes everything on to this one.
    pub(crate) fn start(gauge: &Arc<Gauge>, host: usize, target: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let ends = Arc::new(AtomicBool::new(false));
        let accepting = {
            let (gauge, ends) = (Arc::clone(gauge), Arc::clone(&ends));
            std::thread::spawn(move || {
                for client in listener.incoming() {
                    if ends.load(Ordering::SeqCst) {
                        return;
                    }
                    let client = client.unwrap();
                    let number = gauge.begin(host, &client);
                    let gauge = Arc::clone(&gauge);
                    std::thread::spawn(move || {
                        // A connection that breaks is over, like one that ends.
                        let _ = pass(&client, target);
                        gauge.end(number);
                    });
                }
            })
        };
        Self {
            port,
            ends,
            accepting: Some(accepting),
        }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::SeqCst);
        let woken = TcpStream::connect(("127.0.0.1", self.port)).is_ok();
        if let Some(accepting) = self.accepting.take()
            && woken
        {
            let _ = accepting.join();
        }
    }
}

/// Carries bytes both ways until the client has closed its side.
fn pass(client: &TcpStream, target: u16) -> io::Result<()> {
    let server = TcpStream::connect(("127.0.0.1", target))?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (mut from_server, mut to_client) = (server.try_clone()?, client.try_clone()?);
    std::thread::spawn(move || {
        let _ = io::copy(&mut from_server, &mut to_client);
        let _ = to_client.shutdown(Shutdown::Write);
    });
    let (mut from_client, mut to_server) = (client, &server);
    let passed = io::copy(&mut from_client, &mut to_server);
    let _ = server.shutdown(Shutdown::Write);
    passed.map(drop)
}

#[cfg(feature = "crash-points")]
#[test]
fn what_is_cut_is_counted() {
    use std::io::Read as _;

    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let gauge = Arc::new(Gauge::default());
    let tap = Tap::start(&gauge, 0, server.local_addr().unwrap().port());
    let connect = || TcpStream::connect(("127.0.0.1", tap.port())).unwrap();
    let ends = |mut client: TcpStream| assert!(matches!(client.read(&mut [0]), Ok(0) | Err(_)));
    assert_eq!(gauge.cut(0), 0, "nothing was open");

    let client = connect();
    fleet_testkit::until("it is there", || gauge.open() == 1);
    assert_eq!(gauge.cut(1), 0, "another host's");
    assert_eq!(gauge.cut(0), 1);
    ends(client);

    drop(connect());
    fleet_testkit::until("it is over", || gauge.spans().len() == 2);
    assert_eq!(gauge.cut(0), 0, "the client has closed it");

    gauge.cut_next(0);
    assert!(gauge.forget_cut(), "none came");
    gauge.cut_next(0);
    ends(connect());
    assert!(!gauge.forget_cut(), "one came");
}
