use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fleet_types::{AppSettings, StepTimeouts};
use ssh_exec::{
    ConnectError, Endpoint, HostKeys, Identity, RemoteCommand, Reply, ScriptedTransport,
    SessionError,
};
use tokio::time::Instant;

use super::answers::{Answer, Extent, answer};
use super::host::{SimCommand, SimHost, SimOrigin, SimWhat};

/// Hosts in memory, by name, with one origin. Clones share everything.
///
/// They take the engine's own commands, change as a real host would, and keep the truth to compare an outcome with. The
/// same commands in the same order always give the same answers.
#[derive(Clone, Default)]
pub struct SimFleet {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    origin: SimOrigin,
    hosts: BTreeMap<String, SimHost>,
}

impl fmt::Debug for SimFleet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimFleet")
            .field("hosts", &self.state().hosts.len())
            .finish_non_exhaustive()
    }
}

impl SimFleet {
    /// A fleet without hosts.
    #[must_use]
    pub fn new(origin: SimOrigin) -> Self {
        Self {
            state: Arc::new(Mutex::new(State {
                origin,
                hosts: BTreeMap::new(),
            })),
        }
    }

    /// An endpoint that leads to the host of this name.
    #[must_use]
    pub fn endpoint(name: &str) -> Endpoint {
        Endpoint {
            name: name.to_owned(),
            address: "127.0.0.1".to_owned(),
            port: 22,
            user: "app".to_owned(),
            identity: Identity::File("/nowhere".into()),
            host_keys: HostKeys::default(),
            jump: None,
            connect_timeout: Duration::from_secs(60),
        }
    }

    /// Settings that fit any simulated host, with the default time limits.
    #[must_use]
    pub fn app() -> AppSettings {
        let valid = "these are valid names";
        AppSettings {
            repo: "/srv/app".parse().expect(valid),
            remote: "origin".parse().expect(valid),
            branch: "main".parse().expect(valid),
            install: "bun install".to_owned(),
            service: "app.service".parse().expect(valid),
            verify: Some("curl -fsS localhost:3000/health".to_owned()),
            generated: vec!["bun.lock".to_owned(), "bun.lockb".to_owned()],
            min_free_mib: 500,
            timeouts: StepTimeouts::default(),
        }
    }

    /// Adds a host, or replaces it.
    pub fn add(&self, name: &str, host: SimHost) {
        self.state().hosts.insert(name.to_owned(), host);
    }

    /// A host as it is now.
    #[must_use]
    pub fn host(&self, name: &str) -> Option<SimHost> {
        self.state().hosts.get(name).cloned()
    }

    /// Changes a host behind the engine's back. Nothing happens when there is none of that name.
    pub fn change(&self, name: &str, change: impl FnOnce(&mut SimHost)) {
        if let Some(host) = self.state().hosts.get_mut(name) {
            change(host);
        }
    }

    /// Changes the origin.
    pub fn change_origin<T>(&self, change: impl FnOnce(&mut SimOrigin) -> T) -> T {
        change(&mut self.state().origin)
    }

