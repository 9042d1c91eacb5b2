//! HTTP: one request, its answer, and what is tried again.

use std::error::Error;
use std::sync::OnceLock;
use std::time::Duration;

use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::{Method, Response, StatusCode, Url, redirect};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::sleep;
use uuid::Uuid;

use super::login::Login;
use super::problem::Problem;
use crate::exit::Exit;
use crate::failure::Failure;

/// How long it may take until a connection is there.
const CONNECT: Duration = Duration::from_secs(10);
/// How long an answer may take that waits for nothing.
pub(super) const ANSWER: Duration = Duration::from_secs(45);
/// How long a look at a host may take: a connection has to come free first.
pub(super) const LOOK: Duration = Duration::from_secs(150);
/// Before each further try.
const PAUSES: [Duration; 3] = [
    Duration::from_millis(300),
    Duration::from_secs(1),
    Duration::from_secs(3),
];
/// The longest wait that a server may ask for between two tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// No answer of ours is larger.
const ANSWER_MOST: usize = 64 << 20;

/// What to do about a change whose answer was lost.
const MAY_BE_DONE: &str = "it may have been carried out all the same: rollout-cli status shows; look before you repeat it";

/// A server that answers to our token.
#[derive(Clone, Debug)]
pub(super) struct Client {
    http: reqwest::Client,
    url: Url,
}

/// One request.
struct Ask<'a> {
    method: Method,
    url: Url,
    body: Option<&'a Value>,
    /// However often it is sent, it is carried out once.
    key: Option<Uuid>,
    /// Sending it twice does no harm.
    repeatable: bool,
    /// That it is not there is an answer.
    may_be_missing: bool,
    patience: Duration,
}

