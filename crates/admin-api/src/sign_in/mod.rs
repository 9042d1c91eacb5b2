//! Sessions for people and bearer tokens for programs, both on the store.

mod cookie;
mod password;
mod store_identity;

pub(crate) use store_identity::bearer;
pub use store_identity::{SignInError, SignedIn, StoreIdentity};
