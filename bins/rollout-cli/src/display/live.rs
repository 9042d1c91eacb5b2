//! For a terminal: results above, and below them a bar for the stage and the hosts under way.

use std::io::IsTerminal;
use std::time::Duration;

use anstream::{AutoStream, ColorChoice};
use fleet_types::{AttemptStatus, Event, EventKind};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use super::Display;
use super::model::{Model, short_counts, status};
use super::plain::{cause, line};
use super::table::width;
use super::words::{self, Mark};
use crate::failure::Failure;

/// Hosts shown under the bar; the rest is counted.
const SHOWN: usize = 8;
/// Redraws a second, at most; the lines above the bar come on top, once a tick.
const REDRAWS: u8 = 5;

/// How often the display is told that time has passed.
pub(crate) const TICK: Duration = Duration::from_millis(200);

/// Results, a bar, and at most eight hosts under way.
pub(crate) struct LiveDisplay {
    area: MultiProgress,
    stage: ProgressBar,
    hosts: Vec<ProgressBar>,
    colour: bool,
    name_width: usize,
    /// Lines to go above the bar at the next tick: each write above it costs a redraw.
    lines: Vec<String>,
    _keys: QuietKeys,
}

impl LiveDisplay {
    /// Draws on standard error.
    pub(crate) fn new() -> Self {
        let area = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(REDRAWS));
        let stage = area.add(ProgressBar::no_length().with_style(style("  {msg}")));
        let colour = AutoStream::choice(&std::io::stderr()) != ColorChoice::Never;
        Self {
            area,
            stage,
            hosts: Vec::new(),
            colour,
            name_width: 12,
            lines: Vec::new(),
            _keys: QuietKeys::new(),
        }
    }

    /// A line above the bar, cut to the terminal's width: what is cut stands in the summary or the logs.
    fn print(&mut self, text: &str) {
        let text = fitted(text, columns());
        self.lines.push(self.coloured(&text));
    }

    fn flush(&mut self) {
        if !self.lines.is_empty() {
            // Losing a line of talk is no reason to stop.
            let _ = self.area.println(self.lines.join("\n"));
            self.lines.clear();
        }
    }

    fn coloured(&self, text: &str) -> String {
        if self.colour {
            text.to_owned()
        } else {
            anstream::adapter::strip_str(text).to_string()
        }
    }

    fn redraw(&mut self, model: &Model) {
        self.stage
            .set_style(style("  {prefix}  {bar:20}  {pos}/{len}  {msg}"));
        let Some(stage) = model.planned() else { return };
        let ended = model.current();
        self.stage.set_length(u64::from(stage.hosts));
        self.stage.set_position(u64::from(ended.total()));
        self.stage.set_prefix(format!(
            "Stage {}/{}",
            stage.index,
            model.rollout.stages.len()
        ));
        let age = words::duration(words::now().since(model.rollout.created_at));
        let age = age
            .split_once('.')
            .map_or(age.clone(), |(whole, _)| format!("{whole}s"));
        let counts = short_counts(ended);
        let gate = format!("may fail {}", model.may_fail(stage.index));
        let state = match model.state {
            fleet_types::RolloutState::Running => String::new(),
            other => format!("   {}", words::state_paint(other).on(words::state(other))),
        };
        self.stage
            .set_message(self.coloured(&format!("{counts}   {gate}   {age}{state}")));
        self.redraw_hosts(model);
    }

    fn redraw_hosts(&mut self, model: &Model) {
        let mut lines = host_lines(model, self.name_width);
        let room = lines.len().min(SHOWN + 1);
        if lines.len() > SHOWN {
            let more = lines.len() - SHOWN;
            lines.truncate(SHOWN);
            lines.push(format!("     and {more} more"));
        }
        while self.hosts.len() > room {
            if let Some(bar) = self.hosts.pop() {
                bar.finish_and_clear();
                self.area.remove(&bar);
            }
        }
        while self.hosts.len() < room {
            self.hosts.push(
                self.area
                    .add(ProgressBar::no_length().with_style(style("{msg}"))),
            );
        }
        for (bar, line) in self.hosts.iter().zip(lines) {
            bar.set_message(fitted(&line, columns() - 1));
        }
    }

    /// A host's result: `✓ acme-de-01    8.1s`.
    fn result(&mut self, event: &Event, model: &Model) {
        let (Some(status), Some(host)) = (status(event), event.host.as_deref()) else {
            return;
        };
        self.name_width = self.name_width.max(host.chars().count());
        let mark = Mark::in_rollout(model.rollout.kind, status, event.reason.as_deref());
        let took = event
            .duration_seconds
            .map(words::seconds)
            .unwrap_or_default();
        let back = match (status, event.to.as_deref()) {
            (AttemptStatus::RolledBack, Some(version)) => {
                format!("; back on {}", words::short(version))
            }
            _ => String::new(),
        };
        let cause = cause(event, status)
            .map(|cause| format!("  {cause}{back}"))
            .unwrap_or_default();
        self.print(&format!(
            "  {} {host:width$}  {took:>7}{cause}",
            mark.painted(),
            width = self.name_width
        ));
    }
}

