use std::path::PathBuf;
use std::sync::Arc;

use fleet_store::HostRecord;
use rollout_orchestrator::{SlotTransport, SshDefaults, endpoint};
use rollout_parts::ssh_defaults;
use serde_json::json;
use ssh_exec::{HostKey, Identity, Transport};
use tokio::task::JoinSet;

use crate::cli::TrustHosts;
use crate::context::Context;
use crate::display::words::hosts;
use crate::exit::Exit;
use crate::failure::{Failure, one_line};
use crate::output::Paint;

/// `hosts trust`
pub(crate) async fn run(context: &Context, arguments: &TrustHosts) -> Result<Exit, Failure> {
    if !arguments.yes && !context.out.can_ask() {
        return Err(Failure::usage(
            "pinning host keys must be confirmed, and there is nobody to ask",
        )
        .help("compare the fingerprints, and say -y"));
    }
    let chosen = which(context, arguments).await?;
    if chosen.is_empty() {
        context
            .out
            .say("every host has a pinned key; name hosts, or say --all, to look again");
        return Ok(Exit::Done);
    }
    let mut offers = fetch(context, chosen).await?;
    for offer in &mut offers {
        offer.judge(!arguments.names.is_empty());
    }
    show(context, &offers)?;
    let wanted = offers
        .iter()
        .filter(|offer| offer.finding.is_to_pin())
        .count();
    let question = format!(
        "Pin the keys of {}?",
        hosts(u32::try_from(wanted).unwrap_or(u32::MAX))
    );
    if wanted > 0 && !arguments.yes && !context.out.ask(&question) {
        context.out.say("nothing was pinned");
        return Ok(Exit::Refused);
    }
    for offer in offers.iter().filter(|offer| offer.finding.is_to_pin()) {
        let keys = offer.keys.iter().map(|key| key.openssh.clone()).collect();
        context
            .store
            .host_pin(&offer.host.name, keys, &context.actor)
            .await?;
    }
    Ok(conclude(context, &offers, wanted))
}

/// Fetches and pins the keys of all hosts without asking: for hosts of our own making.
pub(crate) async fn pin_all(context: &Context) -> Result<(), Failure> {
    let fleet = context.store.host_list().await?;
    for offer in fetch(context, fleet).await? {
        if let Finding::Failed(error) = offer.finding {
            return Err(
                Failure::unexpected(format!("{} showed no key", offer.host.name)).why(error),
            );
        }
        let keys = offer.keys.into_iter().map(|key| key.openssh).collect();
        context
            .store
            .host_pin(&offer.host.name, keys, &context.actor)
            .await?;
    }
    Ok(())
}

async fn which(context: &Context, arguments: &TrustHosts) -> Result<Vec<HostRecord>, Failure> {
    for name in &arguments.names {
        context.host(name).await?;
    }
    let mut fleet = context.store.host_list().await?;
    if arguments.names.is_empty() {
        fleet.retain(|host| arguments.all || host.host_keys.is_empty());
    } else {
        fleet.retain(|host| arguments.names.contains(&host.name));
    }
    Ok(fleet)
}

/// What one host showed.
struct Offer {
    host: HostRecord,
    keys: Vec<HostKey>,
    finding: Finding,
}

/// What it means.
enum Finding {
    /// Nothing was pinned.
    New,
    /// Exactly what is pinned.
    Same,
    /// A pinned key is still there, and others came or went.
    Rotated,
    /// None of the pinned keys is there any more.
    Changed { named: bool },
    /// The host could not be asked.
    Failed(String),
}

impl Finding {
    fn is_to_pin(&self) -> bool {
        matches!(
            self,
            Self::New | Self::Rotated | Self::Changed { named: true }
        )
    }

    fn word(&self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Same => "unchanged",
            Self::Rotated => "rotated",
            Self::Changed { .. } => "changed",
            Self::Failed(_) => "failed",
        }
    }
}

impl Offer {
    /// Compares with what is pinned. A changed key is only taken for a host that was named.
    fn judge(&mut self, named: bool) {
        if matches!(self.finding, Finding::Failed(_)) {
            return;
        }
        let pinned = &self.host.host_keys;
        let offered: Vec<&str> = self.keys.iter().map(|key| key.openssh.as_str()).collect();
        let kept = pinned
            .iter()
            .filter(|key| offered.contains(&key.as_str()))
            .count();
        self.finding = match (pinned.len(), kept) {
            (0, _) => Finding::New,
            (all, kept) if kept == all && offered.len() == all => Finding::Same,
            (_, 0) => Finding::Changed { named },
            _ => Finding::Rotated,
        };
    }
}

