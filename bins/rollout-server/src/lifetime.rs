//! The life of the server, from its settings to its end.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use axum::middleware::from_fn;
use axum::response::Redirect;
use axum::routing::get;
use rollout_settings::Settings;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::WrongSettings;
use crate::cli::Cli;
use crate::compose::{Parts, compose};
use crate::demo::Demo;
use crate::http::{self, Server};
use crate::shutdown::{self, Signals};
use crate::talk::Talk;
use crate::{environment, metrics, pulse, setup, systemd};

/// Serves until asked to stop.
pub(crate) async fn live(cli: &Cli, talk: Talk) -> anyhow::Result<()> {
    let mut signals = Signals::new()?;
    if !cli.demo {
        let settings = environment::settings(cli).context(WrongSettings)?;
        let home = environment::places(cli).home;
        return serve(cli, settings, home, None, &mut signals, talk).await;
    }
    let made = tokio::select! {
        made = Demo::make(cli.listen, talk) => made?,
        _ = signals.next() => return Ok(()),
    };
    let served = serve(
        cli,
        made.settings().clone(),
        None,
        Some(&made),
        &mut signals,
        talk,
    )
    .await;
    made.end().await;
    served
}

async fn serve(
    cli: &Cli,
    settings: Settings,
    home: Option<PathBuf>,
    demo: Option<&Demo>,
    signals: &mut Signals,
    talk: Talk,
) -> anyhow::Result<()> {
    let listener = listen(cli, settings.server.listen)?;
    let address = listener.local_addr()?;
    let composing = compose(settings, home, metrics::install()?);
    // A database that does not answer must not keep it: what is thrown away waits for an answer as well.
    let mut composing = AbortOnDropHandle::new(tokio::spawn(composing));
    let parts = tokio::select! {
        parts = &mut composing => parts.context("the parts were not put together")??,
        _ = signals.next() => {
            shutdown::discard(composing).await;
            return Ok(());
        }
    };
    let prepared = tokio::select! {
        prepared = prepare(&parts, demo, address, talk) => Some(prepared),
        // As above.
        _ = signals.next() => None,
    };
    let stop = CancellationToken::new();
    let stopping = parts.api.stop().clone();
    // What goes on beside the work. The checks end first, so that the worker can leave, and with them what only tidies up;
    // those who only look, last.
    let watching = async {
        tokio::join!(
            async {
                tokio::select! {
                    () = stopping.cancelled() => {}
                    () = parts.sweeper.run() => {}
                }
            },
            async {
                let Some(retention) = &parts.retention else {
                    return;
                };
                tokio::select! {
                    () = stopping.cancelled() => {}
                    () = retention.run(metrics::retention::count) => {}
                }
            },
            pulse::beat(&parts, stop.clone()),
            metrics::feed::follow(&parts.store, stop.clone()),
            async {
                if let Some(demo) = demo {
                    demo.publish(&parts.store, talk, stop.clone()).await;
                }
            },
        );
    };
    let serving = async {
        // The bare address is this program's own: a service that embeds the router has something else there.
        let entrance = get(|| async { Redirect::to("/admin/updates") });
        let router = parts.api.router().route("/", entrance);
        let router = router.layer(from_fn(metrics::requests::count));
        let server = Server::start(listener, router, parts.settings.server.max_connections);
        let why = match prepared {
            Some(prepared) => match prepared.and_then(|()| announce(cli, address, talk)) {
                Ok(()) => until_end(&parts, signals).await,
                Err(error) => Err(error),
            },
            None => Ok(()),
        };
        let left = shutdown::stop(&parts, server, signals).await;
        stop.cancel();
        (why, left)
    };
    let ((), (why, left)) = tokio::join!(watching, serving);
    shutdown::close(parts, left).await;
    why
}

/// A demo takes any port when the usual one is taken, for it is told where to look.
fn listen(cli: &Cli, address: SocketAddr) -> anyhow::Result<TcpListener> {
    match http::bind(address) {
        Err(_) if cli.demo && cli.listen.is_none() => http::bind(SocketAddr::new(address.ip(), 0)),
        bound => bound,
    }
    .with_context(|| format!("{address} cannot be listened on"))
}

/// What has to be so before anybody is let in.
async fn prepare(
    parts: &Parts,
    demo: Option<&Demo>,
    address: SocketAddr,
    talk: Talk,
) -> anyhow::Result<()> {
    pulse::look(parts).await;
    let url = http::url(address);
    match demo {
        Some(demo) => demo.enrol(&parts.store, &url, talk).await,
        None => setup::offer(&parts.api, &url, talk).await,
    }
}

/// Tells people and programs that requests are answered.
fn announce(cli: &Cli, address: SocketAddr, talk: Talk) -> anyhow::Result<()> {
    if !cli.demo {
        talk.say(format!("listening on {}", http::url(address)));
    }
    if let Some(file) = &cli.port_file {
        write_whole(file, &format!("{address}\n"))
            .with_context(|| format!("{} cannot be written", file.display()))?;
    }
    systemd::ready();
    Ok(())
}

/// Whoever waits for the file finds all of it or none.
fn write_whole(file: &Path, text: &str) -> std::io::Result<()> {
    let mut unfinished = file.as_os_str().to_owned();
    unfinished.push(".new");
    fs::write(&unfinished, text)?;
    fs::rename(unfinished, file)
}

/// Returns when it is time to stop; an error when that was not asked for.
async fn until_end(parts: &Parts, signals: &mut Signals) -> anyhow::Result<()> {
    tokio::select! {
        name = signals.next() => {
            tracing::info!(name, "asked to stop");
            Ok(())
        }
        () = parts.process.worker_ended() => {
            let why = match parts.process.take_worker() {
                Some(mut worker) => worker.finished().await.err(),
                None => None,
            };
            Err(match why {
                Some(error) => error.into(),
                None => anyhow!("the worker ended by itself"),
            })
        }
    }
}
