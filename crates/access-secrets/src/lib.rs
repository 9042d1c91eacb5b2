//! Passwords, tokens and the secrets of sessions. Knows no HTTP: server and command line make the same hashes with it.

mod hasher;

pub use hasher::{Hasher, Place, QueueFull};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fleet_store::{PasswordHash, SecretHash};
use sha2::{Digest, Sha256};

/// What every token starts with, so that secret scanners find one that leaked.
pub const TOKEN_PREFIX: &str = "rlt_";
/// Fewest characters of a password.
pub const PASSWORD_LEAST: usize = 8;
/// Most bytes of a password: hashing must not become work without end.
pub const PASSWORD_MOST: usize = 1024;

/// Characters of 256 bits, and of the checksum, in base64url.
const SECRET_CHARACTERS: usize = 43;
const CHECKSUM_CHARACTERS: usize = 4;

/// Passwords that every guessing program tries first, among those that are long enough.
const COMMON: &[&str] = &[
    "00000000",
    "11111111",
    "12341234",
    "12345678",
    "123456789",
    "1234567890",
    "87654321",
    "88888888",
    "987654321",
    "aa123456",
    "aa12345678",
    "abc12345",
    "abcd1234",
    "admin123",
    "administrator",
    "asdfasdf",
    "asdfghjk",
    "asdfghjkl",
    "baseball",
    "changeme",
    "computer",
    "corvette",
    "football",
    "google123",
    "iloveyou",
    "internet",
    "jennifer",
    "letmein1",
    "liverpool",
    "michelle",
    "password",
    "password1",
    "password12",
    "password123",
    "passw0rd",
    "p@ssw0rd",
    "p@ssword",
    "princess",
    "q1w2e3r4",
    "q1w2e3r4t5",
    "qazwsxedc",
    "qwer1234",
    "qwertyui",
    "qwertyuiop",
    "qwerty12",
    "qwerty123",
    "qwerty1234",
    "rollout1",
    "rollout123",
    "starwars",
    "sunshine",
    "superman",
    "trustno1",
    "welcome1",
    "welcome123",
    "whatever",
    "zaq12wsx",
    "1q2w3e4r",
    "1q2w3e4r5t",
    "1qaz2wsx",
    "root1234",
    "secret123",
    "test1234",
];

/// Why a password is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WeakPassword {
    /// Too short.
    #[error("a password has at least {PASSWORD_LEAST} characters")]
    Short,
    /// Too long.
    #[error("a password has at most {PASSWORD_MOST} bytes")]
    Long,
    /// Everybody's first guess.
    #[error("this password is one of the first that anybody would guess")]
    Common,
}

/// Hashing did not work; a fault of this machine.
#[derive(Debug, thiserror::Error)]
#[error("the password could not be hashed: {cause}")]
pub struct HashError {
    /// What is known of it.
    pub cause: String,
}

/// The system has no random numbers.
#[derive(Debug, thiserror::Error)]
#[error("no random numbers: {cause}")]
pub struct RandomError {
    /// What it said.
    pub cause: String,
}

/// A new secret: shown once, and then only its hash is kept.
#[derive(Clone)]
pub struct NewSecret {
    /// The secret itself.
    pub text: String,
    /// What the store keeps of it.
    pub hash: SecretHash,
}

impl std::fmt::Debug for NewSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NewSecret(hidden)")
    }
}

/// Refuses passwords that are too short, too long, or among the commonest.
pub fn check_password(password: &str) -> Result<(), WeakPassword> {
    if password.chars().count() < PASSWORD_LEAST {
        return Err(WeakPassword::Short);
    }
    if password.len() > PASSWORD_MOST {
        return Err(WeakPassword::Long);
    }
    if COMMON.contains(&password.to_lowercase().as_str()) {
        return Err(WeakPassword::Common);
    }
    Ok(())
}

/// The Argon2id hash of one password. Whoever hashes for many at once has a [`Hasher`].
pub async fn hash_password(password: String) -> Result<PasswordHash, HashError> {
    alone()?.hash(password).await
}

/// Whether the password is the one of this hash. Without a hash it is not, after the same time. Whoever looks at
/// passwords of many at once has a [`Hasher`].
pub async fn verify_password(
    password: String,
    hash: Option<PasswordHash>,
) -> Result<bool, HashError> {
    alone()?.verify(password, hash).await
}

