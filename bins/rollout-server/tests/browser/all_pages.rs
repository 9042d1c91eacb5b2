//! Every page that there is, as everybody may come to it: fit for everybody, usable by keyboard, reached by links.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use admin_api::{Method, RULES};
use local_fleet::{InstallBehaviour, ReleaseSpec};
use serde_json::{Value, json};

use crate::api::Api;
use crate::chrome::{Browser, Driver, Look};
use crate::journeys::sign_in;
use crate::site::Site;

/// A fleet with a past: one rollout went well, one was halted, one is under way for as long as the walk takes.
struct Past {
    done: String,
    halted: String,
    running: String,
}

/// The routes that the pages of each route lead to.
type Leads = BTreeMap<&'static str, BTreeSet<&'static str>>;

async fn live_through(site: &Site, api: &Api) -> Past {
    let quick = || json!({ "settle_seconds": 0.5, "stages": [25, 100] });
    let done = api.trigger(quick()).await;
    api.comes_to(&done, "completed").await;
    let broken = ReleaseSpec::crash_loops("Broken");
    site.fleet.add_release(broken).await.unwrap();
    let halted = api.trigger(quick()).await;
    api.comes_to(&halted, "halted").await;
    let slow = InstallBehaviour::Slow(Duration::from_secs(3600));
    let slow = ReleaseSpec::good("Third").install(slow);
    site.fleet.add_release(slow).await.unwrap();
    let running = api.trigger(quick()).await;
    api.comes_to(&running, "running").await;
    Past {
        done,
        halted,
        running,
    }
}

/// The pages of the table of routes, with what this fleet has in the places of names and ids.
fn pages(past: &Past) -> Vec<String> {
    let mut pages: Vec<String> = [
        "/login?setup=1",
        "/admin/updates/start?which=all",
        "/admin/updates/hosts?search=demo-00",
    ]
    .map(str::to_owned)
    .into();
    let programs = ["/api/", "/healthz", "/readyz", "/metrics", "/admin/assets/"];
    for rule in RULES {
        let of_programs = programs.iter().any(|start| rule.path.starts_with(start));
        // Only a rollout that is paused has something to resume.
        let of_paused = rule.path.ends_with("/resume");
        if rule.method != Method::Get || of_programs || of_paused {
            continue;
        }
        let rollouts: &[&String] = match rule.path {
            "/admin/updates/rollouts/{id}" => &[&past.running, &past.halted, &past.done],
            path if path.ends_with("/retry") => &[&past.halted],
            path if path.ends_with("/rollback") => &[&past.done],
            _ => &[&past.running],
        };
        let path = rule.path.replace("{name}", "demo-00");
        let all = rollouts.iter().map(|id| path.replace("{id}", id));
        pages.extend(all.collect::<BTreeSet<_>>());
    }
    pages
}

