//! A way to a server that can be closed.

use std::io;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A port of 127.0.0.1 behind which another one is, as long as the door is open. What goes through is cut when it is
/// dropped.
#[derive(Debug)]
pub struct Door {
    port: u16,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    closed: bool,
    over: bool,
    through: Vec<TcpStream>,
}

impl Door {
    /// An open door to this port of 127.0.0.1.
    ///
    /// # Panics
    ///
    /// When no port is free.
    #[must_use]
    pub fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has free ports");
        let address = listener.local_addr().expect("a listener has an address");
        let door = Self {
            port: address.port(),
            state: Arc::default(),
        };
        let state = Arc::clone(&door.state);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let mut state = lock(&state);
                if state.over {
                    return;
                }
                // Else it is closed at once, as by a server that is not there, which may be so.
                if !state.closed {
                    let _ = state.lead(&client, port);
                }
            }
        });
        door
    }

    /// Its own port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Ends every connection, and every new one at once.
    pub fn close(&self) {
        let mut state = lock(&self.state);
        state.closed = true;
        for stream in state.through.drain(..) {
            // It may be over already.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Lets connections through again.
    pub fn open(&self) {
        lock(&self.state).closed = false;
    }
}

impl State {
    fn lead(&mut self, client: &TcpStream, port: u16) -> io::Result<()> {
        let server = TcpStream::connect(("127.0.0.1", port))?;
        // Of those that are over nobody needs to know.
        self.through.retain(|stream| stream.peer_addr().is_ok());
        for (from, to) in [(client, &server), (&server, client)] {
            from.set_nodelay(true)?;
            let (mut from, mut to) = (from.try_clone()?, to.try_clone()?);
            std::thread::spawn(move || {
                let _ = io::copy(&mut from, &mut to);
                let _ = to.shutdown(Shutdown::Write);
            });
        }
        self.through.extend([client.try_clone()?, server]);
        Ok(())
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.close();
        lock(&self.state).over = true;
        // Wakes up who waits for the next one.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
