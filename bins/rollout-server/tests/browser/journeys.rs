//! What people do, from the first click to the last.

use local_fleet::ReleaseSpec;

use crate::account::own_password;
use crate::chrome::{Browser, Driver, Look};
use crate::dialogs::by_keyboard_alone;
use crate::site::{PASSWORD, Site};

const OVERVIEW: &str = "/admin/updates";

/// Signs in on the page that asks for it.
pub(crate) async fn sign_in(browser: &Browser, site: &Site, name: &str) {
    browser.go(&format!("{}{OVERVIEW}", site.url)).await;
    browser.fill("#sign-in input[name=name]", name).await;
    browser
        .fill("#sign-in input[name=password]", PASSWORD)
        .await;
    browser.click("#sign-in button").await;
    browser.find("#main").await;
    browser.shows(name).await;
}

/// Fills the form for the whole fleet, and confirms what the plan says.
pub(crate) async fn start(browser: &Browser, hosts: usize, settle: &str) {
    browser.click("#update-form input[value=all]").await;
    if !settle.is_empty() {
        browser.click("#more-settings summary").await;
        browser
            .fill("#update-form input[name=settle_seconds]", settle)
            .await;
    }
    browser.click("#update-plan").await;
    browser.find("#confirm-button").await;
    browser.shows(&format!("{hosts} hosts are updated")).await;
    browser.is_fit_for_everybody().await;
    browser.picture("plan").await;
    browser.click("#confirm-button").await;
    browser.find("[data-region=stages]").await;
}

/// Leaves something in the page that is gone once it is loaded again.
pub(crate) async fn mark(browser: &Browser) {
    if browser.look.javascript {
        let script = "document.documentElement.dataset.marked = 'yes'";
        browser.page.execute(script, vec![]).await.unwrap();
    }
}

pub(crate) async fn was_never_reloaded(browser: &Browser) {
    if browser.look.javascript {
        assert!(
            browser.has("html[data-marked=yes]").await,
            "it was loaded again"
        );
    }
}

async fn first_sign_in(driver: &Driver, look: Look) {
    let (site, secret) = Site::unborn(2, ReleaseSpec::good("Second")).await;
    let browser = driver.open(look).await;
    browser.go(&format!("{}{OVERVIEW}", site.url)).await;
    browser.is_fit_for_everybody().await;
    browser.picture("sign-in").await;
    browser.click("a[href='/login?setup=1']").await;
    browser
        .fill("#setup input[name=secret]", "not the secret")
        .await;
    browser.fill("#setup input[name=name]", "anna").await;
    browser.fill("#setup input[name=password]", PASSWORD).await;
    browser.click("#setup button").await;
    browser.find("#problem").await;
    browser.fill("#setup input[name=secret]", &secret).await;
    browser.fill("#setup input[name=name]", "anna").await;
    browser.fill("#setup input[name=password]", PASSWORD).await;
    browser.click("#setup button").await;
    browser.find("#truth").await;
    browser.shows("2 hosts").await;
    browser.click("#sign-out button").await;
    browser.find("#sign-in").await;
    // Gone for good: what is behind the door asks who it is.
    browser.go(&format!("{}{OVERVIEW}", site.url)).await;
    browser.fill("#sign-in input[name=name]", "anna").await;
    browser
        .fill("#sign-in input[name=password]", "a wrong password")
        .await;
    browser.click("#sign-in button").await;
    browser.find("#problem").await;
    browser.close().await;
    site.stop().await;
}

async fn start_and_watch_to_the_end(driver: &Driver, look: Look) {
    let site = Site::start(10, ReleaseSpec::good("Second")).await;
    let browser = driver.open(look).await;
    sign_in(&browser, &site, "otto").await;
    browser.is_fit_for_everybody().await;
    start(&browser, 10, "").await;
    mark(&browser).await;
    browser.picture("rollout-running").await;
    browser.comes_to_show("Completed").await;
    was_never_reloaded(&browser).await;
    browser.is_fit_for_everybody().await;
    browser.picture("rollout-completed").await;
    let done = browser
        .page
        .find_all(thirtyfour::By::Css(
            "[data-group=success] .cells [data-state=success]",
        ))
        .await;
    assert_eq!(done.unwrap().len(), 10);
    browser.go(&format!("{}{OVERVIEW}", site.url)).await;
    browser.is_fit_for_everybody().await;
    browser.picture("overview").await;
    browser.close().await;
    site.stop().await;
}

