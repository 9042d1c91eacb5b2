//! Times the calls of the database.

use std::time::Duration;

use fleet_store::{CallKind, Timings};
use metrics::histogram;

use super::DB_TIME;

/// Takes down how long calls take.
#[derive(Debug)]
pub(crate) struct CallTimes;

impl Timings for CallTimes {
    fn took(&self, call: CallKind, time: Duration) {
        histogram!(DB_TIME, "op" => call.as_str()).record(time.as_secs_f64());
    }
}
