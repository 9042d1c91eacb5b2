//! Hosts and people that say what browsers and terminals would act on: it is shown as text, everywhere.

use fleet_store::{Actor, Inventory, NewHost};
use local_fleet::{Fault, ReleaseSpec};
use serde_json::{Value, json};
use thirtyfour::By;

use crate::api::Api;
use crate::chrome::{Browser, Driver, Look};
use crate::journeys::sign_in;
use crate::site::Site;

/// What a host prints: markup, colours, a link for terminals, writing from right to left, and what is no text at all.
const SAID: &[u8] = b"error: <script>alert(1)</script><img src=x onerror=alert(1)> \x1b[31mred\n\
    <script>alert(1)</script>\n<img src=x onerror=alert(1)>\n</pre></details><svg onload=alert(1)>\n\
    \x1b[31mred\x1b[0m \x1b]8;;javascript:alert(1)\x07link\x1b]8;;\x07\n\
    \xe2\x80\xaebackwards\xe2\x81\xa6 nul\0nul \xff\xfe &lt;b&gt; \xc2\x9b31m\n";

/// What of that a person must be able to read.
const SHOWN: [&str; 8] = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "</pre></details><svg onload=alert(1)>",
    "\\x1b[31mred\\x1b[0m",
    "\\x1b]8;;javascript:alert(1)\\x07link",
    "\\u{202e}backwards\\u{2066}",
    "nul\\x00nul",
    "&lt;b&gt; \\x9b31m",
];

/// Tells whether anything of it was run; it runs before any script of a page.
const TRAP: &str = "window.alert = window.confirm = window.prompt = () => { window.ran = true; };";

/// What must be in no page: elements that we never make.
const PLANTED: &str = "return [...document.querySelectorAll(\
    \"script:not([src^='/admin/assets/']), img, svg[onload], [onerror], a[href^='javascript']\")].map(e => e.outerHTML)";