async fn a_halt_is_seen_and_explained(driver: &Driver, look: Look) {
    let site = Site::start(10, ReleaseSpec::crash_loops("Broken")).await;
    let browser = driver.open(look).await;
    sign_in(&browser, &site, "otto").await;
    start(&browser, 10, "").await;
    mark(&browser).await;
    browser.comes_to_show("Halted").await;
    browser.comes_to_show("did not stay up").await;
    browser.comes_to_show("9 skipped").await;
    was_never_reloaded(&browser).await;
    browser.find("#failures").await;
    browser.is_fit_for_everybody().await;
    browser.picture("rollout-halted").await;
    let text = browser.text().await;
    assert!(text.contains("stage 1"), "which stage: {text}");
    browser.close().await;
    site.stop().await;
}

async fn abort(driver: &Driver, look: Look) {
    let site = Site::start(10, ReleaseSpec::good("Second")).await;
    let browser = driver.open(look).await;
    sign_in(&browser, &site, "otto").await;
    start(&browser, 10, "4").await;
    browser.click("#abort").await;
    browser.find("#confirm").await;
    browser.is_fit_for_everybody().await;
    browser.picture("abort").await;
    browser.click("#confirm-button").await;
    browser.find("[data-region=stages]").await;
    browser.comes_to_show("Aborted").await;
    browser.close().await;
    site.stop().await;
}

async fn a_failed_hosts_log(driver: &Driver, look: Look) {
    let release = ReleaseSpec::crash_loops("Broken on one").only_on(["demo-07"]);
    let site = Site::start(10, release).await;
    let broken = "demo-07";
    assert!(site.fleet.host(broken).is_some());
    let browser = driver.open(look).await;
    sign_in(&browser, &site, "otto").await;
    start(&browser, 10, "").await;
    browser.comes_to_show("Completed with failures").await;
    browser.comes_to_show(broken).await;
    browser
        .click(&format!("#failures a[href*='{broken}']"))
        .await;
    browser.shows("Cannot find module").await;
    browser.shows("rolled back").await;
    browser.is_fit_for_everybody().await;
    browser.picture("host").await;
    browser.close().await;
    site.stop().await;
}

/// The list of hosts keeps up by itself, and a filter holds while it does.
async fn the_list_of_hosts_is_live(driver: &Driver) {
    let site = Site::start(4, ReleaseSpec::good("Second")).await;
    let (otto, vera) = (
        driver.open(Look::DESKTOP).await,
        driver.open(Look::PHONE).await,
    );
    sign_in(&otto, &site, "otto").await;
    sign_in(&vera, &site, "vera").await;
    let list = format!("{}/admin/updates/hosts", site.url);
    vera.go(&format!("{list}?status=success")).await;
    vera.shows("No host matches.").await;
    mark(&vera).await;
    start(&otto, 4, "").await;
    vera.shows("4 of them match").await;
    vera.find("[data-region=hosts] td [data-state=success]")
        .await;
    was_never_reloaded(&vera).await;
    vera.is_fit_for_everybody().await;
    otto.close().await;
    vera.close().await;
    site.stop().await;
}

/// Each journey in each look: a test of its own, so that they can be made side by side.
macro_rules! journeys {
    ($($journey:ident)+) => {
        $(
            mod $journey {
                use crate::chrome::{Driver, Look};

                async fn as_seen(look: Look) {
                    if !fleet_testkit::is_left_out("chromium") {
                        super::super::$journey(&Driver::start(), look).await;
                    }
                }

                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn on_a_desktop() {
                    as_seen(Look::DESKTOP).await;
                }

                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn on_a_phone() {
                    as_seen(Look::PHONE).await;
                }

                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn in_the_dark() {
                    as_seen(Look::DARK).await;
                }

                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn without_javascript() {
                    as_seen(Look::PLAIN).await;
                }
            }
        )+
    };
}

mod in_a_browser {
    use crate::chrome::Driver;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_list_of_hosts_is_live() {
        if !fleet_testkit::is_left_out("chromium") {
            super::the_list_of_hosts_is_live(&Driver::start()).await;
        }
    }

    journeys! {
        by_keyboard_alone own_password first_sign_in start_and_watch_to_the_end a_halt_is_seen_and_explained abort a_failed_hosts_log
    }
}
