//! The migrations that this program knows.

use std::fmt;

use diesel::backend::Backend;
use diesel::migration::{Migration, MigrationSource};
use diesel_migrations::EmbeddedMigrations;

use super::options::StoreOptions;
use super::work::Trouble;
use crate::records::Schema;

/// The migrations of one kind of database.
#[derive(Clone)]
pub(crate) struct Migrations {
    embedded: &'static EmbeddedMigrations,
    /// Those of a version that is not there yet.
    #[cfg(any(feature = "testing", feature = "crash-points"))]
    more: Option<std::path::PathBuf>,
}

impl fmt::Debug for Migrations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Migrations")
    }
}

impl Migrations {
    #[cfg_attr(
        not(any(feature = "testing", feature = "crash-points")),
        expect(
            unused_variables,
            reason = "only tests know more than what is built in"
        )
    )]
    pub(crate) fn new(embedded: &'static EmbeddedMigrations, options: &StoreOptions) -> Self {
        Self {
            embedded,
            #[cfg(any(feature = "testing", feature = "crash-points"))]
            more: options.more_migrations.clone(),
        }
    }

    /// All, the oldest first.
    pub(crate) fn all<DB: Backend>(&self) -> Result<Vec<Box<dyn Migration<DB>>>, Trouble> {
        let mut all = MigrationSource::<DB>::migrations(self.embedded).map_err(refused)?;
        #[cfg(any(feature = "testing", feature = "crash-points"))]
        if let Some(folder) = &self.more {
            let more = diesel_migrations::FileBasedMigrations::from_path(folder);
            let more = more.map_err(|error| refused(error.into()))?;
            all.extend(MigrationSource::<DB>::migrations(&more).map_err(refused)?);
        }
        all.sort_by_key(|migration| migration.name().version().to_string());
        Ok(all)
    }

    /// The schema that they end in.
    pub(crate) fn known<DB: Backend>(&self) -> Result<Schema, Trouble> {
        let all = self.all::<DB>()?;
        let last = all
            .last()
            .map(|last| schema(&last.name().version().to_string()));
        last.unwrap_or_else(|| Ok(Schema::default()))
    }
}

/// The schema that a migration leads to.
pub(crate) fn schema(version: &str) -> Result<Schema, Trouble> {
    version.parse().map(Schema).map_err(|_| Trouble::Corrupt {
        table: "__diesel_schema_migrations",
        cause: format!("{version:?} is no number of a migration"),
    })
}

pub(crate) fn refused(error: Box<dyn std::error::Error + Send + Sync>) -> Trouble {
    match error.downcast::<diesel::result::Error>() {
        Ok(error) => Trouble::Database(*error),
        Err(error) => Trouble::Refused(format!(
            "the schema could not be brought up to date: {error}"
        )),
    }
}