/// Keeps the terminal from showing `^C` where a key is pressed: it would begin a line that a redraw knows nothing of.
/// Put back when dropped.
struct QuietKeys(Option<Termios>);

impl QuietKeys {
    fn new() -> Self {
        let stdin = std::io::stdin();
        let before = tcgetattr(&stdin).ok().filter(|_| stdin.is_terminal());
        if let Some(mut settings) = before.clone() {
            settings.local_modes.remove(LocalModes::ECHOCTL);
            // Without it the display is only less tidy.
            let _ = tcsetattr(&stdin, OptionalActions::Now, &settings);
        }
        Self(before)
    }
}

impl Drop for QuietKeys {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, before);
        }
    }
}

/// How wide the terminal is.
fn columns() -> usize {
    let size = rustix::termios::tcgetwinsize(std::io::stderr());
    size.map(|size| usize::from(size.ws_col))
        .ok()
        .filter(|columns| *columns > 10)
        .unwrap_or(80)
}

/// The text in at most so many columns. Colour codes take none, and are all kept.
fn fitted(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let (mut fitted, mut taken, mut in_code) = (String::new(), 0, false);
    for letter in text.chars() {
        in_code |= letter == '\x1b';
        if in_code {
            fitted.push(letter);
            in_code = letter != 'm';
        } else if taken + 1 < columns {
            fitted.push(letter);
            taken += 1;
        } else if taken + 1 == columns {
            fitted.push('…');
            taken += 1;
        }
    }
    fitted
}

/// The hosts under way, the longest in their step first.
fn host_lines(model: &Model, width: usize) -> Vec<String> {
    let mut running: Vec<_> = model.running.iter().collect();
    running.sort_by_key(|(name, running)| (running.since, *name));
    let now = words::now();
    let line = |(name, running): (&String, &super::model::Running)| {
        let step = running.step.as_deref().unwrap_or("starting");
        format!(
            "     ▸ {name:width$}  {step:17}  {}s",
            now.since(running.since).as_secs()
        )
    };
    running.into_iter().map(line).collect()
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .expect("the template is a constant that parses")
        .progress_chars("█▉░")
}

impl Display for LiveDisplay {
    fn event(&mut self, event: &Event, model: &Model) -> Result<(), Failure> {
        match event.kind {
            EventKind::HostFinished => self.result(event, model),
            EventKind::HostTakenOver => {
                self.print(&format!(
                    "  ▸ {} taken over",
                    event.host.as_deref().unwrap_or_default()
                ));
            }
            EventKind::StageFinished => {
                if let Some(text) = line(event, model) {
                    self.print(&format!("  {text}"));
                }
            }
            EventKind::RolloutStarted => {
                let sizes: Vec<String> = model
                    .rollout
                    .stages
                    .iter()
                    .map(|stage| stage.hosts.to_string())
                    .collect();
                let target = words::short(&model.rollout.target.reference);
                let what = format!(
                    "{}, {} in stages of {}",
                    target,
                    words::hosts(model.hosts()),
                    sizes.join(", ")
                );
                self.print(&format!("Rollout {}: {what}", model.rollout.id.short()));
            }
            EventKind::RolloutResolved => {
                self.print(&format!(
                    "  target {}",
                    words::short(event.to.as_deref().unwrap_or_default())
                ));
            }
            EventKind::RolloutPaused
            | EventKind::RolloutResumed
            | EventKind::RolloutHalting
            | EventKind::RolloutAborting => {
                if let Some(text) = line(event, model) {
                    self.print(&text);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn tick(&mut self, model: &Model) {
        self.flush();
        self.redraw(model);
    }

    fn note(&mut self, text: &str) {
        self.print(text);
        self.flush();
    }

    fn close(&mut self) {
        self.flush();
        for bar in self.hosts.drain(..) {
            bar.finish_and_clear();
        }
        self.stage.finish_and_clear();
        let _ = self.area.clear();
    }
}

impl Drop for LiveDisplay {
    fn drop(&mut self) {
        self.close();
    }
}

#[cfg(test)]
mod tests {
    use super::fitted;

    #[test]
    fn long_lines_are_cut_and_their_colours_end() {
        assert_eq!(fitted("abcdef", 6), "abcdef");
        assert_eq!(fitted("abcdef", 5), "abcd…");
        assert_eq!(fitted("\x1b[31mabcdef\x1b[0m", 3), "\x1b[31mab…\x1b[0m");
    }
}