/// Asks all hosts for their keys, as many at once as connections may be open.
async fn fetch(context: &Context, chosen: Vec<HostRecord>) -> Result<Vec<Offer>, Failure> {
    let orchestrator = context.orchestrator()?;
    let mut worker = context.looker(&orchestrator).await?;
    let transport = Arc::new(worker.transport());
    let mut defaults = ssh_defaults(&context.settings.ssh, context.home.clone());
    // No credential is offered to the host itself, so it does not matter that there is none.
    defaults
        .identity
        .get_or_insert(Identity::Agent(PathBuf::new()));
    let defaults = Arc::new(defaults);
    let mut asking = JoinSet::new();
    for host in chosen {
        asking.spawn(ask(Arc::clone(&transport), Arc::clone(&defaults), host));
    }
    let mut offers = asking.join_all().await;
    worker.abandon();
    worker.finished().await?;
    offers.sort_by(|a, b| a.host.name.cmp(&b.host.name));
    Ok(offers)
}

async fn ask(transport: Arc<SlotTransport>, defaults: Arc<SshDefaults>, host: HostRecord) -> Offer {
    let asked = match endpoint(&host.name, &host.spec, &host.host_keys, &defaults) {
        Ok(endpoint) => transport
            .host_keys(&endpoint)
            .await
            .map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    match asked {
        Ok(keys) if keys.is_empty() => Offer {
            host,
            keys,
            finding: Finding::Failed("the host showed no key".to_owned()),
        },
        Ok(keys) => Offer {
            host,
            keys,
            finding: Finding::New,
        },
        Err(error) => Offer {
            host,
            keys: Vec::new(),
            finding: Finding::Failed(error),
        },
    }
}

fn show(context: &Context, offers: &[Offer]) -> Result<(), Failure> {
    if context.out.json {
        let host = |offer: &Offer| {
            let key = |key: &HostKey| json!({ "algorithm": key.algorithm, "fingerprint": key.fingerprint });
            let error = if let Finding::Failed(error) = &offer.finding {
                Some(error)
            } else {
                None
            };
            json!({
                "name": offer.host.name,
                "finding": offer.finding.word(),
                "pinned": offer.finding.is_to_pin() || matches!(offer.finding, Finding::Same),
                "keys": offer.keys.iter().map(key).collect::<Vec<_>>(),
                "error": error,
            })
        };
        return context
            .out
            .object(&json!({ "hosts": offers.iter().map(host).collect::<Vec<_>>() }));
    }
    for offer in offers {
        let note = match &offer.finding {
            Finding::New => Paint::Green.on("+ new"),
            Finding::Same => Paint::Dim.on("= unchanged"),
            Finding::Rotated => {
                Paint::Yellow.on("~ rotated: a pinned key is still shown, others came or went")
            }
            Finding::Changed { named: true } => {
                Paint::Red.on("! CHANGED: none of the pinned keys is shown any more")
            }
            Finding::Changed { named: false } => {
                Paint::Red.on("! CHANGED: not pinned; name the host to take it")
            }
            Finding::Failed(error) => format!("{} {}", Paint::Red.on("✗"), one_line(error)),
        };
        context.out.line(format!("{}   {note}", offer.host.name))?;
        for key in &offer.keys {
            context
                .out
                .line(format!("    {}  {}", key.fingerprint, key.algorithm))?;
        }
    }
    Ok(())
}

fn conclude(context: &Context, offers: &[Offer], pinned: usize) -> Exit {
    let failed = offers
        .iter()
        .filter(|offer| matches!(offer.finding, Finding::Failed(_)))
        .count();
    let changed: Vec<&str> = offers
        .iter()
        .filter(|offer| matches!(offer.finding, Finding::Changed { named: false }))
        .map(|offer| offer.host.name.as_str())
        .collect();
    let number = |count: usize| hosts(u32::try_from(count).unwrap_or(u32::MAX));
    context
        .out
        .say(format!("pinned the keys of {}", number(pinned)));
    if failed > 0 {
        context
            .out
            .say(format!("{} could not be asked", number(failed)));
    }
    let mut next = vec![(
        "rollout-cli hosts check".to_owned(),
        "look whether an update would work",
    )];
    if !changed.is_empty() {
        context.out.say(format!(
            "{} changed their keys: if they were not set up anew, treat them as compromised",
            number(changed.len())
        ));
        next.insert(
            0,
            (
                format!("rollout-cli hosts trust {}", changed.join(" ")),
                "only if they were set up anew",
            ),
        );
    }
    context.out.next(&next);
    match (failed + changed.len(), offers.len()) {
        (0, _) => Exit::Done,
        (bad, all) if bad == all => Exit::Refused,
        _ => Exit::SomeFailed,
    }
}