    /// A transport to these hosts, found by the name of the endpoint.
    #[must_use]
    pub fn transport(&self) -> ScriptedTransport {
        let (commands, connections) = (self.clone(), self.clone());
        ScriptedTransport::new(move |endpoint, command| commands.state().reply(endpoint, command))
            .on_connect(move |endpoint| connections.state().connect(endpoint))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn connect(&mut self, endpoint: &Endpoint) -> Result<(), ConnectError> {
        let refused = || {
            Err(ConnectError::Unreachable {
                host: endpoint.name.clone(),
                address: format!("{}:{}", endpoint.address, endpoint.port),
                cause: "connection refused".to_owned(),
            })
        };
        let Some(host) = self.hosts.get_mut(&endpoint.name) else {
            return refused();
        };
        if host.refuses_connections == 0 {
            return Ok(());
        }
        if host.refuses_connections != u32::MAX {
            host.refuses_connections -= 1;
        }
        refused()
    }

    fn reply(&mut self, endpoint: &Endpoint, command: &RemoteCommand) -> Reply {
        let Some(host) = self.hosts.get_mut(&endpoint.name) else {
            return Reply::lost(command);
        };
        let before = host.clone();
        let nth = 1 + host
            .received
            .iter()
            .filter(|earlier| earlier.name == command.name())
            .count();
        let at = host
            .faults
            .iter()
            .position(|fault| fault.command == command.name() && fault.nth == nth);
        let what = at.map(|at| host.faults.remove(at).what);
        let crashes = what == Some(SimWhat::Crashes);
        let (reply, ran) = receive(host, &self.origin, command, what);
        host.received.push(SimCommand {
            name: command.name().to_owned(),
            epoch: command.guard().map(|guard| guard.epoch),
            ran,
            changed: changed(&before, host),
        });
        if crashes && ran {
            // What a machine that starts anew does to its service is no doing of the command.
            host.boots += 1;
            host.start(&self.origin);
        }
        if ran {
            reply.after(duration(host, command))
        } else {
            reply
        }
    }
}

/// How long it takes a command that runs, which keeps the lock for so long if it needs it.
fn duration(host: &mut SimHost, command: &RemoteCommand) -> Duration {
    let takes = host.takes.get(command.name()).copied().unwrap_or_default();
    if command.guard().is_none() {
        return takes;
    }
    let all = host.is_locked_for() + takes;
    host.locked_until = (!all.is_zero()).then(|| Instant::now() + all);
    all
}

/// The reply, and whether the body ran.
fn receive(
    host: &mut SimHost,
    origin: &SimOrigin,
    command: &RemoteCommand,
    what: Option<SimWhat>,
) -> (Reply, bool) {
    match what.clone() {
        Some(SimWhat::LostBefore) => return (Reply::lost(command), false),
        Some(SimWhat::ShellBroken) => {
            let cause = "exit code 0, and instead of its output came: nothing".to_owned();
            return (
                Reply::Fail(SessionError::ShellBroken {
                    command: command.name(),
                    cause,
                }),
                false,
            );
        }
        Some(SimWhat::Fenced(store, epoch)) => {
            host.fence = Some((store, epoch));
            return receive(host, origin, command, None);
        }
        Some(SimWhat::Locked) => host.locked = true,
        _ => {}
    }
    if let Some(guard) = command.guard() {
        let busy = Reply::exit(75, &[("guard", "busy")]);
        let wait = Duration::from_secs(u64::from(guard.wait_seconds));
        if host.locked || what == Some(SimWhat::Busy) {
            return (busy, false);
        }
        if host.is_locked_for() > wait {
            return (busy.after(wait), false);
        }
    }
    if let Some(refusal) = fence(host, command) {
        return (refusal, false);
    }
    let whole = |answer: Answer| Reply::Output(answer.output());
    let reply = match what {
        Some(SimWhat::Fails) => whole(answer(host, origin, command, Extent::Nothing).fact("rc", 1)),
        Some(SimWhat::FailsHalfway) => {
            whole(answer(host, origin, command, Extent::Half).fact("rc", 1))
        }
        // The verify command is all of a verification that has a limit of its own.
        Some(SimWhat::TimesOut) if command.name().ends_with("verify") => {
            let answer = answer(host, origin, command, Extent::Whole).fact("verify_rc", 124);
            whole(answer.fact("rc", 124).fact("timed_out", 1))
        }
        Some(SimWhat::TimesOut) => whole(
            answer(host, origin, command, Extent::Half)
                .fact("rc", 124)
                .fact("timed_out", 1),
        ),
        Some(SimWhat::LostAfter) => {
            answer(host, origin, command, Extent::Whole);
            Reply::lost(command)
        }
        Some(SimWhat::Crashes) => {
            answer(host, origin, command, Extent::Half);
            Reply::lost(command)
        }
        Some(SimWhat::Gone(tries)) => {
            answer(host, origin, command, Extent::Whole);
            host.refuses_connections = tries;
            Reply::lost(command)
        }
        Some(SimWhat::NoAnswer) => {
            answer(host, origin, command, Extent::Whole);
            Reply::lost(command).after(command.deadline() + Duration::from_secs(1))
        }
        _ => whole(answer(host, origin, command, Extent::Whole)),
    };
    (reply, true)
}

/// The host's side of the guard.
fn fence(host: &mut SimHost, command: &RemoteCommand) -> Option<Reply> {
    let guard = command.guard()?;
    let ours = (guard.store.clone(), guard.epoch);
    if let Some(seen) = &host.fence {
        let outranked = seen.0 != ours.0 || seen.1 > ours.1;
        if outranked && guard.replace.as_ref() != Some(seen) {
            let (store, epoch) = (seen.0.as_str(), seen.1.to_string());
            let facts = [
                ("guard", "fenced"),
                ("fence_store", store),
                ("fence_epoch", &epoch),
            ];
            return Some(Reply::exit(76, &facts));
        }
    }
    host.fence = Some(ours);
    None
}

fn changed(before: &SimHost, after: &SimHost) -> bool {
    let truth = |host: &SimHost| {
        let git = (
            host.head.clone(),
            host.branch.clone(),
            host.tree.clone(),
            host.edited.clone(),
        );
        (
            git,
            host.installed.clone(),
            host.running.clone(),
            host.lives,
        )
    };
    truth(before) != truth(after)
}
