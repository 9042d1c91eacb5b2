use std::collections::BTreeSet;

use fleet_types::{Address, HostName, UserName};

/// One host of a list. What the list does not say is `None`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedHost {
    /// Where it begins in the list, from 1.
    pub line: usize,
    /// Its name.
    pub name: HostName,
    /// Its address.
    pub address: Option<Address>,
    /// The SSH port, never 0.
    pub port: Option<u16>,
    /// The user to sign in as.
    pub user: Option<UserName>,
    /// The private key's file as the list has it: absolute, below `~/`, or relative to the list.
    pub key: Option<String>,
    /// The hosts to go through, outermost first, each `user@address:port`; empty when the list says that there are none.
    pub jump: Option<Vec<String>>,
    /// The groups it belongs to, each fit for a label's key; `None` for a list that knows no groups.
    pub groups: Option<BTreeSet<String>>,
}

impl ListedHost {
    /// The address of a host that is not known yet: its name, when the list says no address.
    ///
    /// # Errors
    /// The host's line, when its name cannot be an address.
    pub fn first_address(&self) -> Result<Address, BadLine> {
        let named = || self.name.as_str().parse();
        let address = self.address.clone().map_or_else(named, Ok);
        address.map_err(|error: fleet_types::Invalid| BadLine::new(self.line, error))
    }
}

/// A list that was refused: the line, and what is wrong there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {why}")]
pub struct BadLine {
    /// From 1.
    pub line: usize,
    /// What is wrong.
    pub why: String,
}

impl BadLine {
    pub(crate) fn new(line: usize, why: impl ToString) -> Self {
        let why = why.to_string();
        Self { line, why }
    }
}
