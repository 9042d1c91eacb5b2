//! `cargo xtask soak`: servers, a database and hosts in a world that means them ill, for as long as one likes.

use std::process::ExitCode;

use anyhow::{Context, bail};

use crate::process;

/// How long; without it the short form of the ordinary tests is run.
const MINUTES_VARIABLE: &str = "ROLLOUT_SOAK_MINUTES";
/// What the faults and the rollouts are drawn from.
const SEED_VARIABLE: &str = "ROLLOUT_SOAK_SEED";

pub(crate) fn run(arguments: &[String]) -> anyhow::Result<ExitCode> {
    let options = Options::parse(arguments)?;
    let mut command = process::cargo();
    command.args(["test", "--locked", "-p", "rollout-server"]);
    command.args(["--test", "integration", "--", "soak::soak", "--nocapture"]);
    command.env(MINUTES_VARIABLE, options.minutes.to_string());
    command.env(SEED_VARIABLE, options.seed.to_string());
    Ok(match command.status()?.success() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

#[derive(Debug, PartialEq)]
struct Options {
    minutes: f64,
    seed: u32,
}

impl Options {
    fn parse(arguments: &[String]) -> anyhow::Result<Self> {
        let mut options = Self {
            minutes: 20.0,
            seed: 1,
        };
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            let value = rest
                .next()
                .with_context(|| format!("{argument} needs a value"))?;
            match argument.as_str() {
                "--minutes" => options.minutes = value.parse()?,
                "--seed" => options.seed = value.parse()?,
                _ => bail!("soak knows --minutes N and --seed S"),
            }
        }
        Ok(options)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::Options;

    #[test]
    fn what_can_be_said() {
        let parse = |text: &str| {
            let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
            Options::parse(&words)
        };
        let check = |text: &str, minutes: f64, seed: u32| {
            assert_eq!(parse(text).unwrap(), Options { minutes, seed }, "{text}");
        };
        check("", 20.0, 1);
        check("--minutes 0.5 --seed 7", 0.5, 7);
        for wrong in ["--minutes", "--minutes many", "--hours 2"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
