//! A line to a database that can fall silent: what is sent is taken, and nothing ever comes back. The tests of the command
//! line use it as well.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A port of 127.0.0.1 behind which another one is, until it falls silent.
pub(crate) struct Line {
    port: u16,
    silence: Arc<Silence>,
}

/// Whether nothing comes through, and what brings that about.
struct Silence {
    now: AtomicBool,
    /// Nobody gets an answer once a client has said this.
    word: Option<&'static str>,
}

impl Line {
    /// To this port of 127.0.0.1.
    pub(crate) fn to(port: u16) -> Self {
        Self::until(port, None)
    }

    /// To this port of 127.0.0.1; it falls silent when a client sends this word.
    pub(crate) fn to_until(port: u16, word: &'static str) -> Self {
        Self::until(port, Some(word))
    }

    fn until(port: u16, word: Option<&'static str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let line = Self {
            port: listener.local_addr().unwrap().port(),
            silence: Arc::new(Silence {
                now: AtomicBool::new(false),
                word,
            }),
        };
        let silence = Arc::clone(&line.silence);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                // Also a newcomer is taken, for whoever is turned away knows where they stand.
                let Ok(server) = TcpStream::connect(("127.0.0.1", port)) else {
                    continue;
                };
                pass(&client, &server, Speaker::Client, &silence);
                pass(&server, &client, Speaker::Server, &silence);
            }
        });
        line
    }

    /// Its own port.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// From now on nothing comes through, either way, and no connection ends.
    pub(crate) fn fall_silent(&self) {
        self.silence.now.store(true, Ordering::SeqCst);
    }

    /// Whether it has fallen silent.
    pub(crate) fn is_silent(&self) -> bool {
        self.silence.now.load(Ordering::SeqCst)
    }
}

/// The URL of a database on this machine, by another port. Other digits, as in the name of the database, stay.
pub(crate) fn by_port(url: &str, port: u16, other: u16) -> String {
    let (before, after) = url
        .split_once(&format!("127.0.0.1:{port}/"))
        .unwrap_or_else(|| panic!("127.0.0.1:{port} is not in the URL"));
    format!("{before}127.0.0.1:{other}/{after}")
}

/// Who speaks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Speaker {
    Client,
    Server,
}

impl Silence {
    /// Whether this comes through.
    fn lets(&self, said: &[u8], from: Speaker) -> bool {
        if let Some(word) = self.word
            && from == Speaker::Client
            && said.windows(word.len()).any(|part| part == word.as_bytes())
        {
            self.now.store(true, Ordering::SeqCst);
        }
        !self.now.load(Ordering::SeqCst)
    }
}

fn pass(source: &TcpStream, sink: &TcpStream, from: Speaker, silence: &Arc<Silence>) {
    let (mut source, mut sink) = (source.try_clone().unwrap(), sink.try_clone().unwrap());
    let silence = Arc::clone(silence);
    std::thread::spawn(move || {
        let mut part = [0; 16384];
        while let Ok(read @ 1..) = source.read(&mut part) {
            if silence.lets(&part[..read], from) && sink.write_all(&part[..read]).is_err() {
                break;
            }
        }
        // In the silence a server that hangs up is not heard; a client that has gone is gone.
        if from == Speaker::Client || !silence.now.load(Ordering::SeqCst) {
            for stream in [source, sink] {
                let _ = stream.shutdown(Shutdown::Both);
            }
        }
    });
}
