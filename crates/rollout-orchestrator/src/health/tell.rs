//! Who is told of checks.

use std::fmt;
use std::sync::Arc;

use super::Checked;

/// Told of each check once it is over.
#[derive(Clone)]
pub(super) struct Tell(Arc<dyn Fn(&Checked) + Send + Sync>);

impl Tell {
    pub(super) fn to(told: impl Fn(&Checked) + Send + Sync + 'static) -> Self {
        Self(Arc::new(told))
    }

    pub(super) fn of(&self, checked: &Checked) {
        (self.0)(checked);
    }
}

impl Default for Tell {
    fn default() -> Self {
        Self::to(|_| {})
    }
}

impl fmt::Debug for Tell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tell")
    }
}