impl Client {
    pub(super) fn new(login: Login) -> Result<Self, Failure> {
        install_tls();
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, login.bearer);
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        let mut builder = reqwest::Client::builder();
        if login.url.scheme() == "http" {
            // Unencrypted is for this machine alone; a proxy of the environment would see the token.
            builder = builder.no_proxy();
        }
        let http = builder
            .user_agent(concat!("rollout-cli/", env!("CARGO_PKG_VERSION")))
            .default_headers(headers)
            .connect_timeout(CONNECT)
            // Whoever sends us elsewhere would be told the token.
            .redirect(redirect::Policy::none())
            .build()
            .map_err(|error| Failure::unexpected("HTTP cannot be spoken here").why(error))?;
        Ok(Self {
            http,
            url: login.url,
        })
    }

    pub(super) fn address(&self) -> String {
        self.url.as_str().trim_end_matches('/').to_owned()
    }

    /// Asks for something.
    pub(super) async fn get<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &[(&str, String)],
    ) -> Result<T, Failure> {
        self.get_within(path, query, ANSWER).await
    }

    /// Asks for something that may not be there.
    pub(super) async fn get_if_there<T: DeserializeOwned>(
        &self,
        path: &[&str],
    ) -> Result<Option<T>, Failure> {
        let ask = Ask {
            repeatable: true,
            may_be_missing: true,
            ..Ask::new(Method::GET, self.place(path)?)
        };
        let response = self.send(ask).await?;
        if response.status() == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        self.answer(response).await.map(Some)
    }

    /// The same, for an answer that may take this long.
    pub(super) async fn get_within<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &[(&str, String)],
        patience: Duration,
    ) -> Result<T, Failure> {
        let mut url = self.place(path)?;
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let ask = Ask {
            patience,
            repeatable: true,
            ..Ask::new(Method::GET, url)
        };
        self.answer(self.send(ask).await?).await
    }

    /// Does something that is the same when it is done twice.
    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        path: &[&str],
        body: &Value,
    ) -> Result<T, Failure> {
        let ask = Ask {
            body: Some(body),
            repeatable: true,
            ..Ask::new(Method::POST, self.place(path)?)
        };
        self.answer(self.send(ask).await?).await
    }

    /// Does something that the server does once for this key.
    pub(super) async fn post_once<T: DeserializeOwned>(
        &self,
        path: &[&str],
        body: &Value,
        key: Uuid,
    ) -> Result<T, Failure> {
        let ask = Ask {
            body: Some(body),
            repeatable: true,
            key: Some(key),
            ..Ask::new(Method::POST, self.place(path)?)
        };
        self.answer(self.send(ask).await?).await
    }

    /// Changes something; sent once only. The answer holds nothing that is wanted.
    pub(super) async fn change(
        &self,
        method: Method,
        path: &[&str],
        body: Option<&Value>,
    ) -> Result<(), Failure> {
        let ask = Ask {
            body,
            ..Ask::new(method, self.place(path)?)
        };
        self.send(ask).await.map(|_| ())
    }

    /// Makes something; sent once only.
    pub(super) async fn make<T: DeserializeOwned>(
        &self,
        path: &[&str],
        body: &Value,
        patience: Duration,
    ) -> Result<T, Failure> {
        let ask = Ask {
            body: Some(body),
            patience,
            ..Ask::new(Method::POST, self.place(path)?)
        };
        self.answer(self.send(ask).await?).await
    }

    /// Whether the server can do work now. It says so in plain words.
    pub(super) async fn ready(&self) -> Result<(), Failure> {
        let ask = Ask {
            repeatable: true,
            ..Ask::new(Method::GET, self.place(&["readyz"])?)
        };
        self.send(ask).await.map(|_| ())
    }

    fn place(&self, path: &[&str]) -> Result<Url, Failure> {
        let mut url = self.url.clone();
        // These would lead to another place.
        if path.iter().any(|part| matches!(*part, "" | "." | "..")) {
            return Err(Failure::refused("there is nothing by this name"));
        }
        match url.path_segments_mut() {
            Ok(mut parts) => parts.clear().extend(path),
            Err(()) => {
                return Err(Failure::usage(
                    "the server's address has no place for a path",
                ));
            }
        };
        Ok(url)
    }

    /// Sends it, again where that does no harm and may help.
    async fn send(&self, ask: Ask<'_>) -> Result<Response, Failure> {
        let mut pauses = PAUSES.iter();
        // A try whose answer was lost may have done what was asked for, whatever becomes of the next one.
        let mut may_be_done = false;
        loop {
            let refused = match self.send_once(&ask).await {
                Ok(response) => match self.refusal(&ask, response).await {
                    Ok(response) => return Ok(response),
                    Err(refused) => refused,
                },
                Err(error) => Refused {
                    failure: self.unreached(&error),
                    may_pass: true,
                    wait: None,
                    // What never left this machine did nothing.
                    untouched: error.is_connect(),
                },
            };
            may_be_done |= refused.may_pass && !refused.untouched && ask.method != Method::GET;
            let harmless = ask.repeatable || refused.untouched;
            match pauses.next().filter(|_| refused.may_pass && harmless) {
                Some(pause) => sleep(refused.wait.unwrap_or(*pause).min(LONGEST_PAUSE)).await,
                None if may_be_done => return Err(refused.failure.help(MAY_BE_DONE)),
                None => return Err(refused.failure),
            }
        }
    }

    async fn send_once(&self, ask: &Ask<'_>) -> reqwest::Result<Response> {
        let mut request = self
            .http
            .request(ask.method.clone(), ask.url.clone())
            .timeout(ask.patience);
        if let Some(body) = ask.body {
            request = request.json(body);
        }
        if let Some(key) = ask.key {
            request = request.header("Idempotency-Key", key.to_string());
        }
        request.send().await
    }

    /// The answer, unless it is a refusal.
    async fn refusal(&self, ask: &Ask<'_>, response: Response) -> Result<Response, Refused> {
        let status = response.status();
        if status.is_success() || (ask.may_be_missing && status == StatusCode::NOT_FOUND) {
            return Ok(response);
        }
        let untouched = status == StatusCode::TOO_MANY_REQUESTS;
        let refused = |failure: Failure, wait| Refused {
            failure,
            may_pass: untouched || matches!(status.as_u16(), 502..=504),
            wait,
            untouched,
        };
        let wait = retry_after(response.headers());
        let is_problem = is_of(response.headers(), "application/problem+json");
        let bytes = match read(response).await {
            Ok(bytes) if is_problem => bytes,
            _ => return Err(refused(self.not_ours(status), None)),
        };
        let mut problem: Problem = serde_json::from_slice(&bytes).unwrap_or_default();
        problem.status = status.as_u16();
        problem.login_help = format!("{} asks for a token that is in force", self.address());
        Err(refused(problem.failure(ask.url.path()), wait))
    }

    async fn answer<T: DeserializeOwned>(&self, response: Response) -> Result<T, Failure> {
        let status = response.status();
        if !is_of(response.headers(), "application/json") {
            return Err(self.not_ours(status));
        }
        let bytes = read(response).await.map_err(|why| {
            Failure::new(
                Exit::Unreached,
                format!("the answer of {} was cut off", self.address()),
            )
            .why(why)
            .that_may_pass()
        })?;
        serde_json::from_slice(&bytes).map_err(|error| {
            let what = format!("the answer of {} is not understood", self.address());
            Failure::unexpected(what)
                .why(error)
                .help("is the server of another version? rollout-cli --version shows this one's")
        })
    }

    fn not_ours(&self, status: StatusCode) -> Failure {
        let what = format!("what answers at {} is no rollout-server", self.address());
        let passing = matches!(status.as_u16(), 502..=504);
        let why = if passing {
            format!("a proxy says that the server behind it does not answer ({status})")
        } else {
            format!("it answers {status}, and not as a rollout-server does")
        };
        let failure = Failure::new(Exit::Unreached, what)
            .why(why)
            .help("check the address; the server's own log names the one that it listens on");
        if passing {
            failure.that_may_pass()
        } else {
            failure
        }
    }

    fn unreached(&self, error: &reqwest::Error) -> Failure {
        let what = format!("{} cannot be reached", self.address());
        Failure::new(Exit::Unreached, what)
            .why(cause(error))
            .help("is rollout-server running there? check --server, and the way to it")
            .that_may_pass()
    }
}

