//! `cargo xtask bench`: a fleet of local SSH hosts in a process of its own, updated by the release build of the command
//! line with everything durable, and what that cost the controller.
//!
//! The hosts' side (SSH servers, shells, git) runs on the same cores, so the wall time is mostly theirs; the
//! controller's CPU and memory are its own. Absolute figures belong to one machine.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::Value;

use crate::process::{cargo, command, run as run_command};

struct Sizes {
    hosts: u32,
    concurrency: u32,
    settle: String,
}

pub(crate) fn run(arguments: &[String]) -> anyhow::Result<ExitCode> {
    let sizes = sizes(arguments)?;
    run_command(cargo().args(["build", "--release", "--locked", "-p", "rollout-cli"]))?;
    run_command(cargo().args([
        "build",
        "--release",
        "--locked",
        "-p",
        "local-fleet",
        "--example",
        "local_fleet",
    ]))?;
    let programs = target_folder()?.join("release");
    let folder = std::env::temp_dir().join(format!("rollout-bench-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let result = measure(&sizes, &programs, &folder);
    fs::remove_dir_all(&folder).context("the benchmark's folder stays behind")?;
    result?;
    Ok(ExitCode::SUCCESS)
}

fn sizes(arguments: &[String]) -> anyhow::Result<Sizes> {
    let mut sizes = Sizes {
        hosts: 200,
        concurrency: 50,
        settle: "0s".to_owned(),
    };
    let mut rest = arguments.iter();
    while let Some(name) = rest.next() {
        let value = rest
            .next()
            .with_context(|| format!("{name} needs a value"))?;
        match name.as_str() {
            "--hosts" => sizes.hosts = value.parse()?,
            "--concurrency" => sizes.concurrency = value.parse()?,
            "--settle" => sizes.settle.clone_from(value),
            _ => bail!("bench knows --hosts N, --concurrency N and --settle TIME"),
        }
    }
    Ok(sizes)
}

fn target_folder() -> anyhow::Result<PathBuf> {
    let text = crate::process::read(cargo().args([
        "metadata",
        "--format-version",
        "1",
        "--no-deps",
        "--locked",
    ]))?;
    let metadata: Value = serde_json::from_str(&text)?;
    let folder = metadata["target_directory"]
        .as_str()
        .context("cargo metadata names no target folder")?;
    Ok(PathBuf::from(folder))
}

/// The fleet's process, which ends when its standard input does.
struct Fleet(Child);

impl Drop for Fleet {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

fn measure(sizes: &Sizes, programs: &Path, folder: &Path) -> anyhow::Result<()> {
    let began = Instant::now();
    let mut fleet = command(programs.join("examples/local_fleet"))
        .arg(folder.join("fleet"))
        .arg(sizes.hosts.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map(Fleet)
        .context("could not start the local fleet")?;
    let output = fleet
        .0
        .stdout
        .take()
        .context("the local fleet has no output")?;
    let mut line = String::new();
    BufReader::new(output).read_line(&mut line)?;
    let fleet_facts: Value =
        serde_json::from_str(&line).context("the local fleet did not describe itself")?;
    println!(
        "{} hosts up in {:.1} s",
        sizes.hosts,
        began.elapsed().as_secs_f64()
    );

    let cli = programs.join("rollout-cli");
    configure(folder, &fleet_facts)?;
    let rollout = |arguments: &[&str]| {
        let mut cli = command(&cli);
        cli.current_dir(folder)
            .args(["--config", "rollout.toml", "--no-input", "-q"])
            .args(arguments);
        cli
    };
    run_command(
        rollout(&["hosts", "import", "hosts.csv", "--format", "csv", "-y"]).stdout(Stdio::null()),
    )?;
    run_command(rollout(&["hosts", "trust", "--all", "-y"]).stdout(Stdio::null()))?;

    let concurrency = sizes.concurrency.to_string();
    let before = children_cpu()?;
    let began = Instant::now();
    let mut update = rollout(&[
        "update",
        "--all",
        "-y",
        "--stages",
        "10,50,100",
        "--concurrency",
        &concurrency,
        "--max-in-flight",
        &(sizes.concurrency * 4).to_string(),
        "--settle",
        &sizes.settle,
    ])
    .stdout(Stdio::null())
    .spawn()?;
    let mut peak_kib = 0;
    let status = loop {
        // The high-water mark is the kernel's; looking often only makes sure that the last look is late enough.
        peak_kib = peak_kib.max(high_water_kib(update.id()).unwrap_or(0));
        if let Some(status) = update.try_wait()? {
            break status;
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let wall = began.elapsed();
    let cpu = children_cpu()? - before;
    if !status.success() {
        bail!("the update ended with {status}");
    }
    println!(
        "{} hosts, {} connections at once, settle {}, durable: wall {:.2} s, controller CPU {:.2} s ({:.1} ms a host), peak memory {:.1} MiB",
        sizes.hosts,
        sizes.concurrency,
        sizes.settle,
        wall.as_secs_f64(),
        cpu,
        cpu * 1000.0 / f64::from(sizes.hosts),
        f64::from(peak_kib) / 1024.0,
    );
    Ok(())
}

fn configure(folder: &Path, fleet: &Value) -> anyhow::Result<()> {
    let hosts = fleet["hosts"]
        .as_array()
        .context("the fleet has no hosts")?;
    let mut csv = fs::File::create(folder.join("hosts.csv"))?;
    writeln!(csv, "name,address,port,user,key,repo")?;
    for host in hosts {
        let text = |key: &str| {
            host[key]
                .as_str()
                .with_context(|| format!("a host has no {key}"))
        };
        writeln!(
            csv,
            "{},{},{},{},{},{}",
            text("name")?,
            text("address")?,
            host["port"],
            fleet["user"].as_str().context("the fleet has no user")?,
            fleet["client_key"]
                .as_str()
                .context("the fleet has no key")?,
            text("repository")?
        )?;
    }
    let first = hosts.first().context("the fleet has no hosts")?;
    let settings = format!(
        "database_url = \"sqlite://bench.db\"\n[app]\nrepo = {}\nservice = {}\nmin_free_mib = 1\n",
        first["repository"], fleet["service"]
    );
    fs::write(folder.join("rollout.toml"), settings)?;
    Ok(())
}

fn high_water_kib(pid: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// CPU seconds of all children that have ended and were waited for.
fn children_cpu() -> anyhow::Result<f64> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let after_name = stat
        .rsplit_once(')')
        .context("/proc/self/stat is not as expected")?
        .1;
    let ticks: Vec<f64> = after_name
        .split_whitespace()
        .skip(13)
        .take(2)
        .filter_map(|field| field.parse().ok())
        .collect();
    // USER_HZ is 100 on every Linux that Rust runs on.
    Ok(ticks.iter().sum::<f64>() / 100.0)
}
