//! `--demo`: hosts inside this process, a release that waits for them, and somebody who may roll it out. On loopback alone,
//! and gone with the process.

use std::net::SocketAddr;
use std::time::Duration;

use admin_api::secrets::{hash_password, new_secret, new_token};
use anyhow::{Context, anyhow};
use fleet_store::{
    Access, Actor, DieselStore, Feed, Inventory, NewToken, NewUser, Rollouts, StoreError,
};
use fleet_types::{Event, EventKind, LoginName, Role, Seq, TokenId};
use local_fleet::{LocalFleet, Release};
use rollout_parts::demo::{self, Script};
use rollout_settings::Settings;
use tempfile::TempDir;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::WrongSettings;
use crate::talk::Talk;

const HOSTS: u32 = 20;
const WHO: &str = "demo";

/// The demo's fleet, in a folder of its own.
#[derive(Debug)]
pub(crate) struct Demo {
    fleet: LocalFleet,
    settings: Settings,
    script: Script,
    waiting: Release,
    /// Removed at the end.
    folder: TempDir,
}

impl Demo {
    /// Makes the fleet and its first two releases.
    pub(crate) async fn make(listen: Option<SocketAddr>, talk: Talk) -> anyhow::Result<Self> {
        if let Some(address) = listen.filter(|address| !address.ip().is_loopback()) {
            let why = anyhow!("the demo listens on loopback alone, not on {address}");
            return Err(why.context(WrongSettings));
        }
        let folder = tempfile::Builder::new()
            .prefix("rollout-demo-")
            .tempdir()
            .context("no temporary folder can be made")?;
        talk.say(format!("making {HOSTS} SSH servers on 127.0.0.1 …"));
        let script = new_script();
        let fleet = demo::make_fleet(folder.path(), &script)
            .await
            .context("the demo fleet cannot be made; it needs git on the PATH")?;
        let waiting = fleet
            .add_release(demo::new_release(&script, "Release 2"))
            .await?;
        let mut settings = demo::settings(&fleet, folder.path())?;
        if let Some(address) = listen {
            settings.server.listen = address;
        }
        settings.health.every = Duration::from_secs(10);
        Ok(Self {
            fleet,
            settings,
            script,
            waiting,
            folder,
        })
    }

    /// Settings of its own; what is configured on this machine plays no part.
    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Adds the hosts, somebody to sign in as, and a token, and says what to do with them.
    pub(crate) async fn enrol(
        &self,
        store: &DieselStore,
        url: &str,
        talk: Talk,
    ) -> anyhow::Result<()> {
        let actor = Actor::local(WHO);
        store
            .host_add(demo::new_hosts(&self.fleet, &self.settings)?, &actor)
            .await?;
        for host in self.fleet.hosts() {
            store
                .host_pin(&host.name().parse()?, vec![host.host_key()], &actor)
                .await?;
        }
        let password: String = new_secret()?.text.chars().take(16).collect();
        let name: LoginName = WHO.parse()?;
        let user = NewUser {
            name,
            role: Role::Admin,
            password: Some(hash_password(password.clone()).await?),
        };
        store.user_add(user, &actor).await?;
        let token = new_token()?;
        let kept = NewToken {
            id: TokenId(Uuid::now_v7()),
            name: "curl".parse()?,
            role: Role::Operator,
            secret: token.hash,
            expires_at: None,
        };
        store.token_create(kept, &actor).await?;
        self.explain(url, &password, &token.text, talk);
        Ok(())
    }

    fn explain(&self, url: &str, password: &str, token: &str, talk: Talk) {
        let first = self.fleet.first_release();
        let from = short(&first.commit);
        let to = short(&self.waiting.commit);
        let breakage = self.script.breakage();
        for line in [
            format!("Demo   {HOSTS} hosts run {from}; {to} waits; {breakage}"),
            format!("Open   {url}/admin/updates   and sign in as {WHO} with {password}"),
            format!("Or     TOKEN={token}"),
            format!(
                r#"       curl -H "Authorization: Bearer $TOKEN" --json '{{"all":true}}' {url}/api/updates/trigger"#
            ),
            format!(r#"       curl -H "Authorization: Bearer $TOKEN" {url}/api/updates/status"#),
            "End    Ctrl-C; nothing stays behind".to_owned(),
        ] {
            talk.say(line);
        }
    }

    /// Publishes the next release whenever the last one was rolled out, so that there is always something to do.
    pub(crate) async fn publish(&self, store: &DieselStore, talk: Talk, stop: CancellationToken) {
        let mut publisher = Publisher {
            demo: self,
            store,
            talk,
            after: Seq(0),
            newest: self.waiting.commit.clone(),
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = publisher.run() => {}
        }
    }

    /// Ends the hosts and removes the folder.
    pub(crate) async fn end(self) {
        self.fleet.stop().await;
        let path = self.folder.path().to_owned();
        if let Err(error) = self.folder.close() {
            tracing::warn!(%error, path = %path.display(), "the demo's folder could not be removed");
        }
    }
}

fn new_script() -> Script {
    // Any number does; the low half of a random id is one.
    Script::new(HOSTS, None, Uuid::new_v4().as_u64_pair().1)
}

fn short(commit: &str) -> &str {
    commit.get(..10).unwrap_or(commit)
}

/// Follows the feed.
struct Publisher<'a> {
    demo: &'a Demo,
    store: &'a DieselStore,
    talk: Talk,
    after: Seq,
    newest: String,
}

impl Publisher<'_> {
    async fn run(&mut self) {
        loop {
            if let Err(error) = self.look().await {
                tracing::warn!(%error, "the demo could not publish its next release");
                sleep(Duration::from_secs(1)).await;
            }
        }
    }

    async fn look(&mut self) -> anyhow::Result<()> {
        self.store
            .events_wait(self.after, Duration::from_secs(30))
            .await?;
        for event in self.store.events_after(self.after, None, 500).await? {
            self.after = event.seq;
            if self.used_up(&event).await? {
                self.publish().await?;
            }
        }
        Ok(())
    }

    /// Whether this is the end of the newest release's rollout, a halt included: what halted once needs force again.
    async fn used_up(&self, event: &Event) -> Result<bool, StoreError> {
        let over = matches!(
            event.kind,
            EventKind::RolloutFinished | EventKind::RolloutHalted
        );
        let Some(id) = event.rollout.filter(|_| over) else {
            return Ok(false);
        };
        let target = self.store.rollout_get(id).await?.and_then(|r| r.target);
        Ok(target.is_some_and(|target| target.as_str() == self.newest))
    }

    async fn publish(&mut self) -> anyhow::Result<()> {
        let script = new_script();
        let number = self.demo.fleet.releases().len() + 1;
        let release = demo::new_release(&script, &format!("Release {number}"));
        self.newest = self.demo.fleet.add_release(release).await?.commit;
        let (to, breakage) = (short(&self.newest), script.breakage());
        self.talk.say(format!("Next   {to} waits; {breakage}"));
        Ok(())
    }
}
