//! The way of one server to its database, which a test can shut.

use std::io;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// Passes connections on while it is open.
#[derive(Debug)]
pub(super) struct Door {
    port: u16,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    shut: bool,
    over: bool,
    open: Vec<TcpStream>,
}

impl Door {
    /// Listens on a free port of 127.0.0.1 and passes everything on to this one.
    pub(super) fn start(target: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let client = client.unwrap();
                let mut state = shared.lock().unwrap();
                if state.over {
                    return;
                }
                if !state.shut {
                    // A server that is gone takes none; then the client's is over as well.
                    let _ = state.pass(&client, target);
                }
            }
        });
        Self { port, state }
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// Cuts what is open, and lets nothing in.
    pub(super) fn shut(&self) {
        let mut state = self.state.lock().unwrap();
        state.shut = true;
        for socket in state.open.drain(..) {
            // It may be over already.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }

    pub(super) fn open(&self) {
        self.state.lock().unwrap().shut = false;
    }
}

impl State {
    fn pass(&mut self, client: &TcpStream, target: u16) -> io::Result<()> {
        let server = TcpStream::connect(("127.0.0.1", target))?;
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        for (from, to) in [(client, &server), (&server, client)] {
            let (mut from, mut to) = (from.try_clone()?, to.try_clone()?);
            std::thread::spawn(move || {
                let _ = io::copy(&mut from, &mut to);
                let _ = to.shutdown(Shutdown::Write);
            });
        }
        self.open.extend([client.try_clone()?, server]);
        Ok(())
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.shut();
        self.state.lock().unwrap().over = true;
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}
