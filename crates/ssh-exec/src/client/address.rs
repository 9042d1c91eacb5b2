//! Which addresses a fleet host may have, and the way to the first one that answers.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::net::{TcpStream, lookup_host};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::refused::is_refused;
use crate::transport::Endpoint;

/// How long an address is given before the next one is tried beside it.
const STAGGER: Duration = Duration::from_millis(250);
/// More addresses than a host has; what a name server sends beyond is not tried.
const ADDRESSES: usize = 8;

/// Why there is no TCP connection.
#[derive(Debug)]
pub(crate) enum DialError {
    Resolve(String),
    Refused(IpAddr),
    Connect(io::Error),
}

/// Resolves the name once, and connects to an address that was checked.
pub(crate) async fn dial(address: &str, port: u16) -> Result<TcpStream, DialError> {
    let all: Vec<SocketAddr> = lookup_host((address, port))
        .await
        .map_err(|error| DialError::Resolve(error.to_string()))?
        .collect();
    let Some(first) = all.first() else {
        return Err(DialError::Resolve("the name has no address".to_owned()));
    };
    let allowed: Vec<SocketAddr> = all
        .iter()
        .filter(|one| !is_refused(one.ip()))
        .take(ADDRESSES)
        .copied()
        .collect();
    if allowed.is_empty() {
        return Err(DialError::Refused(first.ip()));
    }
    let stream = race(allowed).await.map_err(DialError::Connect)?;
    stream.set_nodelay(true).map_err(DialError::Connect)?;
    Ok(stream)
}

/// Connects to the first address that answers; each is tried a little after the one before, or as soon as that failed.
async fn race(addresses: Vec<SocketAddr>) -> io::Result<TcpStream> {
    let mut waiting = addresses.into_iter();
    let mut attempts = JoinSet::new();
    let mut last = io::Error::other("no address");
    loop {
        if let Some(address) = waiting.next() {
            attempts.spawn(TcpStream::connect(address));
        } else if attempts.is_empty() {
            return Err(last);
        }
        let more = waiting.len() > 0;
        tokio::select! {
            Some(done) = attempts.join_next() => match done {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => last = error,
                Err(error) => last = io::Error::other(error),
            },
            () = sleep(STAGGER), if more => {}
        }
    }
}

/// Address and port as messages name them.
pub(super) fn place(endpoint: &Endpoint) -> String {
    match endpoint.address.contains(':') {
        true => format!("[{}]:{}", endpoint.address, endpoint.port),
        false => format!("{}:{}", endpoint.address, endpoint.port),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_next_address_is_tried_when_one_fails() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (open, dead) = (listener.local_addr().unwrap(), closed.local_addr().unwrap());
        drop(closed);
        assert_eq!(
            race(vec![dead, open]).await.unwrap().peer_addr().unwrap(),
            open
        );
        assert_eq!(
            race(vec![dead]).await.unwrap_err().kind(),
            io::ErrorKind::ConnectionRefused
        );
    }
}