fn acts(letter: char) -> bool {
    let plain = matches!(letter, '\n' | '\t' | '\r');
    let turns = matches!(letter, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    letter.is_control() && !plain || turns
}

/// Nothing in it that a terminal or a reader would act on.
#[track_caller]
fn is_plain(what: &str, text: &str) {
    let found: Vec<char> = text.chars().filter(|letter| acts(*letter)).collect();
    assert!(found.is_empty(), "{what} has {found:?}:\n{text}");
}

/// The same for every text inside.
fn is_plain_inside(what: &str, value: &Value) {
    match value {
        Value::String(text) => is_plain(what, text),
        Value::Array(list) => list.iter().for_each(|value| is_plain_inside(what, value)),
        Value::Object(map) => map.iter().for_each(|(name, value)| {
            is_plain(what, name);
            is_plain_inside(what, value);
        }),
        _ => {}
    }
}

/// The page that is open is only text: nothing ran, nothing was planted, nothing acts.
async fn is_only_text(browser: &Browser) {
    let path = browser.path().await;
    let run = async |script: &str| {
        let answer = browser.page.execute(script, vec![]).await.unwrap();
        answer.json().clone()
    };
    assert_eq!(
        run("return window.ran ?? null").await,
        Value::Null,
        "{path}"
    );
    assert_eq!(run(PLANTED).await, json!([]), "{path}");
    let whole = run("return document.documentElement.outerHTML").await;
    is_plain(&path, whole.as_str().unwrap());
}

/// `demo-00` fails its install, `demo-01` answers nothing but that, `demo-02` prints it and goes on well.
async fn plant(site: &Site) {
    let file = site.path("said");
    std::fs::write(&file, SAID).unwrap();
    let says = format!("cat '{0}'; cat '{0}' >&2", file.display());
    let store = site.store().await;
    for (name, install) in [
        ("demo-00", format!("{says}; exit 1")),
        ("demo-02", format!("{says}; bun install")),
    ] {
        let known = store.host_get(&name.parse().unwrap()).await.unwrap();
        let known = known.unwrap();
        let mut spec = known.spec;
        spec.app.install = install;
        let host = NewHost {
            name: known.name.clone(),
            spec,
            labels: known.labels,
            owner: known.owner,
        };
        store
            .host_edit(&known.name, host, &Actor::local("test"))
            .await
            .unwrap();
    }
    let host = site.fleet.host("demo-01").unwrap();
    host.set_fault(Fault::StartupFile(format!("{says}; exit 0")))
        .await
        .unwrap();
}

/// Opens every output of the host's page.
async fn open_all(browser: &Browser) {
    let script = "for (const part of document.querySelectorAll('details')) part.open = true";
    browser.page.execute(script, vec![]).await.unwrap();
}

async fn what_hosts_say_is_text(driver: &Driver) {
    let site = Site::start(3, ReleaseSpec::good("<script>alert(1)</script>")).await;
    plant(&site).await;
    let api = Api::of(&site).await;
    let anna = driver.open(Look::DESKTOP).await;
    anna.before_every_page(TRAP).await;
    sign_in(&anna, &site, "anna").await;
    // The overview is open and live while all of that is said.
    anna.find("[data-live=on]").await;
    let message = "<img src=x onerror=alert(1)> \u{1b}[31m\u{202e}why";
    let id = api
        .trigger(json!({ "stages": [100], "max_failure_percent": 100, "message": message }))
        .await;
    anna.shows("Completed with failures").await;
    api.comes_to(&id, "completed_with_failures").await;
    let looked = api.post("/api/hosts/demo-01/health", json!({})).await;
    let health = looked.to_string();
    assert!(health.contains("onerror=alert(1)"), "{health}");
    is_only_text(&anna).await;

    let rollout = format!("/admin/updates/rollouts/{id}");
    let cause = "error: <script>alert(1)</script><img src=x onerror=alert(1)> \\x1b[31mred";
    let pages = [
        (rollout.as_str(), &[cause, "\\x1b[31m\\u{202e}why"][..]),
        ("/admin/updates/hosts/demo-00", &SHOWN),
        ("/admin/updates/hosts/demo-01", &["onerror=alert(1)"]),
        ("/admin/updates/hosts/demo-02", &SHOWN),
        ("/admin/updates", &[]),
        ("/admin/updates/hosts", &[]),
        ("/admin/updates/rollouts", &[]),
        ("/admin/hosts/demo-00/edit", &[]),
        ("/admin/audit", &[]),
    ];
    for (path, shown) in pages {
        anna.go(&format!("{}{path}", site.url)).await;
        open_all(&anna).await;
        for text in shown {
            anna.shows(text).await;
        }
        is_only_text(&anna).await;
    }
    anna.close().await;

    let carla = driver.open(Look::PHONE).await;
    carla.before_every_page(TRAP).await;
    sign_in(&carla, &site, "carla").await;
    carla.go(&format!("{}/dashboard", site.url)).await;
    carla.shows("demo-00").await;
    is_only_text(&carla).await;
    assert_eq!(
        carla
            .page
            .find_all(By::Css("tbody tr"))
            .await
            .unwrap()
            .len(),
        1
    );
    carla.close().await;

    programs_get_text(&api, &id).await;
    site.stop().await;
}

/// The API's answers and the feed.
async fn programs_get_text(api: &Api, id: &str) {
    let mut all = String::new();
    for path in [
        "/api/hosts".to_owned(),
        "/api/hosts/demo-01".to_owned(),
        "/api/updates/status".to_owned(),
        format!("/api/updates/rollouts/{id}"),
        format!("/api/updates/rollouts/{id}/hosts"),
        format!("/api/updates/rollouts/{id}/hosts/demo-00"),
        format!("/api/updates/rollouts/{id}/hosts/demo-00/output"),
        format!("/api/updates/rollouts/{id}/hosts/demo-01/output"),
        format!("/api/updates/rollouts/{id}/hosts/demo-02/output"),
        "/api/hosts/demo-00/history".to_owned(),
        "/api/audit".to_owned(),
    ] {
        let text = api.text(&path).await;
        is_plain(&path, &text);
        let value: Value = serde_json::from_str(&text).unwrap();
        is_plain_inside(&path, &value);
        all.push_str(&text);
    }
    for shown in ["<img src=x onerror=alert(1)>", "nul\\\\x00nul"] {
        assert!(all.contains(shown), "{shown} is lost");
    }
    let last = api.feed(None).await.last().unwrap().0;
    let mut stream = api.stream(0).await.unwrap();
    let mut feed = Vec::new();
    let end = format!("id: {last}\n");
    while !String::from_utf8_lossy(&feed).contains(&end) {
        feed.extend(stream.chunk().await.unwrap().expect("the stream goes on"));
    }
    let feed = String::from_utf8(feed).unwrap();
    is_plain("the feed", &feed);
    for line in feed.lines().filter_map(|line| line.strip_prefix("data: ")) {
        let event: Value = serde_json::from_str(line).unwrap();
        is_plain_inside("the feed", &event);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_browser() {
    if !fleet_testkit::is_left_out("chromium") {
        what_hosts_say_is_text(&Driver::start()).await;
    }
}
