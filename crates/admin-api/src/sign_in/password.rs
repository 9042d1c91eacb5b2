//! Somebody changes their own password.

use crate::identity::{Caller, CallerKind};
use crate::secrets;
use crate::sign_in::store_identity::{
    SignInError, SignedIn, StoreIdentity, internal, password_fits,
};

impl StoreIdentity {
    /// Gives whoever is signed in and knows their old password a new one. All their sessions end; the one that asks goes on
    /// under a new secret. Tries with a wrong old password are counted as those to sign in are.
    pub async fn change_password(
        &self,
        caller: &Caller,
        old: String,
        new: String,
    ) -> Result<SignedIn, SignInError> {
        let name = match caller.kind {
            CallerKind::Session(_) => caller.name.parse().ok(),
            _ => None,
        };
        let name = name.ok_or(SignInError::NoPassword)?;
        secrets::check_password(&new)?;
        let place = self.hasher.enter()?;
        self.store.sign_in_try(&caller.name, &caller.source).await?;
        let user = self.store.user_get(&name).await?;
        let Some(known) = user.and_then(|user| user.password) else {
            return Err(SignInError::NoPassword);
        };
        let same = old == new;
        if !password_fits(place, old, Some(known.clone())).await? {
            self.note_failure("user.password", &caller.name, &caller.source, None)
                .await;
            return Err(SignInError::WrongOld);
        }
        self.store
            .sign_in_done(&caller.name, &caller.source)
            .await?;
        if same {
            return Err(SignInError::SameAgain);
        }
        let hash = self.hasher.enter()?.hash(new).await.map_err(internal)?;
        // Hashing takes its time: what an admin set, or forbade, meanwhile stands.
        let by = caller.actor();
        let changed = self
            .store
            .user_change_password(&name, known, hash.clone(), &by)
            .await?;
        let user = self.store.user_get(&name).await?.filter(|_| changed);
        let user = user.filter(|user| user.password == Some(hash));
        self.open(user.ok_or(SignInError::WrongOld)?, &caller.source)
            .await
    }
}
