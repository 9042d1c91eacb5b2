//! The scripted double.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::{Instant, sleep};

use crate::command::{CommandOutput, RemoteCommand};
use crate::transport::{
    ConnectError, Endpoint, HostKey, IdentityError, Session, SessionError, Transport,
};

/// What a scripted host answers.
#[derive(Clone, Debug)]
pub enum Reply {
    /// The command ran and said this.
    Output(CommandOutput),
    /// The outcome is unknown.
    Fail(SessionError),
    /// The same later. A delay beyond the command's deadline ends in [`SessionError::Deadline`] at the deadline.
    Delay(Duration, Box<Reply>),
}

impl Reply {
    /// An exit code and facts.
    #[must_use]
    pub fn exit(code: i32, facts: &[(&str, &str)]) -> Self {
        Self::Output(CommandOutput {
            exit: code,
            facts: facts
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            ..CommandOutput::default()
        })
    }

    /// Exit code 0 and facts.
    #[must_use]
    pub fn facts(facts: &[(&str, &str)]) -> Self {
        Self::exit(0, facts)
    }

    /// The connection is lost during this command.
    #[must_use]
    pub fn lost(command: &RemoteCommand) -> Self {
        Self::Fail(SessionError::Lost {
            command: command.name(),
            cause: "scripted".to_owned(),
        })
    }

    /// The same reply, later.
    #[must_use]
    pub fn after(self, delay: Duration) -> Self {
        Self::Delay(delay, Box::new(self))
    }

    async fn play(self, command: &RemoteCommand) -> Result<CommandOutput, SessionError> {
        let mut left = command.deadline();
        let mut reply = self;
        loop {
            match reply {
                Self::Output(output) => return Ok(output),
                Self::Fail(error) => return Err(error),
                Self::Delay(delay, then) => {
                    sleep(delay.min(left)).await;
                    if delay > left {
                        let seconds = command.deadline().as_secs();
                        return Err(SessionError::Deadline {
                            command: command.name(),
                            seconds,
                        });
                    }
                    left -= delay;
                    reply = *then;
                }
            }
        }
    }
}

/// One command as the double saw it.
#[derive(Clone, Debug)]
pub struct Call {
    /// The number of the connection, counted over all hosts from 1.
    pub connection: u64,
    /// The host's name.
    pub host: String,
    /// The command.
    pub command: RemoteCommand,
    /// When it was sent, on tokio's clock.
    pub at: Instant,
}

type Handler = dyn Fn(&Endpoint, &RemoteCommand) -> Reply + Send + Sync;
type ConnectHandler = dyn Fn(&Endpoint) -> Result<(), ConnectError> + Send + Sync;

/// A transport to hosts that exist in a test alone.
///
/// Clones share everything. It either asks a handler for every reply, or plays an expected list of commands; with a
/// list, a command that is not the next one, or one that is left over at the end, fails the test.
#[derive(Clone)]
pub struct ScriptedTransport {
    shared: Arc<Shared>,
}

struct Shared {
    script: Script,
    connect: Box<ConnectHandler>,
    state: Mutex<State>,
}

enum Script {
    Handler(Box<Handler>),
    List,
}

#[derive(Default)]
struct State {
    expected: VecDeque<(String, Reply)>,
    surprises: Vec<String>,
    calls: Vec<Call>,
    connections: u64,
    open: usize,
    most_open: usize,
}

impl fmt::Debug for ScriptedTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScriptedTransport")
            .field("connections", &self.connections())
            .finish_non_exhaustive()
    }
}

impl ScriptedTransport {
    /// Hosts that answer through this function. It may keep state of its own behind a mutex.
    #[must_use]
    pub fn new(
        handler: impl Fn(&Endpoint, &RemoteCommand) -> Reply + Send + Sync + 'static,
    ) -> Self {
        Self::build(Script::Handler(Box::new(handler)), VecDeque::new())
    }

    /// Hosts from which exactly these commands are expected, in this order over all connections.
    ///
    /// Call [`finish`](Self::finish) at the end, or drop it: both panic when the list was not met.
    #[must_use]
    pub fn expecting<N: Into<String>>(list: impl IntoIterator<Item = (N, Reply)>) -> Self {
        let expected = list
            .into_iter()
            .map(|(name, reply)| (name.into(), reply))
            .collect();
        Self::build(Script::List, expected)
    }

