//! A headless Chromium of the test's own, driven by chromedriver.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use thirtyfour::error::{WebDriverError, WebDriverErrorInner};
use thirtyfour::prelude::*;

/// How long anything on a page may take to come about.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// How often chromedriver is started.
const TRIES: usize = 5;
const AXE: &str = include_str!("axe/axe.min.js");

/// How the pages are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Look {
    pub(crate) width: u32,
    pub(crate) dark: bool,
    pub(crate) javascript: bool,
}

impl Look {
    pub(crate) const DESKTOP: Self = Self {
        width: 1280,
        dark: false,
        javascript: true,
    };
    pub(crate) const PHONE: Self = Self {
        width: 390,
        ..Self::DESKTOP
    };
    pub(crate) const DARK: Self = Self {
        dark: true,
        ..Self::DESKTOP
    };
    pub(crate) const PLAIN: Self = Self {
        javascript: false,
        ..Self::DESKTOP
    };
    pub(crate) const ALL: [Self; 4] = [Self::DESKTOP, Self::PHONE, Self::DARK, Self::PLAIN];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::PHONE => "phone",
            Self::DARK => "dark",
            Self::PLAIN => "plain",
            _ => "desktop",
        }
    }
}

/// chromedriver, ended when dropped.
pub(crate) struct Driver {
    child: Child,
    url: String,
}

impl Driver {
    pub(crate) fn start() -> Self {
        // The client is built for TLS, although it only speaks to this machine.
        let _ = rustls::crypto::ring::default_provider().install_default();
        // It takes a free port of IPv4 and then the same of IPv6, and ends when somebody has that one.
        (0..TRIES)
            .find_map(|_| Self::try_start())
            .expect("chromedriver says its port")
    }

    fn try_start() -> Option<Self> {
        let mut child = Command::new("chromedriver")
            .args(["--port=0"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver is there; is_left_out looked");
        let out = BufReader::new(child.stdout.take().expect("piped"));
        let port = out.lines().map_while(Result::ok).find_map(|line| {
            let (_, port) = line.split_once("successfully on port ")?;
            port.trim_end_matches('.').parse::<u16>().ok()
        });
        let Some(port) = port else {
            let _ = child.wait();
            return None;
        };
        let url = format!("http://127.0.0.1:{port}");
        Some(Self { child, url })
    }

    pub(crate) async fn open(&self, look: Look) -> Browser {
        let mut wanted = DesiredCapabilities::chrome();
        for argument in [
            "--headless=new",
            "--no-sandbox",
            "--disable-dev-shm-usage",
            "--disable-gpu",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--force-prefers-reduced-motion",
        ] {
            wanted.add_arg(argument).unwrap();
        }
        let page = WebDriver::new(&self.url, wanted).await.unwrap();
        let browser = Browser { page, look };
        browser
            .command(
                "Emulation.setDeviceMetricsOverride",
                json!({"width": look.width, "height": 900, "deviceScaleFactor": 1, "mobile": look.width < 500}),
            )
            .await;
        let scheme = if look.dark { "dark" } else { "light" };
        browser
            .command(
                "Emulation.setEmulatedMedia",
                json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]}),
            )
            .await;
        if !look.javascript {
            browser
                .command(
                    "Emulation.setScriptExecutionDisabled",
                    json!({"value": true}),
                )
                .await;
        }
        browser
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One window. Call [`Browser::close`] at the end.
pub(crate) struct Browser {
    pub(crate) page: WebDriver,
    pub(crate) look: Look,
}

impl Browser {
    async fn command(&self, command: &str, arguments: Value) {
        self.page.cdp().send_raw(command, arguments).await.unwrap();
    }

    /// Runs this script in every page from now on, before any of its own.
    pub(crate) async fn before_every_page(&self, script: &str) {
        let arguments = json!({ "source": script });
        self.command("Page.addScriptToEvaluateOnNewDocument", arguments)
            .await;
    }

    pub(crate) async fn go(&self, url: &str) {
        self.page.goto(url).await.unwrap();
    }

