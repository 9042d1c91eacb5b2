//! What is heard of the feed when the server is killed: in two browsers, and by a program beside them.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use local_fleet::{InstallBehaviour, ReleaseSpec};
use reqwest::Url;
use serde_json::Value;

use crate::api::{Api, Heard};
use crate::chrome::{Browser, Driver, Look};
use crate::journeys::{mark, sign_in, start, was_never_reloaded};
use crate::site::Site;

/// How long the last event may take to be heard everywhere.
const PATIENCE: Duration = Duration::from_secs(60);

/// Keeps all that a page hears of the feed, and where it began to listen; it runs before any script of the page.
const RECORDER: &str = "
window.heard = [];
window.feeds = [];
window.EventSource = class extends EventSource {
  constructor(url, more) {
    super(url, more);
    feeds.push(String(url));
    for (const name of ['message', 'reset', 'bye']) {
      this.addEventListener(name, (message) =>
        heard.push([Number(message.lastEventId), JSON.parse(message.data).type ?? name]));
    }
  }
};";

/// What a page heard, which rollout it listened to, and from where on.
struct Page {
    heard: Vec<Heard>,
    after: i64,
    rollout: Option<String>,
}

async fn page(browser: &Browser) -> Page {
    let script = "return {heard: window.heard, feeds: window.feeds}";
    let kept = browser.page.execute(script, vec![]).await.unwrap();
    let kept = kept.json().clone();
    let feed: Url = kept["feeds"][0].as_str().unwrap().parse().unwrap();
    let of = |wanted: &str| {
        let mut pairs = feed.query_pairs();
        pairs.find_map(|(name, value)| (name == wanted).then(|| value.into_owned()))
    };
    Page {
        heard: serde_json::from_value(kept["heard"].clone()).unwrap(),
        after: of("after").unwrap().parse().unwrap(),
        rollout: of("rollout"),
    }
}

/// A program that follows the feed from its beginning, and comes back with the last id as often as it is cut off.
struct Program {
    heard: Arc<Mutex<Vec<Heard>>>,
    /// How often it was connected.
    streams: Arc<Mutex<u32>>,
    task: tokio::task::JoinHandle<()>,
}

impl Program {
    fn follow(api: Api) -> Self {
        let (heard, streams) = (Arc::<Mutex<Vec<Heard>>>::default(), Arc::default());
        let task = tokio::spawn(follow(api, Arc::clone(&heard), Arc::clone(&streams)));
        Self {
            heard,
            streams,
            task,
        }
    }

    fn heard(&self) -> Vec<Heard> {
        self.heard.lock().unwrap().clone()
    }

