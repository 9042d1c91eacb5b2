use std::collections::HashMap;

use fleet_types::HostName;
use fleet_types::view::{EnrolledHost, HostKey};
use serde_json::json;

use crate::cli::TrustHosts;
use crate::display::words::hosts;
use crate::exit::Exit;
use crate::failure::{Failure, one_line};
use crate::fleet::{Fleet, known_host};
use crate::output::{Output, Paint};

/// `hosts trust`
pub(crate) async fn run(
    fleet: &dyn Fleet,
    out: Output,
    arguments: &TrustHosts,
) -> Result<Exit, Failure> {
    if !arguments.yes && !out.can_ask() {
        return Err(Failure::usage(
            "pinning host keys must be confirmed, and there is nobody to ask",
        )
        .help("compare the fingerprints, and say -y"));
    }
    let chosen = which(fleet, arguments).await?;
    if chosen.is_empty() {
        out.say("every host has a pinned key; name hosts, or say --all, to look again");
        return Ok(Exit::Done);
    }
    let mut offers = fetch(fleet, chosen).await?;
    for offer in &mut offers {
        offer.judge(!arguments.names.is_empty());
    }
    if !out.json {
        show(out, &offers)?;
    }
    let wanted = offers
        .iter()
        .filter(|offer| offer.finding.is_to_pin())
        .count();
    let question = format!(
        "Pin the keys of {}?",
        hosts(u32::try_from(wanted).unwrap_or(u32::MAX))
    );
    if wanted > 0 && !arguments.yes && !out.ask(&question) {
        out.say("nothing was pinned");
        return Ok(Exit::Refused);
    }
    let pinned = pin(fleet, out, &mut offers).await;
    if out.json {
        show(out, &offers)?;
    }
    let pinned = pinned?;
    Ok(conclude(out, &offers, pinned))
}

/// Pins what is to be pinned; answers for how many hosts. One that is refused, such as one that was removed meanwhile, does
/// not keep the others from it.
async fn pin(fleet: &dyn Fleet, out: Output, offers: &mut [Offer]) -> Result<usize, Failure> {
    let mut pinned = 0;
    for offer in offers.iter_mut().filter(|offer| offer.finding.is_to_pin()) {
        let keys = offer.keys.iter().map(|key| key.openssh.clone()).collect();
        match fleet.pin(&offer.host, keys).await {
            Ok(()) => pinned += 1,
            Err(failure) if failure.exit != Exit::Refused => {
                offer.finding = Finding::Failed(failure.what());
                return Err(failure);
            }
            Err(failure) => {
                let why = failure.what();
                out.say(format!("{} is not pinned: {}", offer.host, one_line(&why)));
                offer.finding = Finding::Failed(why);
            }
        }
    }
    Ok(pinned)
}

/// Fetches and pins the keys of all hosts without asking: for hosts of our own making.
pub(crate) async fn pin_all(fleet: &dyn Fleet) -> Result<(), Failure> {
    let hosts = fleet.enrolled().await?;
    for offer in fetch(fleet, hosts).await? {
        if let Finding::Failed(error) = offer.finding {
            return Err(Failure::unexpected(format!("{} showed no key", offer.host)).why(error));
        }
        let keys = offer.keys.into_iter().map(|key| key.openssh).collect();
        fleet.pin(&offer.host, keys).await?;
    }
    Ok(())
}

async fn which(fleet: &dyn Fleet, arguments: &TrustHosts) -> Result<Vec<EnrolledHost>, Failure> {
    for name in &arguments.names {
        known_host(fleet, name).await?;
    }
    let mut hosts = fleet.enrolled().await?;
    if arguments.names.is_empty() {
        hosts.retain(|host| arguments.all || host.host_keys.is_empty());
    } else {
        hosts.retain(|host| arguments.names.contains(&host.entry.name));
    }
    Ok(hosts)
}

/// What one host showed.
struct Offer {
    host: HostName,
    pinned: Vec<String>,
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
    /// The host could not be asked, or its keys not be pinned.
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
        let pinned = &self.pinned;
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
async fn fetch(fleet: &dyn Fleet, chosen: Vec<EnrolledHost>) -> Result<Vec<Offer>, Failure> {
    let mut pinned: HashMap<HostName, Vec<String>> = chosen
        .into_iter()
        .map(|host| (host.entry.name, host.host_keys))
        .collect();
    let names = pinned.keys().cloned().collect();
    let mut offers: Vec<Offer> = Vec::with_capacity(pinned.len());
    for scanned in fleet.scan(names).await? {
        let (keys, finding) = match scanned.keys {
            Ok(keys) => (keys, Finding::New),
            Err(error) => (Vec::new(), Finding::Failed(error)),
        };
        offers.push(Offer {
            pinned: pinned.remove(&scanned.host).unwrap_or_default(),
            host: scanned.host,
            keys,
            finding,
        });
    }
    offers.sort_by(|a, b| a.host.cmp(&b.host));
    Ok(offers)
}

fn show(out: Output, offers: &[Offer]) -> Result<(), Failure> {
    if out.json {
        let host = |offer: &Offer| {
            let key = |key: &HostKey| json!({ "algorithm": key.algorithm, "fingerprint": key.fingerprint });
            let error = if let Finding::Failed(error) = &offer.finding {
                Some(error)
            } else {
                None
            };
            json!({
                "name": offer.host,
                "finding": offer.finding.word(),
                "pinned": offer.finding.is_to_pin() || matches!(offer.finding, Finding::Same),
                "keys": offer.keys.iter().map(key).collect::<Vec<_>>(),
                "error": error,
            })
        };
        return out.object(&json!({ "hosts": offers.iter().map(host).collect::<Vec<_>>() }));
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
        out.line(format!("{}   {note}", offer.host))?;
        for key in &offer.keys {
            out.line(format!("    {}  {}", key.fingerprint, key.algorithm))?;
        }
    }
    Ok(())
}

fn conclude(out: Output, offers: &[Offer], pinned: usize) -> Exit {
    let failed = offers
        .iter()
        .filter(|offer| matches!(offer.finding, Finding::Failed(_)))
        .count();
    let changed: Vec<&str> = offers
        .iter()
        .filter(|offer| matches!(offer.finding, Finding::Changed { named: false }))
        .map(|offer| offer.host.as_str())
        .collect();
    let number = |count: usize| hosts(u32::try_from(count).unwrap_or(u32::MAX));
    out.say(format!("pinned the keys of {}", number(pinned)));
    if failed > 0 {
        out.say(format!(
            "{} could not be asked, or not be pinned",
            number(failed)
        ));
    }
    let mut next = vec![(
        "rollout-cli hosts check".to_owned(),
        "look whether an update would work",
    )];
    if !changed.is_empty() {
        out.say(format!(
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
    out.next(&next);
    match (failed + changed.len(), offers.len()) {
        (0, _) => Exit::Done,
        (bad, all) if bad == all => Exit::Refused,
        _ => Exit::SomeFailed,
    }
}
