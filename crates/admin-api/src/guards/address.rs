//! Where a request came from.

use std::net::{IpAddr, SocketAddr};

use axum::extract::{ConnectInfo, Request, State};
use axum::http::HeaderMap;
use axum::middleware::Next;
use axum::response::Response;
use rollout_settings::Subnet;

use crate::identity::ClientAddress;
use crate::state::AdminApi;

/// Puts the address of the caller on the request.
pub(crate) async fn find(
    State(api): State<AdminApi>,
    mut request: Request,
    next: Next,
) -> Response {
    let peer = request
        .extensions()
        .get::<ConnectInfo<SocketAddr>>()
        .map(|info| info.0.ip());
    if let Some(peer) = peer {
        let client = client(peer, request.headers(), &api.settings().trusted_proxies);
        request
            .extensions_mut()
            .insert(ClientAddress(client.to_canonical().to_string()));
    }
    next.run(request).await
}

/// The nearest address that is no trusted proxy. What stands further away in `X-Forwarded-For` anybody can write.
fn client(peer: IpAddr, headers: &HeaderMap, trusted: &[Subnet]) -> IpAddr {
    let is_trusted = |address: IpAddr| trusted.iter().any(|subnet| subnet.contains(address));
    let said: Vec<&str> = headers
        .get_all("x-forwarded-for")
        .iter()
        .map(|value| value.to_str().unwrap_or(""))
        .flat_map(|line| line.split(','))
        .map(str::trim)
        .collect();
    let mut nearest = peer;
    for text in said.into_iter().rev() {
        if !is_trusted(nearest) {
            break;
        }
        match parse(text) {
            Some(address) => nearest = address,
            None => break,
        }
    }
    nearest
}

/// An address, with or without port or brackets.
fn parse(text: &str) -> Option<IpAddr> {
    text.parse::<IpAddr>()
        .ok()
        .or_else(|| text.parse::<SocketAddr>().ok().map(|socket| socket.ip()))
        .or_else(|| text.strip_prefix('[')?.strip_suffix(']')?.parse().ok())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn only_trusted_proxies_are_believed() {
        let trusted: Vec<Subnet> =
            vec!["127.0.0.1".parse().unwrap(), "10.0.0.0/8".parse().unwrap()];
        for (peer, header, seen) in [
            ("203.0.113.9", "198.51.100.1", "203.0.113.9"),
            ("127.0.0.1", "198.51.100.1", "198.51.100.1"),
            (
                "127.0.0.1",
                "1.1.1.1, 198.51.100.1, 10.0.0.3",
                "198.51.100.1",
            ),
            ("127.0.0.1", "garbage", "127.0.0.1"),
            ("127.0.0.1", "198.51.100.1:4711", "198.51.100.1"),
            ("127.0.0.1", "[2001:db8::1]", "2001:db8::1"),
            ("127.0.0.1", "", "127.0.0.1"),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert("x-forwarded-for", header.parse().unwrap());
            let client = client(peer.parse().unwrap(), &headers, &trusted);
            assert_eq!(client.to_string(), seen, "{peer} {header}");
        }
    }
}