    fn build(script: Script, expected: VecDeque<(String, Reply)>) -> Self {
        let state = Mutex::new(State {
            expected,
            ..State::default()
        });
        Self {
            shared: Arc::new(Shared {
                script,
                connect: Box::new(|_| Ok(())),
                state,
            }),
        }
    }

    /// Decides about connections with this function instead of accepting all. Call it before the first clone.
    ///
    /// # Panics
    ///
    /// When the transport was cloned already.
    #[must_use]
    pub fn on_connect(
        mut self,
        handler: impl Fn(&Endpoint) -> Result<(), ConnectError> + Send + Sync + 'static,
    ) -> Self {
        Arc::get_mut(&mut self.shared)
            .expect("the transport is set up before it is cloned")
            .connect = Box::new(handler);
        self
    }

    /// Every command so far, in the order sent.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        self.shared.state().calls.clone()
    }

    /// The names of the commands sent so far to one host.
    #[must_use]
    pub fn names(&self, host: &str) -> Vec<&'static str> {
        self.shared
            .state()
            .calls
            .iter()
            .filter(|call| call.host == host)
            .map(|call| call.command.name())
            .collect()
    }

    /// Connections opened so far.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.shared.state().connections
    }

    /// Sessions open now.
    #[must_use]
    pub fn open(&self) -> usize {
        self.shared.state().open
    }

    /// The most sessions that were open at once.
    #[must_use]
    pub fn most_open(&self) -> usize {
        self.shared.state().most_open
    }

    /// Ends the script.
    ///
    /// # Panics
    ///
    /// When a command came that was not expected, or an expected one did not come.
    pub fn finish(self) {
        self.shared.state().settle();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer(&self, call: Call, endpoint: &Endpoint) -> Reply {
        let command = call.command.clone();
        let mut state = self.state();
        state.calls.push(call);
        match &self.script {
            Script::Handler(handler) => {
                // The handler may look at the transport itself.
                drop(state);
                handler(endpoint, &command)
            }
            Script::List => state.next(&command),
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.state().settle();
        }
    }
}

impl State {
    fn next(&mut self, command: &RemoteCommand) -> Reply {
        if self
            .expected
            .front()
            .is_some_and(|(name, _)| name == command.name())
            && let Some((_, reply)) = self.expected.pop_front()
        {
            return reply;
        }
        let wanted = self
            .expected
            .front()
            .map_or("nothing more", |(name, _)| name);
        self.surprises
            .push(format!("{} came, {wanted} was expected", command.name()));
        Reply::lost(command)
    }

    fn settle(&mut self) {
        let surprises = std::mem::take(&mut self.surprises);
        let unmet: Vec<String> = self.expected.drain(..).map(|(name, _)| name).collect();
        assert!(
            surprises.is_empty(),
            "the script was not followed: {surprises:?}"
        );
        assert!(unmet.is_empty(), "these commands did not come: {unmet:?}");
    }
}

#[async_trait]
impl Transport for ScriptedTransport {
    async fn connect(&self, endpoint: &Endpoint) -> Result<Box<dyn Session>, ConnectError> {
        (self.shared.connect)(endpoint)?;
        let mut state = self.shared.state();
        state.connections += 1;
        state.open += 1;
        state.most_open = state.most_open.max(state.open);
        let connection = state.connections;
        drop(state);
        Ok(Box::new(ScriptedSession {
            shared: Arc::clone(&self.shared),
            endpoint: endpoint.clone(),
            connection,
        }))
    }

    async fn check_identity(&self, _endpoint: &Endpoint) -> Result<(), IdentityError> {
        Ok(())
    }

    async fn host_keys(&self, endpoint: &Endpoint) -> Result<Vec<HostKey>, ConnectError> {
        (self.shared.connect)(endpoint)?;
        Ok(vec![HostKey {
            algorithm: "ssh-ed25519".to_owned(),
            fingerprint: format!("SHA256:scripted-{}", endpoint.name),
            openssh: format!("ssh-ed25519 scripted-{}", endpoint.name),
        }])
    }
}

struct ScriptedSession {
    shared: Arc<Shared>,
    endpoint: Endpoint,
    connection: u64,
}

impl fmt::Debug for ScriptedSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScriptedSession")
            .field("host", &self.endpoint.name)
            .field("connection", &self.connection)
            .finish()
    }
}