    pub(crate) async fn path(&self) -> String {
        self.page.current_url().await.unwrap().path().to_owned()
    }

    /// The first element that matches, once it is there.
    pub(crate) async fn find(&self, css: &str) -> WebElement {
        let mut wait = Wait::begin();
        loop {
            match self.page.find(By::Css(css)).await {
                Ok(found) => return found,
                Err(_) if !wait.is_too_long() => wait.pause().await,
                Err(_) => panic!("no {css} on {}:\n{}", self.path().await, self.text().await),
            }
        }
    }

    pub(crate) async fn has(&self, css: &str) -> bool {
        !self.page.find_all(By::Css(css)).await.unwrap().is_empty()
    }

    pub(crate) async fn fill(&self, css: &str, text: &str) {
        let field = self.find(css).await;
        field.clear().await.unwrap();
        field.send_keys(text).await.unwrap();
    }

    /// Clicks on it as a person does: it must be visible and nothing may cover it.
    pub(crate) async fn click(&self, css: &str) {
        let wait = Wait::begin();
        loop {
            let element = self.find(css).await;
            let clicked = match element.scroll_into_view().await {
                Ok(()) => element.click().await,
                Err(error) => Err(error),
            };
            match clicked {
                Ok(()) => return,
                // A live page has put a new one in its place since it was found; this one was not clicked on.
                Err(error) if is_stale(&error) && !wait.is_too_long() => {}
                Err(error) => panic!("{css} cannot be clicked on: {error}"),
            }
        }
    }

    /// Presses one key, wherever the focus is.
    pub(crate) async fn press(&self, key: Key) {
        let keys = self.page.action_chain().key_down(key.clone()).key_up(key);
        keys.perform().await.unwrap();
    }

    /// Presses the tabulator so many times.
    pub(crate) async fn tab(&self, times: u64) {
        let mut keys = self.page.action_chain();
        for _ in 0..times {
            keys = keys.key_down(Key::Tab).key_up(Key::Tab);
        }
        keys.perform().await.unwrap();
    }

    /// What a script returns.
    pub(crate) async fn run(&self, script: &str) -> Value {
        let answer = self.page.execute(script, vec![]).await.unwrap();
        answer.json().clone()
    }

    /// Whether the focus is on what matches.
    pub(crate) async fn is_on(&self, css: &str) -> bool {
        let script = "return document.activeElement?.matches(arguments[0]) ?? false";
        let found = self.page.execute(script, vec![json!(css)]).await.unwrap();
        found.json() == &json!(true)
    }

    /// Goes with the tabulator to what matches, as somebody does who has no mouse.
    pub(crate) async fn tab_to(&self, css: &str) {
        self.find(css).await;
        for _ in 0..200 {
            if self.is_on(css).await {
                return;
            }
            self.press(Key::Tab).await;
        }
        panic!("no tabulator leads to {css} on {}", self.path().await);
    }

    /// Goes there by keyboard, and enters.
    pub(crate) async fn enter(&self, css: &str) {
        self.tab_to(css).await;
        self.press(Key::Enter).await;
    }

    /// Waits until another page is there.
    pub(crate) async fn leaves(&self, path: &str) {
        let mut wait = Wait::begin();
        while self.path().await == path {
            assert!(!wait.is_too_long(), "it stays on {path}");
            wait.pause().await;
        }
    }

    /// Waits until nothing matches any more.
    pub(crate) async fn is_gone(&self, css: &str) {
        let mut wait = Wait::begin();
        while self.has(css).await {
            assert!(!wait.is_too_long(), "{css} stays");
            wait.pause().await;
        }
    }

    /// All that a person can read, as the browser itself puts it: WebDriver's own way looks at every element by script.
    pub(crate) async fn text(&self) -> String {
        let script = "return document.body?.innerText ?? ''";
        let Ok(answer) = self.page.execute(script, vec![]).await else {
            // Between two pages there is none.
            return String::new();
        };
        answer.json().as_str().unwrap_or_default().to_owned()
    }

