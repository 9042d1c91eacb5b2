//! What asks "are you sure?": laid over the page, steered by keyboard alone; a page of its own without JavaScript.

use fleet_store::{Actor, Rollouts};
use fleet_types::Verb;
use local_fleet::ReleaseSpec;
use thirtyfour::Key;

use crate::chrome::{Browser, Driver, Look};
use crate::journeys::sign_in;
use crate::site::Site;

/// What asks, as this look shows it.
fn question(browser: &Browser) -> &'static str {
    if browser.look.javascript {
        "dialog[open]"
    } else {
        "main.narrow, main"
    }
}

/// Opens it and looks at it: it says what it should, is fit for everybody, and the page under it has not gone.
async fn asks(browser: &Browser, opener: &str, says: &[&str]) {
    let from = browser.path().await;
    browser.enter(opener).await;
    browser.find("#confirm-button").await;
    let asked = browser.find(question(browser)).await.text().await.unwrap();
    for wanted in says {
        assert!(
            asked.contains(wanted),
            "{opener} says no {wanted:?}: {asked}"
        );
    }
    if browser.look.javascript {
        assert_eq!(browser.path().await, from);
        assert!(browser.is_on("dialog h1").await, "the focus went elsewhere");
    } else {
        assert_ne!(browser.path().await, from);
    }
    browser.is_fit_for_everybody().await;
}

/// The question goes away and the page is as it was, the focus where it came from.
async fn is_let_be(browser: &Browser, opener: &str) {
    if browser.look.javascript {
        browser.is_gone("dialog").await;
        assert!(browser.is_on(opener).await, "the focus is not back");
    } else {
        browser.find(opener).await;
    }
}

/// Confirms what starts a rollout, and comes to its page.
async fn starts(browser: &Browser) {
    let from = browser.path().await;
    browser.enter("#confirm-button").await;
    browser.leaves(&from).await;
    browser.find("[data-region=stages]").await;
}

pub(crate) async fn by_keyboard_alone(driver: &Driver, look: Look) {
    let site = Site::start(10, ReleaseSpec::good("Second")).await;
    let store = site.store().await;
    let browser = driver.open(look).await;
    sign_in(&browser, &site, "otto").await;
    let old = "not looked at yet";

    // Starting: the plan, let be twice, then confirmed.
    browser.tab_to("#update-form input[value=all]").await;
    browser.press(Key::Space).await;
    browser.enter("#more-settings summary").await;
    let settle = "#update-form input[name=settle_seconds]";
    browser.tab_to(settle).await;
    browser.fill(settle, "10").await;
    let plan = [
        "10 hosts are updated",
        "Now on",
        old,
        "Start: update 10 hosts",
    ];
    asks(&browser, "#update-plan", &plan).await;
    browser.picture("dialog-start").await;
    if look.javascript {
        assert!(
            !browser.has("dialog #update-form").await,
            "the plan is not changed here"
        );
        browser.press(Key::Escape).await;
        is_let_be(&browser, "#update-plan").await;
        asks(&browser, "#update-plan", &plan).await;
        browser.enter("dialog [data-cancel]").await;
        is_let_be(&browser, "#update-plan").await;
        asks(&browser, "#update-plan", &plan).await;
    }
    starts(&browser).await;

    // Pausing, and letting be to resume.
    browser.comes_to_show("9 waiting").await;
    asks(
        &browser,
        "#pause",
        &["9 hosts", old, "until somebody resumes"],
    )
    .await;
    browser.picture("dialog-pause").await;
    browser.enter("#confirm-button").await;
    browser.comes_to_show("Paused.").await;
    browser.comes_to_show("1 of 1 done").await;
    asks(&browser, "#resume", &["9 hosts go from", old]).await;
    browser.enter("[data-cancel]").await;
    is_let_be(&browser, "#resume").await;

    // Somebody else is faster: the refusal is told where the question was asked.
    asks(&browser, "#resume", &["9 hosts go from"]).await;
    let active = store.rollout_active().await.unwrap().unwrap();
    let somebody = Actor::local("test");
    store
        .rollout_verb(active.id, Verb::Abort, &somebody)
        .await
        .unwrap();
    browser.enter("#confirm-button").await;
    browser.find("#problem").await;
    browser.is_fit_for_everybody().await;
    browser.picture("dialog-refused").await;
    if look.javascript {
        assert!(browser.is_on("dialog #problem").await);
        browser.press(Key::Escape).await;
        browser.is_gone("dialog").await;
    } else {
        browser
            .go(&format!(
                "{}/admin/updates/rollouts/{}",
                site.url, active.id
            ))
            .await;
    }
    browser.comes_to_show("Aborted.").await;

    let target = store.rollout_get(active.id).await.unwrap().unwrap().target;
    let target = format!("{} (1)", target.unwrap().short());

    // Trying the rest again, and taking all of that back.
    asks(&browser, "#retry", &["9 hosts are tried again", old]).await;
    starts(&browser).await;
    asks(&browser, "#abort", &["under way", "stay on"]).await;
    browser.picture("dialog-abort").await;
    browser.enter("#confirm-button").await;
    browser.comes_to_show("Aborted.").await;
    browser
        .go(&format!(
            "{}/admin/updates/rollouts/{}",
            site.url, active.id
        ))
        .await;
    asks(
        &browser,
        "#rollback",
        &["1 host goes back", &target, "previous version: "],
    )
    .await;
    starts(&browser).await;
    browser.comes_to_show("Completed.").await;
    browser.close().await;
    site.stop().await;
}
