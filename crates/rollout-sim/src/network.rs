//! The network as one process has it: connections that are refused, lost, slow, and hosts that are not there.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use ssh_exec::{
    CommandOutput, ConnectError, Endpoint, HostKey, IdentityError, RemoteCommand, Session,
    SessionError, Transport,
};
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

use crate::gate::{At, Gate};
use crate::host;
use crate::world::World;

/// The transport of one process.
#[derive(Clone, Debug)]
pub(crate) struct SimTransport {
    gate: Gate,
}

impl SimTransport {
    pub(crate) fn new(gate: &Gate) -> Self {
        Self { gate: gate.clone() }
    }

    fn world(&self) -> &Arc<World> {
        self.gate.world()
    }

    fn no_key(&self) -> Option<IdentityError> {
        (!self.gate.has_key()).then(|| IdentityError::Unreadable {
            path: "/keys/default".to_owned(),
            cause: "No such file or directory".to_owned(),
        })
    }
}

#[async_trait]
impl Transport for SimTransport {
    async fn connect(&self, endpoint: &Endpoint) -> Result<Box<dyn Session>, ConnectError> {
        let host = &endpoint.name;
        self.gate.point(At::Before, "connect", "network").await;
        let world = self.world();
        if let Some(error) = self.no_key() {
            world.coverage().fault("no key", "connect", "network");
            return Err(error.into());
        }
        let (delay, fails) = world.dice(|dice| {
            let delay = dice.millis(world.schedule.latency + 1);
            (delay, dice.chance(world.rates().connect))
        });
        sleep(delay).await;
        if world.is_dark(host) || fails {
            world.note(format_args!(
                "p{}: {host} is not reached",
                self.gate.number()
            ));
            world.coverage().fault("not reached", "connect", "network");
            world.check(|checker| checker.disturb(host));
            return Err(ConnectError::Unreachable {
                host: host.clone(),
                address: format!("{}:{}", endpoint.address, endpoint.port),
                cause: "connection refused".to_owned(),
            });
        }
        let session = SimSession::open(&self.gate, endpoint);
        self.gate.point(At::After, "connect", "network").await;
        Ok(Box::new(session))
    }

    async fn check_identity(&self, _endpoint: &Endpoint) -> Result<(), IdentityError> {
        self.gate.alive().await;
        self.no_key().map_or(Ok(()), Err)
    }

    async fn host_keys(&self, _endpoint: &Endpoint) -> Result<Vec<HostKey>, ConnectError> {
        self.gate.alive().await;
        Ok(Vec::new())
    }
}

/// What the network does with one command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    LostBefore,
    LostAfter,
    /// While it is on its way: it arrives later, maybe after the next one.
    LostMeanwhile,
    NoAnswer,
}

impl Trouble {
    fn words(self) -> &'static str {
        match self {
            Self::LostBefore => "lost before",
            Self::LostAfter => "lost after",
            Self::LostMeanwhile => "lost meanwhile",
            Self::NoAnswer => "no answer",
        }
    }
}

struct SimSession {
    gate: Gate,
    endpoint: Endpoint,
    number: u64,
    broken: bool,
}

impl SimSession {
    fn open(gate: &Gate, endpoint: &Endpoint) -> Self {
        let number = gate.world().check(|checker| checker.opened(gate));
        gate.world().note(format_args!(
            "p{} opens connection {number} to {}",
            gate.number(),
            endpoint.name
        ));
        Self {
            gate: gate.clone(),
            endpoint: endpoint.clone(),
            number,
            broken: false,
        }
    }

    fn lost(&mut self, command: &RemoteCommand) -> SessionError {
        self.broken = true;
        SessionError::Lost {
            command: command.name(),
            cause: "cut by the simulator".to_owned(),
        }
    }

