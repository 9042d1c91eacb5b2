//! A way to a server that can be closed.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// A port of 127.0.0.1 behind which another one is, as long as the door is open.
#[derive(Debug)]
pub struct Door {
    port: u16,
    open: Arc<AtomicBool>,
    through: Arc<Mutex<Vec<TcpStream>>>,
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
            open: Arc::new(AtomicBool::new(true)),
            through: Arc::default(),
        };
        let (open, through) = (Arc::clone(&door.open), Arc::clone(&door.through));
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if open.load(Ordering::SeqCst) {
                    let _ = lead(client, port, &through);
                } // else it is closed at once, as by a server that is not there
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
        self.open.store(false, Ordering::SeqCst);
        let mut through = self.through.lock().unwrap_or_else(PoisonError::into_inner);
        for stream in through.drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Lets connections through again.
    pub fn open(&self) {
        self.open.store(true, Ordering::SeqCst);
    }
}

fn lead(client: TcpStream, port: u16, through: &Arc<Mutex<Vec<TcpStream>>>) -> std::io::Result<()> {
    let server = TcpStream::connect(("127.0.0.1", port))?;
    let mut all = through.lock().unwrap_or_else(PoisonError::into_inner);
    // Of those that are over nobody needs to know.
    all.retain(|stream| stream.peer_addr().is_ok());
    for stream in [&client, &server] {
        all.push(stream.try_clone()?);
    }
    drop(all);
    pass(client.try_clone()?, server.try_clone()?);
    pass(server, client);
    Ok(())
}

fn pass(mut from: TcpStream, mut to: TcpStream) {
    std::thread::spawn(move || {
        let mut part = [0; 16384];
        while let Ok(read @ 1..) = from.read(&mut part) {
            if to.write_all(&part[..read]).is_err() {
                break;
            }
        }
        for stream in [from, to] {
            let _ = stream.shutdown(Shutdown::Both);
        }
    });
}