    /// Waits until it has heard more than `count`, and tells how much.
    async fn hears_more_than(&self, count: usize) -> usize {
        let begun = Instant::now();
        loop {
            let heard = self.heard().len();
            if heard > count {
                return heard;
            }
            assert!(begun.elapsed() < PATIENCE, "nothing is heard after {count}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn follow(api: Api, heard: Arc<Mutex<Vec<Heard>>>, streams: Arc<Mutex<u32>>) {
    let mut last = 0;
    loop {
        if let Ok(mut stream) = api.stream(last).await {
            *streams.lock().unwrap() += 1;
            let mut text = String::new();
            // The server's end is an error here, or the end of the body.
            while let Ok(Some(chunk)) = stream.chunk().await {
                text.push_str(std::str::from_utf8(&chunk).unwrap());
                while let Some((message, rest)) = text.split_once("\n\n") {
                    if let Some(message) = read(message) {
                        last = message.0;
                        heard.lock().unwrap().push(message);
                    }
                    text = rest.to_owned();
                }
            }
        }
        // As the stream's own `retry` would have it, but sooner.
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// A message as it stands in the stream. What is only said to keep the connection has no id.
fn read(message: &str) -> Option<Heard> {
    let field = |name: &str| {
        let mut lines = message.lines();
        lines.find_map(|line| line.strip_prefix(name).map(str::trim))
    };
    let id = field("id:")?.parse().unwrap();
    if let Some(name) = field("event:") {
        return Some((id, name.to_owned()));
    }
    let data: Value = serde_json::from_str(field("data:")?).unwrap();
    Some((id, data["type"].as_str().unwrap().to_owned()))
}

/// Two people watch and a program follows. The server is killed twice: once it is back at once, once only when everybody
/// has noticed. The rollout ends well, nobody loaded anything again, and all three heard the feed as it is kept.
async fn the_server_dies_meanwhile(driver: &Driver) {
    // Slow enough that no kill comes after the end.
    let slow = InstallBehaviour::Slow(Duration::from_secs(1));
    let mut site = Site::start(10, ReleaseSpec::good("Second").install(slow)).await;
    let api = Api::of(&site).await;
    let program = Program::follow(api.clone());
    let (otto, vera) = (
        driver.open(Look::DESKTOP).await,
        driver.open(Look::PHONE).await,
    );
    for browser in [&otto, &vera] {
        browser.before_every_page(RECORDER).await;
    }
    sign_in(&otto, &site, "otto").await;
    sign_in(&vera, &site, "vera").await;
    // Vera stays on the overview, where all of the feed is heard; Otto on the rollout's own page.
    vera.find("[data-live=on]").await;
    mark(&vera).await;
    start(&otto, 10, "2").await;
    otto.find("[data-live=on]").await;
    mark(&otto).await;

    otto.find("[data-stage='1'][data-at=passed]").await;
    let before = program.hears_more_than(0).await;
    site.crash();
    site.restart();
    otto.find("[data-stage='2']:is([data-at=running], [data-at=passed])")
        .await;
    let between = program.hears_more_than(before).await;
    site.crash();
    for browser in [&otto, &vera] {
        browser.find("[data-live=off]").await;
    }
    site.restart();
    for browser in [&otto, &vera] {
        browser.find("[data-live=on]").await;
        browser.shows("Completed").await;
        was_never_reloaded(browser).await;
    }

    let all = api.feed(None).await;
    let last = all.last().unwrap().0;
    let seen = |heard: &[Heard]| heard.last().is_some_and(|(id, _)| *id >= last);
    let begun = Instant::now();
    let (by_otto, by_vera) = loop {
        let pages = (page(&otto).await, page(&vera).await);
        if seen(&program.heard()) && seen(&pages.1.heard) {
            break pages;
        }
        assert!(begun.elapsed() < PATIENCE, "the end is never heard: {last}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    is_the_feed("the program", &program.heard(), &all, 0, last);
    is_the_feed("vera", &by_vera.heard, &all, by_vera.after, last);
    assert_eq!(by_vera.rollout, None);
    let rollout = by_otto.rollout.as_deref();
    let own = api.feed(rollout).await;
    assert!(rollout.is_some() && own.len() > 20, "{rollout:?} {own:?}");
    is_the_feed("otto", &by_otto.heard, &own, by_otto.after, last);
    assert!(
        all.len() > between,
        "the second end came after the rollout's"
    );
    assert!(
        *program.streams.lock().unwrap() >= 3,
        "it was never cut off"
    );
    otto.close().await;
    vera.close().await;
    site.stop().await;
}

/// Up to the last event, what was heard is what is kept: in order, nothing missing, nothing twice.
#[track_caller]
fn is_the_feed(who: &str, heard: &[Heard], kept: &[Heard], after: i64, last: i64) {
    let upto = |events: &[Heard]| -> Vec<Heard> {
        let part = events.iter().filter(|(id, _)| *id > after && *id <= last);
        part.cloned().collect()
    };
    assert_eq!(upto(heard), upto(kept), "what {who} heard after {after}");
    assert!(heard.iter().all(|(id, _)| *id > after), "{who}: {heard:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_browser() {
    if !fleet_testkit::is_left_out("chromium") {
        the_server_dies_meanwhile(&Driver::start()).await;
    }
}
