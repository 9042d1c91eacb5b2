//! Serves a fleet from a process of its own: `local_fleet FOLDER HOSTS` makes it, `local_fleet FOLDER` opens one made
//! before. Prints everything about it as one line of JSON, and stops when its standard input ends.
#![allow(clippy::print_stdout, reason = "what it prints is what it is for")]

use std::io::Read;

use local_fleet::{LocalFleet, ReleaseSpec};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().ok_or("FOLDER [HOSTS]")?;
    let new = LocalFleet::builder().root(&folder);
    let fleet = match arguments.next() {
        Some(hosts) => new.hosts(hosts.parse()?).start().await?,
        None => LocalFleet::open(&folder).await?,
    };
    if fleet.releases().len() == 1 {
        let second = ReleaseSpec::good("Second release");
        fleet.add_release(second).await?;
    }
    println!("{}", serde_json::to_string(&fleet.description())?);
    tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await??;
    fleet.stop().await;
    Ok(())
}