    /// The command goes on its way. The host does it whatever becomes of us.
    fn send(
        &self,
        command: &RemoteCommand,
        delay: Duration,
        order: u64,
    ) -> oneshot::Receiver<host::Reply> {
        let (tell, told) = oneshot::channel();
        let (world, endpoint) = (Arc::clone(self.gate.world()), self.endpoint.clone());
        let (command, from) = (command.clone(), (self.gate.number(), order));
        tokio::spawn(async move {
            sleep(delay).await;
            let _ = tell.send(host::execute(&world, &endpoint, &command, from).await);
        });
        told
    }
}

impl fmt::Debug for SimSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SimSession")
    }
}

impl Drop for SimSession {
    fn drop(&mut self) {
        let number = self.number;
        let world = self.gate.world();
        world.note(format_args!("p{} closes {number}", self.gate.number()));
        world.check(|checker| checker.closed(number));
    }
}

#[async_trait]
impl Session for SimSession {
    async fn run(&mut self, command: &RemoteCommand) -> Result<CommandOutput, SessionError> {
        let world = Arc::clone(self.gate.world());
        let (host, name) = (self.endpoint.name.clone(), command.name());
        let state = world.check(|checker| checker.state_of(&host));
        self.gate.point(At::Before, name, state).await;
        let (there, back, late, trouble) = world.dice(|dice| {
            let there = dice.millis(world.schedule.latency + 1);
            let back = dice.millis(world.schedule.latency + 1);
            // Most come soon, some when whoever sent them is long gone.
            let late = match dice.below(4) {
                0 => dice.millis(600_000),
                _ => dice.millis(3000),
            };
            let all = [
                Trouble::LostBefore,
                Trouble::LostAfter,
                Trouble::LostMeanwhile,
                Trouble::NoAnswer,
            ];
            let strikes = dice.chance(world.rates_at(name).network);
            (there, back, late, dice.pick(&all).filter(|_| strikes))
        });
        if let Some(trouble) = trouble {
            world.coverage().fault(trouble.words(), name, state);
            world.check(|checker| checker.disturb(&host));
        }
        world.note(format_args!(
            "p{} > {host}: {name} epoch {:?}{}",
            self.gate.number(),
            command.guard().map(|guard| guard.epoch),
            trouble
                .map(|trouble| format!(", {}", trouble.words()))
                .unwrap_or_default(),
        ));
        world.coverage().total("commands");
        let order = world.check(|checker| checker.sent(&host, command, &self.gate));
        if self.broken || world.is_dark(&host) || trouble == Some(Trouble::LostBefore) {
            sleep(there).await;
            return Err(self.lost(command));
        }
        if trouble == Some(Trouble::LostMeanwhile) {
            drop(self.send(command, there + late, order));
            sleep(there).await;
            return Err(self.lost(command));
        }
        let answer = self.send(command, there, order);
        let answer = match timeout(command.deadline(), answer).await {
            Ok(Ok(answer)) if trouble == Some(Trouble::NoAnswer) => {
                drop(answer);
                sleep(command.deadline()).await;
                Err(None)
            }
            Ok(answer) => answer.map_err(|_| Some(())),
            Err(_) => Err(None),
        };
        sleep(back).await;
        let answer = match answer {
            Err(None) => {
                self.broken = true;
                world.check(|checker| checker.disturb(&host));
                Err(SessionError::Deadline {
                    command: name,
                    seconds: command.deadline().as_secs(),
                })
            }
            _ if trouble == Some(Trouble::LostAfter) || world.is_dark(&host) => {
                Err(self.lost(command))
            }
            Ok(host::Reply::Said(answer)) => answer,
            Ok(host::Reply::Nothing) | Err(Some(())) => Err(self.lost(command)),
        };
        self.gate.point(At::After, name, state).await;
        answer
    }

    async fn close(self: Box<Self>) {
        self.gate.alive().await;
        let world = self.gate.world();
        sleep(world.dice(|dice| dice.millis(world.schedule.latency + 1))).await;
    }
}