    /// Waits until the page shows this text, without loading it again.
    pub(crate) async fn shows(&self, wanted: &str) {
        self.until(wanted, |text| text.contains(wanted)).await;
    }

    /// Waits until what the page shows is as wanted, without loading it again.
    pub(crate) async fn until(&self, what: &str, holds: impl Fn(&str) -> bool) {
        let mut wait = Wait::begin();
        loop {
            let text = self.text().await;
            if holds(&text) {
                return;
            }
            assert!(
                !wait.is_too_long(),
                "{} never showed {what:?}:\n{text}",
                self.path().await
            );
            wait.pause().await;
        }
    }

    /// Loads the page again until it shows this text: what people without JavaScript do.
    pub(crate) async fn shows_after_reloads(&self, wanted: &str) {
        let mut wait = Wait::begin();
        while !self.text().await.contains(wanted) {
            assert!(
                !wait.is_too_long(),
                "{} never showed {wanted:?}:\n{}",
                self.path().await,
                self.text().await
            );
            wait.pause().await;
            self.page.refresh().await.unwrap();
        }
    }

    /// Whichever way this look keeps up to date.
    pub(crate) async fn comes_to_show(&self, wanted: &str) {
        if self.look.javascript {
            self.shows(wanted).await;
        } else {
            self.shows_after_reloads(wanted).await;
        }
    }

    /// Nothing is wider than the window, and axe finds nothing serious.
    pub(crate) async fn is_fit_for_everybody(&self) {
        let wide =
            "return document.documentElement.scrollWidth - document.documentElement.clientWidth";
        let over = self.page.execute(wide, vec![]).await.unwrap();
        let over = over.json().as_i64().unwrap();
        assert!(over <= 0, "{} is {over} px too wide", self.path().await);
        if !self.look.javascript {
            return;
        }
        self.page.execute(AXE, vec![]).await.unwrap();
        let run = "const done = arguments[arguments.length - 1]; axe.run(document, {resultTypes: ['violations']}) \
            .then(r => done(r.violations.filter(v => v.impact === 'serious' || v.impact === 'critical') \
            .map(v => v.id + ': ' + v.nodes.map(n => n.html + ' ' + n.failureSummary).join(' | '))), e => done([String(e)]))";
        let found = self.page.execute_async(run, vec![]).await.unwrap();
        let found = found.json().as_array().unwrap().clone();
        assert!(
            found.is_empty(),
            "axe on {} ({}): {found:#?}",
            self.path().await,
            self.look.name()
        );
    }

    /// A picture of the whole page, where `ROLLOUT_SCREENSHOTS` names a folder for them.
    pub(crate) async fn picture(&self, name: &str) {
        let Some(folder) = std::env::var_os("ROLLOUT_SCREENSHOTS") else {
            return;
        };
        let file = std::path::Path::new(&folder).join(format!("{name}-{}.png", self.look.name()));
        self.page.screenshot(&file).await.unwrap();
    }

    pub(crate) async fn close(self) {
        self.page.quit().await.unwrap();
    }
}

fn is_stale(error: &WebDriverError) -> bool {
    matches!(
        error.as_inner(),
        WebDriverErrorInner::StaleElementReference(_)
    )
}

/// Waits for something on a page: looks at it often at first, then less and less, for every look keeps the browser busy.
pub(crate) struct Wait {
    begun: Instant,
    pause: Duration,
}

impl Wait {
    const FIRST: Duration = Duration::from_millis(50);
    const LONGEST: Duration = Duration::from_millis(500);

    pub(crate) fn begin() -> Self {
        Self {
            begun: Instant::now(),
            pause: Self::FIRST,
        }
    }

    pub(crate) fn is_too_long(&self) -> bool {
        self.begun.elapsed() >= PATIENCE
    }

    /// Between two looks.
    pub(crate) async fn pause(&mut self) {
        tokio::time::sleep(self.pause).await;
        self.pause = (self.pause * 3 / 2).min(Self::LONGEST);
    }
}
