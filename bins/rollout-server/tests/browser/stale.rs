//! What an open page says is true also where no event tells it so: it asks again by itself.

use std::time::{Duration, Instant};

use fleet_store::{Access, Actor, SessionTimes};
use local_fleet::{InstallBehaviour, ReleaseSpec};
use serde_json::json;

use crate::api::Api;
use crate::chrome::{Browser, Driver, Look, Wait};
use crate::journeys::{mark, sign_in, was_never_reloaded};
use crate::site::Site;

/// Counts how often the page is fetched, and lets a test hide the page, put the clock forward, cut fetches of the page off,
/// have streams refused, and let it be said that nobody works on a rollout; it runs before any script of the page.
const LEVERS: &str = "
window.fetched = 0;
window.tried = 0;
window.ahead = 0;
const now = Date.now.bind(Date);
Date.now = () => now() + window.ahead;
Object.defineProperty(document, 'hidden', { get: () => window.away === true });
window.turn = (away) => {
  window.away = away;
  document.dispatchEvent(new Event('visibilitychange'));
};
const get = window.fetch.bind(window);
window.fetch = async (url, more) => {
  const page = more?.headers?.accept === 'text/html';
  if (page) window.tried += 1;
  if (page && window.cut) throw new TypeError('cut off');
  const reply = await get(url, more);
  if (page && reply.ok) window.fetched += 1;
  if (page || !window.alone || !reply.ok) return reply;
  return new Response((await reply.text()).replace('\"attended\":true', '\"attended\":false'));
};
const Stream = window.EventSource;
window.EventSource = class extends Stream {
  constructor(url) {
    super(window.refused ? '/no/stream' : url);
    window.stream = this;
  }
};";

/// Waits until a script gives something else than false.
async fn comes(browser: &Browser, script: &str) {
    let mut wait = Wait::begin();
    while browser.run(&format!("return Boolean({script})")).await != json!(true) {
        assert!(!wait.is_too_long(), "never: {script}");
        wait.pause().await;
    }
}

/// Waits until all is as it should be, and nothing is under way: the next fetch has a reason of its own.
async fn is_quiet(browser: &Browser) {
    browser.find("[data-live=on]").await;
    let mut wait = Wait::begin();
    let mut before = json!(null);
    let mut since = Instant::now();
    while since.elapsed() < Duration::from_secs(4) {
        let tried = browser.run("return window.tried").await;
        if tried != before {
            (before, since) = (tried, Instant::now());
        }
        assert!(!wait.is_too_long(), "it never rests");
        wait.pause().await;
    }
    browser.run("window.fetched = 0; window.tried = 0").await;
}

/// A page is left for long enough, or seen again: it is fetched anew although nothing was told.
async fn it_is_never_older_than_a_minute(browser: &Browser) {
    is_quiet(browser).await;
    browser.run("turn(true); turn(false)").await;
    browser.find("[data-live=on]").await;
    browser.run("window.ahead += 61000").await;
    comes(browser, "window.fetched > 0").await;
    is_quiet(browser).await;
    browser
        .run("turn(true); window.ahead += 61000; turn(false)")
        .await;
    comes(browser, "window.fetched > 0").await;
}

/// Nobody works on the rollout any more, which no event tells.
async fn that_nobody_is_at_work_is_seen(browser: &Browser) {
    is_quiet(browser).await;
    browser
        .run("window.alone = true; turn(true); turn(false)")
        .await;
    comes(browser, "window.fetched > 0").await;
    browser.run("window.alone = false").await;
}

/// The page cannot be fetched just when something has happened: that is made up for.
async fn what_was_missed_is_made_up_for(browser: &Browser, api: &Api, rollout: &str) {
    is_quiet(browser).await;
    browser.run("window.cut = true").await;
    let verb = format!("/api/updates/rollouts/{rollout}/pause");
    api.post(&verb, json!({})).await;
    comes(browser, "window.tried > 0").await;
    browser.run("window.cut = false").await;
    browser.shows("Paused.").await;
}

/// The server takes no more streams: the page asks instead, says so, and listens again as soon as it can.
async fn without_a_stream_it_asks(browser: &Browser, api: &Api, rollout: &str) {
    is_quiet(browser).await;
    browser
        .run("window.refused = true; turn(true); turn(false)")
        .await;
    browser.find("[data-live=asks]").await;
    browser.shows("○ every 10 s").await;
    let verb = format!("/api/updates/rollouts/{rollout}/resume");
    api.post(&verb, json!({})).await;
    browser
        .until("no pause", |text| !text.contains("Paused."))
        .await;
    assert!(browser.has("[data-live=asks]").await);
    browser
        .run("window.refused = false; turn(true); turn(false)")
        .await;
    browser.find("[data-live=on]").await;
}

/// A page that shows no rollout asks for itself. The clock stands too early for it to be fetched by age.
async fn a_page_of_a_host_asks_for_itself(browser: &Browser) {
    is_quiet(browser).await;
    browser
        .run("window.ahead -= 600000; window.refused = true; turn(true); turn(false)")
        .await;
    browser.find("[data-live=asks]").await;
    comes(browser, "window.fetched > 0").await;
}

/// The session is over when the page is looked at again: it asks who is there.
async fn whose_session_is_over_signs_in_again(browser: &Browser, site: &Site) {
    browser.run("turn(true)").await;
    let store = site.store().await;
    let times = SessionTimes::default();
    let otto = "otto".parse().unwrap();
    for session in store.session_list(&otto, times).await.unwrap() {
        let by = Actor::local("test");
        store.session_end(session.id, &by).await.unwrap();
    }
    was_never_reloaded(browser).await;
    browser.run("turn(false)").await;
    browser.find("#sign-in").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_that_hears_nothing_asks() {
    if fleet_testkit::is_left_out("chromium") {
        return;
    }
    let driver = Driver::start();
    let slow = InstallBehaviour::Slow(Duration::from_secs(600));
    let site = Site::start(4, ReleaseSpec::good("Second").install(slow)).await;
    let api = Api::of(&site).await;
    let browser = driver.open(Look::DESKTOP).await;
    browser.before_every_page(LEVERS).await;
    sign_in(&browser, &site, "otto").await;
    let rollout = api.trigger(json!({ "stages": [25, 100] })).await;
    let host = format!("{}/admin/updates/hosts/demo-00", site.url);
    browser.go(&host).await;
    a_page_of_a_host_asks_for_itself(&browser).await;
    let page = format!("{}/admin/updates/rollouts/{rollout}", site.url);
    browser.go(&page).await;
    browser.shows("install").await;
    mark(&browser).await;
    it_is_never_older_than_a_minute(&browser).await;
    that_nobody_is_at_work_is_seen(&browser).await;
    what_was_missed_is_made_up_for(&browser, &api, &rollout).await;
    without_a_stream_it_asks(&browser, &api, &rollout).await;
    whose_session_is_over_signs_in_again(&browser, &site).await;
    browser.close().await;
    site.end().await;
}