/// A try that did not bring what was asked for.
struct Refused {
    failure: Failure,
    /// Whether it may be another answer a little later.
    may_pass: bool,
    /// How long the server asks to wait before that.
    wait: Option<Duration>,
    /// Whether it is sure that nothing was done.
    untouched: bool,
}

impl<'a> Ask<'a> {
    fn new(method: Method, url: Url) -> Self {
        Self {
            method,
            url,
            body: None,
            key: None,
            repeatable: false,
            may_be_missing: false,
            patience: ANSWER,
        }
    }
}

/// The innermost cause; the outer ones repeat the address.
fn cause(error: &reqwest::Error) -> String {
    if error.is_timeout() && error.source().is_none() {
        return "there was no answer in time".to_owned();
    }
    let mut cause: &dyn Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}

fn is_of(headers: &HeaderMap, kind: &str) -> bool {
    let said = headers.get(reqwest::header::CONTENT_TYPE);
    let said = said.and_then(|said| said.to_str().ok()).unwrap_or_default();
    said.split(';').next().unwrap_or_default().trim() == kind
}

/// The whole answer, as long as it is of a size that ours have.
async fn read(mut response: Response) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| cause(&error))? {
        bytes.extend_from_slice(&chunk);
        if bytes.len() > ANSWER_MOST {
            return Err("it is larger than any answer of a rollout-server".to_owned());
        }
    }
    Ok(bytes)
}

/// Which implementation of TLS is used is chosen once in a process.
fn install_tls() {
    static ONCE: OnceLock<()> = OnceLock::new();
    ONCE.get_or_init(|| {
        // It fails only where one is chosen already.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
}
