//! Retention of what steps printed.

use std::num::NonZeroU32;

use async_trait::async_trait;

use super::run;
use crate::api::Outputs;
use crate::diesel_store::desk::Rank;
use crate::diesel_store::store::{DieselStore, Engines};
use crate::diesel_store::work::Work;
use crate::diesel_store::{on_postgres, on_sqlite};
use crate::error::StoreError;
use crate::records::OutputsRemoved;

#[async_trait]
impl Outputs for DieselStore {
    async fn outputs_remove(
        &self,
        kept_days: NonZeroU32,
        limit: u32,
    ) -> Result<OutputsRemoved, StoreError> {
        let limit = i64::from(limit);
        run!(self, write Outputs, |conn, work, q| q::outputs::outputs_remove(
            conn, work, kept_days, limit
        ))
    }
}
