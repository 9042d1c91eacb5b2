//! The API as a program uses it: beside the browsers, and to bring a fleet into a state.

use std::time::{Duration, Instant};

use access_secrets::new_token;
use fleet_store::{Access, Actor, NewToken};
use fleet_types::{Role, TokenId};
use reqwest::{Client, Url};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::site::Site;

/// How long anything may take to come about.
const PATIENCE: Duration = Duration::from_secs(90);

/// One message of the feed: its number, and what it tells of.
pub(crate) type Heard = (i64, String);

/// A program with the token of an admin.
#[derive(Clone)]
pub(crate) struct Api {
    client: Client,
    url: Url,
    token: String,
}

impl Api {
    pub(crate) async fn of(site: &Site) -> Self {
        let token = new_token().unwrap();
        let kept = NewToken {
            id: TokenId(Uuid::now_v7()),
            name: "robot".parse().unwrap(),
            role: Role::Admin,
            secret: token.hash,
            expires_at: None,
        };
        let store = site.store().await;
        store
            .token_create(kept, &Actor::local("test"))
            .await
            .unwrap();
        Self {
            client: Client::builder().no_proxy().build().unwrap(),
            url: site.url.parse().unwrap(),
            token: token.text,
        }
    }

    /// The answer exactly as it came, which must be one of success.
    pub(crate) async fn text(&self, path: &str) -> String {
        let url = self.url.join(path).unwrap();
        let asked = self.client.get(url).bearer_auth(&self.token);
        let answer = asked.send().await.unwrap().error_for_status().unwrap();
        answer.text().await.unwrap()
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        serde_json::from_str(&self.text(path).await).unwrap()
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Value {
        let url = self.url.join(path).unwrap();
        let asked = self.client.post(url).bearer_auth(&self.token).json(&body);
        let answer = asked.send().await.unwrap();
        let status = answer.status();
        let said: Value = answer.json().await.unwrap();
        assert!(status.is_success(), "{path}: {status} {said}");
        said
    }

    /// Starts a rollout over the whole fleet: its id.
    pub(crate) async fn trigger(&self, mut more: Value) -> String {
        more["all"] = json!(true);
        let started = self.post("/api/updates/trigger", more).await;
        started["rollout"]["id"].as_str().unwrap().to_owned()
    }

    /// Waits until a rollout is in this state.
    pub(crate) async fn comes_to(&self, rollout: &str, state: &str) {
        let path = format!("/api/updates/rollouts/{rollout}");
        let begun = Instant::now();
        loop {
            let now = self.get(&path).await;
            if now["rollout"]["state"] == state {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "never {state}: {now}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// The whole feed as it is kept, of one rollout or of all.
    pub(crate) async fn feed(&self, rollout: Option<&str>) -> Vec<Heard> {
        let mut events = Vec::new();
        let mut after = 0;
        loop {
            let only = rollout.map_or(String::new(), |id| format!("&rollout={id}"));
            let path = format!("/api/updates/events?after={after}&limit=100{only}");
            let page = self.get(&path).await;
            let found = page["events"].as_array().unwrap();
            if found.is_empty() {
                return events;
            }
            events.extend(found.iter().map(|event| {
                let kind = event["type"].as_str().unwrap().to_owned();
                (event["seq"].as_i64().unwrap(), kind)
            }));
            after = page["next"].as_i64().unwrap();
        }
    }

    /// The feed as `curl -N` gets it: one connection, from here on, as text. It is an error when there is none.
    pub(crate) async fn stream(&self, last: i64) -> reqwest::Result<reqwest::Response> {
        let url = self.url.join("/api/updates/events").unwrap();
        let asked = self
            .client
            .get(url)
            .bearer_auth(&self.token)
            .header("accept", "text/event-stream")
            .header("last-event-id", last.to_string());
        asked.send().await?.error_for_status()
    }
}
