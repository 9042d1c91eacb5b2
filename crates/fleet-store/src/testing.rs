//! What tests of this crate and of others begin with.

use std::collections::BTreeMap;

use fleet_types::{AppSettings, StepTimeouts};

use crate::records::{HostSpec, NewHost};

/// A host as tests add it: at an address of its own, with one app.
///
/// # Panics
///
/// When the name is none that a host may have.
#[must_use]
pub fn sample_host(name: &str) -> NewHost {
    let valid = "these are valid values";
    NewHost {
        name: name.parse().expect("a valid name"),
        spec: HostSpec {
            address: format!("{name}.example.org").parse().expect(valid),
            port: 22,
            user: "deploy".parse().expect(valid),
            key: None,
            jump: Vec::new(),
            app: AppSettings {
                repo: "/srv/app".parse().expect(valid),
                remote: "origin".parse().expect(valid),
                branch: "main".parse().expect(valid),
                install: "bun install".to_owned(),
                service: "app".parse().expect(valid),
                verify: None,
                generated: vec!["bun.lock".to_owned()],
                min_free_mib: 200,
                timeouts: StepTimeouts::default(),
            },
        },
        labels: BTreeMap::new(),
        owner: None,
    }
}
