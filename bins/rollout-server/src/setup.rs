//! How the first admin comes in.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use admin_api::AdminApi;
use fleet_types::Timestamp;

use crate::talk::Talk;

const VALID: Duration = Duration::from_secs(3600);

/// While there is no admin: offers that place to whoever reads this, once, for an hour.
pub(crate) async fn offer(api: &AdminApi, url: &str, talk: Talk) -> anyhow::Result<()> {
    let Some(sign_in) = api.sign_in() else {
        return Ok(());
    };
    if let Some(secret) = sign_in.offer_setup(now(), VALID).await? {
        talk.say(format!(
            "There is no admin yet. Within an hour, open {url}/login?setup=1 and give this secret; it is shown once."
        ));
        talk.say(format!("setup secret: {secret}"));
    }
    Ok(())
}

pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
