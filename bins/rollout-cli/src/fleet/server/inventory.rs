use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use fleet_store::NewHost;
use fleet_types::view::{
    CheckDone, EnrolledHost, HealthCheck, Host, HostCheck, HostEntry, HostKey, HostProblem,
};
use fleet_types::{HealthState, HostName, Reason};
use reqwest::Method;
use rollout_settings::HostDefaults;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::ServerFleet;
use super::client::LOOK;
use crate::failure::Failure;
use crate::fleet::{Inventory, Scanned, ShownHost};

/// Hosts read at once.
const PAGE: u32 = 1000;
/// A body has 64 KiB at most; some of it is around the hosts.
const BODY_MOST: usize = 60 << 10;
/// So many looks at hosts are asked for at once. The server bounds its connections by itself.
const LOOKS: usize = 8;

#[derive(Deserialize)]
struct Hosts {
    hosts: Vec<Host>,
    next: Option<String>,
}

#[derive(Deserialize)]
struct Part {
    hosts: Vec<EnrolledHost>,
    defaults: HostDefaults,
    next: Option<String>,
}

#[derive(Deserialize)]
struct One {
    host: Host,
    host_keys: Vec<HostKey>,
    entry: Option<HostEntry>,
}

#[async_trait]
impl Inventory for ServerFleet {
    async fn hosts(&self) -> Result<Vec<Host>, Failure> {
        self.all_hosts(&["api", "hosts"]).await
    }

    async fn enrolled(&self) -> Result<Vec<EnrolledHost>, Failure> {
        let mut hosts = Vec::new();
        let mut cursor = None;
        loop {
            let part = self.part(cursor, PAGE).await?;
            hosts.extend(part.hosts);
            match part.next {
                Some(next) => cursor = Some(next),
                None => return Ok(hosts),
            }
        }
    }

    async fn host(&self, name: &HostName) -> Result<Option<ShownHost>, Failure> {
        let path = ["api", "hosts", name.as_str()];
        let one: Option<One> = self.client.get_if_there(&path).await?;
        Ok(one.map(|one| ShownHost {
            host: one.host,
            host_keys: one.host_keys.into_iter().map(|key| key.openssh).collect(),
            entry: one.entry,
        }))
    }

    async fn defaults(&self) -> Result<HostDefaults, Failure> {
        Ok(self.part(None, 1).await?.defaults)
    }

    fn key_folder(&self) -> Option<PathBuf> {
        None
    }

    async fn judge(&self, _: &NewHost) -> Result<Option<String>, Failure> {
        // The server does, when it is added; whether its key can be used shows when a rollout is started.
        Ok(None)
    }

    async fn add(&self, hosts: Vec<NewHost>) -> Result<(), Failure> {
        let hosts: Vec<Value> = hosts.into_iter().map(body).collect();
        if let [host] = hosts.as_slice() {
            let path = ["api", "hosts"];
            return self.client.change(Method::POST, &path, Some(host)).await;
        }
        let total = hosts.len();
        let mut done = 0;
        for part in parts(hosts) {
            let count = part.len();
            let body = json!({ "hosts": part });
            let path = ["api", "hosts", "import"];
            let sent = self.client.change(Method::POST, &path, Some(&body)).await;
            sent.map_err(|failure| match done {
                0 => failure,
                _ => failure.why(format!("{done} of {total} hosts were added before")),
            })?;
            done += count;
        }
        Ok(())
    }

    async fn edit(&self, name: &HostName, host: NewHost) -> Result<(), Failure> {
        let path = ["api", "hosts", name.as_str()];
        let body = body(host);
        self.client.change(Method::PUT, &path, Some(&body)).await
    }

    async fn remove(&self, name: &HostName) -> Result<(), Failure> {
        let path = ["api", "hosts", name.as_str()];
        self.client.change(Method::DELETE, &path, None).await
    }

    async fn clear_attention(&self, name: &HostName) -> Result<(), Failure> {
        let path = ["api", "hosts", name.as_str(), "clear"];
        self.client.change(Method::POST, &path, None).await
    }

    async fn pin(&self, name: &HostName, keys: Vec<String>) -> Result<(), Failure> {
        let path = ["api", "hosts", name.as_str(), "keys"];
        let body = json!({ "keys": keys });
        self.client.change(Method::PUT, &path, Some(&body)).await
    }

    async fn scan(&self, hosts: Vec<HostName>) -> Result<Vec<Scanned>, Failure> {
        #[derive(Deserialize)]
        struct Scan {
            keys: Vec<HostKey>,
        }
        let failed = |host, why| Scanned {
            host,
            keys: Err(why),
        };
        let scan = |server: ServerFleet, host: HostName| async move {
            let path = ["api", "hosts", host.as_str(), "scan"];
            let scan = server.client.make::<Scan>(&path, &json!({}), LOOK).await;
            let keys = match scan {
                Ok(scan) => Ok(scan.keys),
                Err(failure) if failure.exit == crate::exit::Exit::Refused => Err(failure.what()),
                Err(failure) => return Err(failure),
            };
            Ok(Some(Scanned { host, keys }))
        };
        self.ask_each(hosts, scan, failed).await
    }

