//! What there is to say about a server: everything else is on its own machine.

use super::{Check, Verdict, show};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::fleet::{Inventory as _, Login, ServerFleet};
use crate::output::Output;

/// Looks whether the server is there, takes us in, and can do work.
pub(super) async fn run(login: Login, out: Output) -> Result<Exit, Failure> {
    let server = ServerFleet::new(login, out)?;
    let mut checks = Vec::new();
    let address = server.address();
    // Without a login there is nothing else to see.
    let exit = match server.me().await {
        Ok(me) => {
            checks.push(Check::ok("server", &address));
            checks.push(Check::ok("login", format!("{}, {}", me.name, me.role)));
            work(&server, &mut checks).await
        }
        Err(failure) => {
            checks.push(failed("server", &failure));
            failure.exit
        }
    };
    show(&checks, out)?;
    let bad = checks.iter().any(|check| check.result == Verdict::Bad);
    Ok(match exit {
        Exit::Done if bad => Exit::Refused,
        exit => exit,
    })
}

async fn work(server: &ServerFleet, checks: &mut Vec<Check>) -> Exit {
    checks.push(match server.is_ready().await {
        Ok(()) => Check::ok("work", "the server can do work"),
        Err(failure) => Check::bad(
            "work",
            failure.what(),
            "what is started now waits; the server's log says why",
        ),
    });
    match server.hosts().await {
        Ok(hosts) if hosts.is_empty() => checks.push(Check::warn(
            "fleet",
            "it has no hosts",
            "rollout-cli hosts add NAME --address A",
        )),
        Ok(hosts) => checks.push(Check::ok("fleet", format!("{} hosts", hosts.len()))),
        Err(failure) => checks.push(failed("fleet", &failure)),
    }
    Exit::Done
}

fn failed(name: &'static str, failure: &Failure) -> Check {
    let lines = failure.lines();
    let help = lines.last().map(|line| line.trim()).unwrap_or_default();
    Check::bad(name, failure.what(), help)
}