/// Notes where the focus has been, and where it cannot be seen. Pages that are live put new elements in place of the old.
const WATCH_FOCUS: &str = "
window.nameOf = (e) => [e.tagName, e.id, e.type, e.name, e.getAttribute('href') ?? e.getAttribute('aria-label') ?? e.textContent].join(' ');
window.stops = new Set();
window.unseen = new Set();
addEventListener('focusin', ({ target }) => {
  stops.add(nameOf(target));
  if (target.type === 'radio') for (const other of document.getElementsByName(target.name)) stops.add(nameOf(other));
  const style = getComputedStyle(target);
  if (style.outlineStyle === 'none' && style.boxShadow === 'none') unseen.add(nameOf(target));
});
window.places = () => [...document.querySelectorAll(\"a[href], button, input, select, textarea, summary, [tabindex='0']\")]
  .filter((e) => !e.disabled && e.type !== 'hidden' && e.checkVisibility({ visibilityProperty: true })).map(nameOf);
return places().length;";

/// The tabulator leads to everything that can be used, and what has the focus can be seen to have it.
async fn is_used_by_keyboard(browser: &Browser) {
    let places = browser.run(WATCH_FOCUS).await.as_u64().unwrap();
    // Once around, wherever the focus was at first. While somebody goes, a live list moves its rows: what has moved from
    // before the focus to behind it is come to when they go around again.
    let mut left = json!(null);
    for _ in 0..3 {
        browser.tab(places + 5).await;
        left = browser
            .run("return places().filter(name => !stops.has(name))")
            .await;
        if left == json!([]) {
            break;
        }
    }
    assert_eq!(
        left,
        json!([]),
        "no tabulator leads there on {}",
        browser.path().await
    );
    let unseen = browser.run("return [...unseen]").await;
    assert_eq!(
        unseen,
        json!([]),
        "the focus is not seen on {}",
        browser.path().await
    );
}

/// Where a page leads: its links, and its forms that only look.
const LINKS: &str = "return [...[...document.querySelectorAll('a[href]')].map(a => a.getAttribute('href')), \
    ...[...document.querySelectorAll('form')].filter(f => f.method === 'get').map(f => f.getAttribute('action'))]";

/// The route of a path.
fn route(path: &str) -> Option<&'static str> {
    let path = path.split(['?', '#']).next().unwrap_or_default();
    let parts: Vec<&str> = path.split('/').collect();
    let fits = |rule: &str| {
        let wanted: Vec<&str> = rule.split('/').collect();
        let alike = |(part, wanted): (&&str, &&str)| part == wanted || wanted.starts_with('{');
        wanted.len() == parts.len() && parts.iter().zip(&wanted).all(alike)
    };
    let exact = RULES.iter().find(|rule| rule.path == path);
    let rule = exact.or_else(|| RULES.iter().find(|rule| fits(rule.path)))?;
    Some(rule.path)
}

/// Walks through all pages as one person, and notes where they lead.
async fn walk(browser: &Browser, site: &Site, paths: &[String], leads: &mut Leads) {
    for path in paths {
        browser.go(&format!("{}{path}", site.url)).await;
        if path.ends_with("/output") {
            // It is text, not a page.
            continue;
        }
        browser.find("h1").await;
        browser.is_fit_for_everybody().await;
        if browser.look == Look::DESKTOP {
            is_used_by_keyboard(browser).await;
        }
        let links = browser.page.execute(LINKS, vec![]).await.unwrap();
        let links = links.json().as_array().unwrap().clone();
        let links = links.iter().filter_map(Value::as_str).filter_map(route);
        let from = route(path).unwrap_or("nowhere");
        leads.entry(from).or_default().extend(links);
    }
}

/// Whether links lead from the first page to every other.
fn all_are_reached<'a>(leads: &Leads, paths: impl Iterator<Item = &'a String>) {
    let mut reached = BTreeSet::from(["/admin/updates"]);
    loop {
        let next: BTreeSet<_> = reached
            .iter()
            .filter_map(|from| leads.get(from))
            .flatten()
            .copied()
            .collect();
        if next.is_subset(&reached) {
            break;
        }
        reached.extend(next);
    }
    for path in paths {
        let route = route(path).unwrap();
        // One comes to these without a link: the first page, signing in, and the page of those who own hosts. What was
        // printed is linked where something was; on these hosts nothing was yet.
        if !["/admin", "/login", "/dashboard"].contains(&route) && !route.ends_with("/output") {
            assert!(reached.contains(route), "no link leads to {path}");
        }
    }
}

async fn every_page(driver: &Driver) {
    let site = Site::start(4, ReleaseSpec::good("Second")).await;
    let api = Api::of(&site).await;
    let past = live_through(&site, &api).await;
    let paths = pages(&past);
    let paused =
        ["", "/resume"].map(|tail| format!("/admin/updates/rollouts/{}{tail}", past.running));
    let open = ["/login", "/nothing"].map(str::to_owned);
    let wrong = [
        "/admin/nothing",
        "/nothing",
        "/admin/updates/hosts/nobody",
        "/admin/updates?token=x",
    ]
    .map(str::to_owned);
    let owned = [
        "/dashboard",
        "/admin/account",
        "/admin/users",
        "/admin/updates",
        "/admin/nothing",
    ]
    .map(str::to_owned);
    for look in Look::ALL {
        let browser = driver.open(look).await;
        // Before anybody is known: the form, and what is not there.
        let mut elsewhere = Leads::new();
        walk(&browser, &site, &open, &mut elsewhere).await;
        sign_in(&browser, &site, "anna").await;
        let mut leads = Leads::new();
        walk(&browser, &site, &paths, &mut leads).await;
        let running = format!("/api/updates/rollouts/{}", past.running);
        api.post(&format!("{running}/pause"), json!({})).await;
        walk(&browser, &site, &paused, &mut leads).await;
        api.post(&format!("{running}/resume"), json!({})).await;
        all_are_reached(&leads, paths.iter().chain(&paused));
        walk(&browser, &site, &wrong, &mut elsewhere).await;
        browser.go(&format!("{}/admin/account", site.url)).await;
        browser.click("#sign-out button").await;
        browser.find("#sign-in").await;
        sign_in(&browser, &site, "carla").await;
        walk(&browser, &site, &owned, &mut elsewhere).await;
        browser.close().await;
    }
    site.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_browser() {
    if !fleet_testkit::is_left_out("chromium") {
        every_page(&Driver::start()).await;
    }
}