fn alone() -> Result<Place, HashError> {
    Hasher::new(1, 0).enter().map_err(|error| HashError {
        cause: error.to_string(),
    })
}

/// A new bearer token: `rlt_`, 256 random bits, and a checksum, by which a mistyped one is told from a wrong one.
pub fn new_token() -> Result<NewSecret, RandomError> {
    let body = format!("{TOKEN_PREFIX}{}", random_text()?);
    let text = format!("{body}{}", checksum(&body));
    Ok(NewSecret {
        hash: secret_hash(&text),
        text,
    })
}

/// A new secret for a session, or to be shown once: 256 random bits.
pub fn new_secret() -> Result<NewSecret, RandomError> {
    let text = random_text()?;
    Ok(NewSecret {
        hash: secret_hash(&text),
        text,
    })
}

/// What the store keeps of a token, if this has the form of one.
#[must_use]
pub fn token_hash(text: &str) -> Option<SecretHash> {
    let whole = TOKEN_PREFIX.len() + SECRET_CHARACTERS + CHECKSUM_CHARACTERS;
    if text.len() != whole || !text.is_ascii() || !text.starts_with(TOKEN_PREFIX) {
        return None;
    }
    let (body, check) = text.split_at(whole - CHECKSUM_CHARACTERS);
    (checksum(body) == check).then(|| secret_hash(text))
}

/// What the store keeps of a secret.
#[must_use]
pub fn secret_hash(text: &str) -> SecretHash {
    SecretHash(Sha256::digest(text.as_bytes()).into())
}

fn random_text() -> Result<String, RandomError> {
    let mut bytes = [0_u8; 32];
    getrandom::fill(&mut bytes).map_err(|error| RandomError {
        cause: error.to_string(),
    })?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

fn checksum(body: &str) -> String {
    URL_SAFE_NO_PAD.encode(&Sha256::digest(body.as_bytes())[..3])
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn passwords_that_are_taken() {
        for (password, answer) in [
            ("1234567", Err(WeakPassword::Short)),
            ("Password1", Err(WeakPassword::Common)),
            ("correct horse", Ok(())),
            ("пароль-и-точка", Ok(())),
            ("ääääääää", Ok(())),
        ] {
            assert_eq!(check_password(password), answer, "{password}");
        }
        assert_eq!(check_password(&"x".repeat(1024)), Ok(()));
        assert_eq!(check_password(&"x".repeat(1025)), Err(WeakPassword::Long));
        assert!(
            COMMON
                .iter()
                .all(|word| word.len() >= PASSWORD_LEAST && word.to_lowercase() == **word)
        );
    }

    #[tokio::test]
    async fn a_hash_is_argon2id_and_only_its_password_fits() {
        let hash = hash_password("correct horse".into()).await.unwrap();
        assert!(
            hash.0.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"),
            "{}",
            hash.0
        );
        assert!(
            verify_password("correct horse".into(), Some(hash.clone()))
                .await
                .unwrap()
        );
        assert!(
            !verify_password("correct horsf".into(), Some(hash.clone()))
                .await
                .unwrap()
        );
        let again = hash_password("correct horse".into()).await.unwrap();
        assert_ne!(hash, again, "a salt of its own");
        // Long passwords are not cut.
        let long = "x".repeat(1024);
        let hash = hash_password(long.clone()).await.unwrap();
        assert!(
            !verify_password(format!("{}y", &long[..1023]), Some(hash))
                .await
                .unwrap()
        );
        // Nobody's hash is looked at in full, and fits nothing.
        assert!(!verify_password(String::new(), None).await.unwrap());
    }

    #[test]
    fn a_token_is_known_by_its_form() {
        let token = new_token().unwrap();
        assert_eq!(token.text.len(), 51);
        assert_eq!(token_hash(&token.text), Some(token.hash));
        let mut typo = token.text.clone().into_bytes();
        typo[20] = if typo[20] == b'A' { b'B' } else { b'A' };
        assert_eq!(token_hash(&String::from_utf8(typo).unwrap()), None);
        for other in [
            "",
            "rlt_",
            &token.text[1..],
            &format!("{}x", token.text),
            &"ä".repeat(25),
        ] {
            assert_eq!(token_hash(other), None, "{other}");
        }
        assert_ne!(new_token().unwrap().text, token.text);
    }
}
