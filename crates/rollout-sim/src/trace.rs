//! What happened, line by line, and a number that stands for all of it.

use std::collections::VecDeque;
use std::fmt;

use tokio::time::Instant;

const KEPT: usize = 4000;

/// The lines of one run.
#[derive(Debug)]
pub(crate) struct Trace {
    began: Instant,
    lines: VecDeque<String>,
    count: u64,
    sum: u64,
}

impl Trace {
    pub(crate) fn new() -> Self {
        Self {
            began: Instant::now(),
            lines: VecDeque::new(),
            count: 0,
            sum: 0xcbf2_9ce4_8422_2325,
        }
    }

    pub(crate) fn add(&mut self, line: fmt::Arguments<'_>) {
        let at = self.began.elapsed();
        let line = format!("{:>9}.{:03} {line}", at.as_secs(), at.subsec_millis());
        for byte in line.bytes() {
            // FNV-1a.
            self.sum = (self.sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        self.count += 1;
        self.lines.push_back(line);
        if self.lines.len() > KEPT {
            self.lines.pop_front();
        }
    }

    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    pub(crate) fn sum(&self) -> u64 {
        self.sum
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.lines.iter().cloned().collect()
    }
}
