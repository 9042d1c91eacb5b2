//! Whoever goes through a live page by keyboard, or has it read out, stays where they are.

use std::time::Duration;

use local_fleet::{InstallBehaviour, ReleaseSpec};
use serde_json::json;

use crate::api::Api;
use crate::chrome::{Browser, Driver, Look, Wait};
use crate::journeys::sign_in;
use crate::site::Site;

/// Waits until the page has put another element in the place of the one that had the focus, and looks where the focus is.
async fn is_kept(browser: &Browser, css: &str) {
    let mut wait = Wait::begin();
    let gone = "return !window.focused.isConnected";
    while browser.run(gone).await != json!(true) {
        assert!(!wait.is_too_long(), "{css} was never replaced");
        wait.pause().await;
    }
    assert!(
        browser.is_on(css).await,
        "the focus is not on {css} any more, but on {}",
        browser
            .run("return document.activeElement.outerHTML.slice(0, 200)")
            .await
    );
}

async fn goes_to(browser: &Browser, css: &str) {
    browser.tab_to(css).await;
    browser.run("window.focused = document.activeElement").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stays_where_it_is_on_a_live_page() {
    if fleet_testkit::is_left_out("chromium") {
        return;
    }
    let driver = Driver::start();
    let site = Site::start(4, ReleaseSpec::good("Second")).await;
    let api = Api::of(&site).await;
    let quick = || json!({ "settle_seconds": 1, "stages": [25, 100] });
    let browser = driver.open(Look::DESKTOP).await;
    sign_in(&browser, &site, "otto").await;

    // A link among others like it, in a table whose rows change.
    browser
        .go(&format!("{}/admin/updates/hosts", site.url))
        .await;
    let link = "a[href='/admin/updates/hosts/demo-02']";
    goes_to(&browser, link).await;
    let done = api.trigger(quick()).await;
    is_kept(&browser, link).await;
    api.comes_to(&done, "completed").await;

    // What can be scrolled, and has no address.
    let slow = InstallBehaviour::Slow(Duration::from_secs(600));
    let slow = ReleaseSpec::good("Third").install(slow);
    site.fleet.add_release(slow).await.unwrap();
    let table = "[data-region=hosts] [role=region]";
    goes_to(&browser, table).await;
    let running = api.trigger(quick()).await;
    is_kept(&browser, table).await;

    // On the rollout's own page, where more can be scrolled.
    let page = format!("{}/admin/updates/rollouts/{running}", site.url);
    browser.go(&page).await;
    let events = "[data-region=events] [role=region]";
    goes_to(&browser, events).await;
    let verb = format!("/api/updates/rollouts/{running}/pause");
    api.post(&verb, json!({})).await;
    is_kept(&browser, events).await;
    browser.close().await;
    site.end().await;
}