    async fn check(&self, hosts: Vec<HostName>) -> Result<Vec<HostCheck>, Failure> {
        #[derive(Deserialize)]
        struct Check {
            check: HostCheck,
        }
        let check = |server: ServerFleet, host: HostName| async move {
            let path = ["api", "hosts", host.as_str(), "check"];
            let seen = server.client.make::<Check>(&path, &json!({}), LOOK).await?;
            Ok(Some(seen.check))
        };
        let failed = |host: HostName, message| HostCheck {
            name: host.to_string(),
            reachable: false,
            seen: None,
            problems: vec![HostProblem {
                reason: Reason::Unreachable.to_string(),
                message,
            }],
        };
        let mut checks = self.ask_each(hosts, check, failed).await?;
        checks.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(checks)
    }

    async fn check_health(
        &self,
        hosts: Vec<HostName>,
        fix: bool,
    ) -> Result<Vec<HealthCheck>, Failure> {
        #[derive(Deserialize)]
        struct Health {
            health: Option<HealthCheck>,
        }
        let look = move |server: ServerFleet, host: HostName| async move {
            let path = ["api", "hosts", host.as_str(), "health"];
            let body = json!({ "fix": fix });
            let seen = server.client.make::<Health>(&path, &body, LOOK).await?;
            Ok(seen.health)
        };
        let failed = |host: HostName, message| HealthCheck {
            name: host.to_string(),
            health: HealthState::Unknown,
            message,
            done: CheckDone::LeftAlone,
        };
        let mut checks = self.ask_each(hosts, look, failed).await?;
        checks.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(checks)
    }
}

impl ServerFleet {
    /// All hosts of a list, page by page.
    pub(super) async fn all_hosts(&self, path: &[&str]) -> Result<Vec<Host>, Failure> {
        let mut hosts = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let mut query = vec![("limit", PAGE.to_string())];
            query.extend(cursor.map(|cursor| ("cursor", cursor)));
            let page: Hosts = self.client.get(path, &query).await?;
            hosts.extend(page.hosts);
            match page.next {
                Some(next) => cursor = Some(next),
                None => return Ok(hosts),
            }
        }
    }

    async fn part(&self, cursor: Option<String>, limit: u32) -> Result<Part, Failure> {
        let mut query = vec![("limit", limit.to_string())];
        query.extend(cursor.map(|cursor| ("cursor", cursor)));
        self.client.get(&["api", "inventory"], &query).await
    }

    /// Asks the server about each host, a few at a time. One that it cannot answer for is told of by `failed`; that is
    /// the end of the command only when it answers for none.
    async fn ask_each<T, F>(
        &self,
        hosts: Vec<HostName>,
        ask: impl Fn(Self, HostName) -> F,
        failed: impl Fn(HostName, String) -> T,
    ) -> Result<Vec<T>, Failure>
    where
        T: Send + 'static,
        F: Future<Output = Result<Option<T>, Failure>> + Send + 'static,
    {
        let places = Arc::new(Semaphore::new(LOOKS));
        let mut asking = JoinSet::new();
        for host in hosts {
            let (places, asked) = (Arc::clone(&places), ask(self.clone(), host.clone()));
            asking.spawn(async move {
                let _place = places.acquire_owned().await;
                (host, asked.await)
            });
        }
        let (mut answers, mut failures) = (Vec::new(), Vec::new());
        let total = asking.len();
        while let Some(answer) = asking.join_next().await {
            let (host, answer) = answer
                .map_err(|error| Failure::unexpected("a host was not asked about").why(error))?;
            match answer {
                Ok(answer) => answers.extend(answer),
                Err(failure) => failures.push((host, failure)),
            }
        }
        if failures.len() == total
            && let Some((_, failure)) = failures.pop()
        {
            return Err(failure);
        }
        let failures = failures.into_iter();
        answers.extend(failures.map(|(host, failure)| failed(host, failure.what())));
        Ok(answers)
    }
}

/// An entry as the API takes it. What is not there is said to be nothing, so that it does not stay as it was.
fn body(host: NewHost) -> Value {
    let entry = HostEntry::from(host);
    let verify = entry.verify.clone().unwrap_or_default();
    let mut body = json!(entry);
    // Null would mean the server's default.
    body["verify"] = verify.into();
    body
}

/// In parts that fit into a body, each with one host at least.
fn parts(hosts: Vec<Value>) -> Vec<Vec<Value>> {
    let mut parts: Vec<Vec<Value>> = Vec::new();
    let mut room = 0;
    for host in hosts {
        let size = host.to_string().len() + 1;
        match parts.last_mut().filter(|_| size <= room) {
            Some(part) => part.push(host),
            None => {
                parts.push(vec![host]);
                room = BODY_MOST;
            }
        }
        room = room.saturating_sub(size);
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_go_in_parts_that_fit() {
        let host = |size: usize| Value::from("x".repeat(size));
        let sizes = |hosts| -> Vec<usize> { parts(hosts).iter().map(Vec::len).collect() };
        assert_eq!(sizes(Vec::new()), Vec::<usize>::new());
        assert_eq!(sizes(vec![host(10), host(10)]), [2]);
        let third = BODY_MOST / 3;
        assert_eq!(sizes((0..7).map(|_| host(third)).collect()), [2, 2, 2, 1]);
        assert_eq!(
            sizes(vec![host(10), host(BODY_MOST * 2), host(10)]),
            [1, 1, 1]
        );
    }
}
