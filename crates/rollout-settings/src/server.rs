use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use fleet_types::Invalid;

use crate::subnet::Subnet;

/// `[server]`: how `rollout-server` is reached and how it stops.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerSettings {
    /// Address and port to listen on.
    pub listen: SocketAddr,
    /// A proxy that speaks TLS stands before it. Only then may it listen on an address that others can reach, for it
    /// speaks plain HTTP itself.
    pub behind_proxy: bool,
    /// Names that it answers to beside the loopback ones, without port.
    pub allowed_hosts: Vec<String>,
    /// Whether cookies insist on HTTPS. Off only while it listens on loopback without a proxy, unless said.
    pub secure_cookies: bool,
    /// Proxies whose `X-Forwarded-For` is believed. Those on this machine when `behind_proxy`, unless said.
    pub trusted_proxies: Vec<Subnet>,
    /// A session that was not used for this long is over.
    pub session_idle: Duration,
    /// A session is over after this long in any case.
    pub session_absolute: Duration,
    /// Connections open at once.
    pub max_connections: u32,
    /// How long stopping may take; hosts in flight are handed over then.
    pub stop_grace: Duration,
}

/// `[health]`: the health checker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HealthSettings {
    /// Each host is looked at this often.
    pub every: Duration,
    /// Whether a service that is down is started again.
    pub fix: bool,
}

impl ServerSettings {
    /// Proxies on this machine.
    pub(crate) fn local_proxies() -> Vec<Subnet> {
        let local = [
            IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(Ipv6Addr::LOCALHOST),
        ];
        local.into_iter().map(Subnet::only).collect()
    }

    /// Refuses values that cannot be meant: the key, and what is wrong.
    pub(crate) fn check(&self) -> Result<(), (&'static str, Invalid)> {
        const DAYS: Duration = Duration::from_secs(31 * 86_400);
        for name in &self.allowed_hosts {
            let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b);
            if name.is_empty() || !name.bytes().all(plain) {
                let why = "must be a name or address as browsers send it, without port";
                return Err((
                    "server.allowed_hosts",
                    Invalid::new("allowed host", name, why),
                ));
            }
        }
        within(
            "server.session_idle",
            self.session_idle,
            Duration::from_secs(1)..=self.session_absolute,
            "must be from 1 second to server.session_absolute",
        )?;
        within(
            "server.session_absolute",
            self.session_absolute,
            Duration::from_secs(1)..=DAYS,
            "must be from 1 second to 31 days",
        )?;
        within(
            "server.stop_grace",
            self.stop_grace,
            Duration::from_secs(1)..=Duration::from_secs(3600),
            "must be from 1 second to one hour",
        )?;
        if self.max_connections < 8 {
            let shown = self.max_connections.to_string();
            let why = "must be at least 8";
            return Err((
                "server.max_connections",
                Invalid::new("number of connections", &shown, why),
            ));
        }
        Ok(())
    }

    /// Refuses to send passwords and sessions in the clear over a network.
    pub(crate) fn check_listen(&self) -> Result<(), Invalid> {
        if self.listen.ip().to_canonical().is_loopback() || self.behind_proxy {
            return Ok(());
        }
        Err(Invalid::new(
            "address to listen on",
            &self.listen.to_string(),
            "can be reached from outside, and plain HTTP would send passwords in the clear: put a proxy that speaks TLS before \
             it and say --behind-proxy (server.behind_proxy = true), or listen on 127.0.0.1",
        ))
    }
}

impl HealthSettings {
    /// Refuses values that cannot be meant: the key, and what is wrong.
    pub(crate) fn check(&self) -> Result<(), (&'static str, Invalid)> {
        within(
            "health.every",
            self.every,
            Duration::from_secs(1)..=Duration::from_secs(86_400),
            "must be from 1 second to one day",
        )
    }
}

fn within(
    key: &'static str,
    time: Duration,
    allowed: std::ops::RangeInclusive<Duration>,
    why: &'static str,
) -> Result<(), (&'static str, Invalid)> {
    if allowed.contains(&time) {
        return Ok(());
    }
    let shown = format!("{}s", time.as_secs_f64());
    Err((key, Invalid::new("time", &shown, why)))
}
