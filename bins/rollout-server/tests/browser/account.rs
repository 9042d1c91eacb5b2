//! One's own password: what is refused, and what changing it does to one's other sessions; and ending those.

use local_fleet::ReleaseSpec;

use crate::chrome::{Browser, Driver, Look};
use crate::journeys::sign_in;
use crate::site::{PASSWORD, Site};

const NEW: &str = "another long password";

/// Fills the form and sends it.
async fn change(browser: &Browser, old: &str, new: &str, again: &str) {
    for (field, text) in [("old_password", old), ("password", new), ("again", again)] {
        let css = format!("#change-password input[name={field}]");
        browser.fill(&css, text).await;
    }
    browser.click("#change-password button").await;
}

/// With the new password, on the form that is there.
async fn sign_in_again(browser: &Browser) {
    browser.find("#sign-in").await;
    browser.fill("#sign-in input[name=name]", "vera").await;
    browser.fill("#sign-in input[name=password]", NEW).await;
    browser.click("#sign-in button").await;
    browser.find("#truth").await;
}

pub(crate) async fn own_password(driver: &Driver, look: Look) {
    let site = Site::start(1, ReleaseSpec::good("Second")).await;
    let (here, elsewhere) = (driver.open(look).await, driver.open(look).await);
    sign_in(&here, &site, "vera").await;
    sign_in(&elsewhere, &site, "vera").await;
    here.click("#account").await;
    here.find("#change-password").await;
    here.is_fit_for_everybody().await;
    here.picture("account").await;

    // Too short: the browser itself sends nothing, and the field says why.
    change(&here, PASSWORD, "short", "short").await;
    let refused = "#change-password input[name=password]:invalid";
    here.find(refused).await;
    assert!(!here.has("#changed").await && !here.has("#problem").await);

    change(&here, "not my password", NEW, NEW).await;
    here.find("#problem").await;
    here.is_fit_for_everybody().await;
    here.picture("account-refused").await;
    change(&here, PASSWORD, NEW, "yet another password").await;
    here.shows("not the same twice").await;

    // Nothing of that has changed anything.
    let overview = format!("{}/admin/updates", site.url);
    elsewhere.go(&overview).await;
    elsewhere.find("#truth").await;

    change(&here, PASSWORD, NEW, NEW).await;
    here.find("#changed").await;
    here.is_fit_for_everybody().await;
    here.picture("account-changed").await;
    here.go(&overview).await;
    here.find("#truth").await;
    elsewhere.go(&overview).await;
    elsewhere.find("#sign-in").await;
    elsewhere.fill("#sign-in input[name=name]", "vera").await;
    let password = "#sign-in input[name=password]";
    elsewhere.fill(password, PASSWORD).await;
    elsewhere.click("#sign-in button").await;
    elsewhere.find("#problem").await;
    elsewhere.fill(password, NEW).await;
    elsewhere.click("#sign-in button").await;
    elsewhere.find("#truth").await;

    // Whoever is signed in elsewhere is ended from here: one, then all.
    let account = format!("{}/admin/account", site.url);
    here.go(&account).await;
    here.find("#sessions #end-others").await;
    here.is_fit_for_everybody().await;
    here.picture("account-sessions").await;
    here.click("#sessions td button").await;
    here.find("#ended").await;
    here.shows("Nowhere else.").await;
    here.is_fit_for_everybody().await;
    here.picture("account-sessions-ended").await;
    elsewhere.go(&overview).await;
    sign_in_again(&elsewhere).await;
    here.go(&account).await;
    here.click("#end-others button").await;
    here.find("#ended").await;
    assert!(!here.has("#end-others").await);
    elsewhere.go(&overview).await;
    elsewhere.find("#sign-in").await;
    here.close().await;
    elsewhere.close().await;
    site.stop().await;
}
