//! Which rollout is meant by what was typed or followed.

use fleet_store::{Store, StoreError};
use fleet_types::{RolloutId, printable};

/// So many of the latest rollouts are looked through for the beginning of an id.
const LOOKED_THROUGH: usize = 10_000;
const PAGE: u32 = 200;
/// Less of an id is a slip.
const SHORTEST: usize = 4;

/// Why it is not known which rollout is meant.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FindError {
    /// No rollout has it.
    #[error("there is no rollout {text}")]
    Unknown {
        /// As it was said, printable.
        text: String,
    },
    /// More than one has.
    #[error("{count} rollouts have an id that starts with {text}")]
    Several {
        /// As it was said, printable.
        text: String,
        /// How many.
        count: usize,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The rollout of this id, or whose id as it is shown or as a whole begins with this, four characters at least.
///
/// # Errors
///
/// As [`FindError`] says.
pub async fn find_rollout(store: &dyn Store, text: &str) -> Result<RolloutId, FindError> {
    if text.len() == 36
        && let Ok(id) = text.parse::<RolloutId>()
    {
        let found = store.rollout_get(id).await?;
        return found.map(|record| record.id).ok_or_else(|| unknown(text));
    }
    let wanted = text.to_ascii_lowercase();
    let is_part = |byte: u8| byte.is_ascii_hexdigit() || byte == b'-';
    if !(SHORTEST..=36).contains(&wanted.len()) || !wanted.bytes().all(is_part) {
        return Err(unknown(text));
    }
    let found = beginning_with(store, &wanted).await?;
    match found.as_slice() {
        [id] => Ok(*id),
        [] => Err(unknown(text)),
        _ => Err(FindError::Several {
            text: wanted,
            count: found.len(),
        }),
    }
}

async fn beginning_with(store: &dyn Store, wanted: &str) -> Result<Vec<RolloutId>, StoreError> {
    let fits =
        |id: &RolloutId| id.short().starts_with(wanted) || id.to_string().starts_with(wanted);
    let mut found = Vec::new();
    let (mut before, mut seen) = (None, 0);
    while seen < LOOKED_THROUGH {
        let page = store.rollout_list(before, PAGE).await?;
        let Some(last) = page.last() else { break };
        before = Some(last.id);
        seen += page.len();
        found.extend(page.iter().map(|record| record.id).filter(fits));
    }
    Ok(found)
}

fn unknown(text: &str) -> FindError {
    let text = printable(text).chars().take(64).collect();
    FindError::Unknown { text }
}