#[async_trait]
impl Session for ScriptedSession {
    async fn run(&mut self, command: &RemoteCommand) -> Result<CommandOutput, SessionError> {
        let call = Call {
            connection: self.connection,
            host: self.endpoint.name.clone(),
            command: command.clone(),
            at: Instant::now(),
        };
        self.shared.answer(call, &self.endpoint).play(command).await
    }

    async fn close(self: Box<Self>) {}
}

impl Drop for ScriptedSession {
    fn drop(&mut self) {
        self.shared.state().open -= 1;
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::transport::{HostKeys, Identity};

    fn endpoint(name: &str) -> Endpoint {
        Endpoint {
            name: name.to_owned(),
            address: "127.0.0.1".to_owned(),
            port: 22,
            user: "app".to_owned(),
            identity: Identity::File("/nowhere".into()),
            host_keys: HostKeys::default(),
            jump: None,
            connect_timeout: Duration::from_secs(1),
        }
    }

    fn command(name: &'static str) -> RemoteCommand {
        RemoteCommand::new(name, "true", Duration::from_secs(10))
    }

    #[tokio::test(start_paused = true)]
    async fn a_list_is_played_on_the_paused_clock() {
        let transport = ScriptedTransport::expecting([
            ("inspect", Reply::facts(&[("head", "a")])),
            ("pull", Reply::exit(1, &[]).after(Duration::from_secs(4))),
            ("pull", Reply::facts(&[]).after(Duration::from_secs(11))),
        ]);
        let mut session = transport.connect(&endpoint("web-1")).await.unwrap();
        let begun = Instant::now();
        assert_eq!(
            session.run(&command("inspect")).await.unwrap().fact("head"),
            Some("a")
        );
        assert_eq!(session.run(&command("pull")).await.unwrap().exit, 1);
        assert_eq!(begun.elapsed(), Duration::from_secs(4));
        assert_eq!(
            session.run(&command("pull")).await.unwrap_err(),
            SessionError::Deadline {
                command: "pull",
                seconds: 10
            }
        );
        assert_eq!(begun.elapsed(), Duration::from_secs(14));
        session.close().await;
        assert_eq!(
            (
                transport.open(),
                transport.most_open(),
                transport.connections()
            ),
            (0, 1, 1)
        );
        assert_eq!(transport.names("web-1"), ["inspect", "pull", "pull"]);
        transport.finish();
    }

    #[tokio::test]
    #[should_panic(expected = "restart came, pull was expected")]
    async fn a_surprise_fails_the_test() {
        let transport = ScriptedTransport::expecting([("pull", Reply::facts(&[]))]);
        let mut session = transport.connect(&endpoint("web-1")).await.unwrap();
        session.run(&command("restart")).await.unwrap_err();
        transport.finish();
    }

    #[test]
    #[should_panic(expected = "did not come: [\"pull\"]")]
    fn an_unmet_expectation_fails_the_test_on_drop() {
        drop(ScriptedTransport::expecting([("pull", Reply::facts(&[]))]));
    }

    #[tokio::test]
    async fn a_handler_sees_host_and_parameters() {
        let transport = ScriptedTransport::new(|endpoint, command| {
            let target = command.get("target").unwrap_or_default();
            Reply::facts(&[("seen", &format!("{} {target}", endpoint.name))])
        })
        .on_connect(|endpoint| match endpoint.name.as_str() {
            "down" => Err(ConnectError::Unreachable {
                host: endpoint.name.clone(),
                address: endpoint.address.clone(),
                cause: "scripted".to_owned(),
            }),
            _ => Ok(()),
        });
        assert!(matches!(
            transport.connect(&endpoint("down")).await,
            Err(ConnectError::Unreachable { .. })
        ));
        let mut first = transport.connect(&endpoint("a")).await.unwrap();
        let mut second = transport.connect(&endpoint("b")).await.unwrap();
        let output = second
            .run(&command("pull").param("target", "t1"))
            .await
            .unwrap();
        assert_eq!(output.fact("seen"), Some("b t1"));
        first.run(&command("pull")).await.unwrap();
        let seen: Vec<_> = transport
            .calls()
            .into_iter()
            .map(|call| (call.connection, call.host))
            .collect();
        assert_eq!(seen, [(2, "b".to_owned()), (1, "a".to_owned())]);
        assert_eq!(transport.most_open(), 2);
    }
}
