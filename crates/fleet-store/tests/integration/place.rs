//! Where a case runs: a database, and the clock and the processes that all stores on it share.

use std::sync::Arc;

use fleet_store::*;
use tempfile::TempDir;

use crate::postgres;

pub(crate) struct Place {
    pub(crate) clock: ManualClock,
    pub(crate) processes: ManualProcesses,
    url: String,
    _folder: Option<TempDir>,
}

impl Place {
    fn new(url: String, folder: Option<TempDir>) -> Self {
        Self {
            clock: ManualClock::new(),
            processes: ManualProcesses::default(),
            url,
            _folder: folder,
        }
    }

    pub(crate) fn memory() -> Self {
        Self::new("sqlite::memory:".to_owned(), None)
    }

    pub(crate) fn file() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}/store.db", folder.path().display());
        Self::new(url, Some(folder))
    }

    pub(crate) async fn postgres() -> Option<Self> {
        let name = uuid::Uuid::now_v7().simple().to_string();
        Some(Self::new(postgres::database(&name).await?, None))
    }

    /// One more store on this database.
    pub(crate) async fn store(&self) -> DieselStore {
        self.store_with(Arc::new(self.clock.clone())).await
    }

    /// One more store on this database that goes by another clock.
    pub(crate) async fn store_with(&self, clock: Arc<dyn Clock>) -> DieselStore {
        let options = StoreOptions {
            clock,
            processes: Arc::new(self.processes.clone()),
            ..StoreOptions::default()
        };
        DieselStore::open(&self.url, options).await.unwrap()
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn is_postgres(&self) -> bool {
        self.url.starts_with("postgres")
    }
}

/// Nothing may be wrong in the store.
pub(crate) async fn assert_consistent(store: &DieselStore) {
    let wrong = store.consistency_check().await.unwrap();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
