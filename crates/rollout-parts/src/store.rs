use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use fleet_store::{DieselStore, LeaseTimes, Password, StoreError, StoreOptions};
use rollout_settings::{LeaseSettings, Origin, Settings};

use crate::secret_file::first_line;

/// The database cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder of the default database.
    #[error("the folder {} for the database cannot be made", path.display())]
    Folder {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file with its password.
    #[error("the password file {} cannot be used: {why}", path.display())]
    Password {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The database itself.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Opens the database, and makes or migrates its tables. The folder of the default database is made as well.
pub async fn open_store(settings: &Settings) -> Result<DieselStore, OpenError> {
    if settings.origin("database_url") == Origin::Default {
        make_state_folder(&settings.database_url)?;
    }
    let options = StoreOptions {
        password: password(settings)?,
        lease_times: lease_times(&settings.lease),
        ..StoreOptions::default()
    };
    Ok(DieselStore::open(&settings.database_url, options).await?)
}

fn password(settings: &Settings) -> Result<Option<Password>, OpenError> {
    let Some(path) = &settings.database_password_file else {
        return Ok(None);
    };
    if settings.database_url.starts_with("sqlite://") {
        return Ok(None);
    }
    let line = first_line(path).map_err(|why| OpenError::Password {
        path: path.clone(),
        why,
    })?;
    Ok(Some(Password::new(line)))
}

fn lease_times(lease: &LeaseSettings) -> LeaseTimes {
    LeaseTimes {
        lease: lease.lease,
        renew: lease.renew,
        fence: lease.fence,
        slot_grace: lease.slot_grace,
    }
}

/// The folder of the default database; others can neither read nor write in it.
fn make_state_folder(url: &str) -> Result<(), OpenError> {
    let Some(folder) = url
        .strip_prefix("sqlite://")
        .and_then(|path| Path::new(path).parent())
    else {
        return Ok(());
    };
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(|source| OpenError::Folder {
            path: folder.to_owned(),
            source,
        })
}
