//! Where passwords are hashed: few at once, each in a buffer that is used again, and not too many waiting.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use argon2::password_hash::{PasswordVerifier, phc};
use argon2::{Algorithm, Argon2, Block, Params, Version};
use fleet_store::PasswordHash;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::HashError;

/// Hashed at once: each takes 19 MiB and a processor.
const AT_ONCE: usize = 2;
/// Waiting for that at most. With a twentieth of a second each, the last one waits for two seconds.
const WAITING: usize = 64;
/// Argon2id with the costs of our own hashes, of no password. Checked for unknown people, so that they take as long.
const NOBODY: &str = "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// What one hash is worked out in. Given back to the allocator it would stay in one arena of many, so it is kept.
type Buffer = Vec<Block>;

/// Hashes passwords for a whole process. A cheap handle: clones share everything.
#[derive(Clone, Debug)]
pub struct Hasher {
    inner: Arc<Inner>,
}

struct Inner {
    places: Arc<Semaphore>,
    turns: Arc<Semaphore>,
    buffers: Mutex<Vec<Buffer>>,
}

/// A place in the queue, for one password.
#[derive(Debug)]
pub struct Place {
    inner: Arc<Inner>,
    _permit: OwnedSemaphorePermit,
}

/// More passwords are waiting to be hashed than is good for anybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many passwords are waiting to be looked at; try again in a moment")]
pub struct QueueFull;

impl Default for Hasher {
    fn default() -> Self {
        Self::new(AT_ONCE, WAITING)
    }
}

impl Hasher {
    /// Hashes so many at once, while so many wait.
    #[must_use]
    pub fn new(at_once: usize, waiting: usize) -> Self {
        let places = at_once.saturating_add(waiting).min(Semaphore::MAX_PERMITS);
        let inner = Inner {
            places: Arc::new(Semaphore::new(places)),
            turns: Arc::new(Semaphore::new(at_once.min(Semaphore::MAX_PERMITS))),
            buffers: Mutex::default(),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// Takes a place in the queue, if there is one. Who goes away while waiting leaves it to others.
    pub fn enter(&self) -> Result<Place, QueueFull> {
        let permit = Arc::clone(&self.inner.places)
            .try_acquire_owned()
            .map_err(|_| QueueFull)?;
        Ok(Place {
            inner: Arc::clone(&self.inner),
            _permit: permit,
        })
    }
}

impl Place {
    /// The Argon2id hash of a password, on a blocking thread.
    pub async fn hash(self, password: String) -> Result<PasswordHash, HashError> {
        self.run(move |buffer| hash(password.as_bytes(), buffer))
            .await?
    }

    /// Whether the password is the one of this hash, on a blocking thread. Without a hash it is not, after the same time.
    pub async fn verify(
        self,
        password: String,
        hash: Option<PasswordHash>,
    ) -> Result<bool, HashError> {
        let known = hash.is_some();
        let text = hash.map_or_else(|| NOBODY.to_owned(), |hash| hash.0);
        let same = self
            .run(move |buffer| {
                let parsed = phc::PasswordHash::new(&text).map_err(failed)?;
                fits(password.as_bytes(), &parsed, buffer)
            })
            .await??;
        Ok(known && same)
    }

    /// Waits for a turn, then works. Work that has begun goes on when nobody waits for it any more, and so it is the work
    /// that holds the turn.
    async fn run<T: Send + 'static>(
        self,
        work: impl FnOnce(&mut Buffer) -> T + Send + 'static,
    ) -> Result<T, HashError> {
        let turns = Arc::clone(&self.inner.turns);
        let turn = turns.acquire_owned().await.map_err(failed)?;
        let task = move || {
            // All of the place goes along, and not only what is named below.
            let (place, _turn) = (self, turn);
            let mut buffer = place.inner.buffer()?;
            let done = work(&mut buffer);
            place.inner.keep(buffer);
            Ok(done)
        };
        tokio::task::spawn_blocking(task).await.map_err(failed)?
    }
}

impl Inner {
    /// A buffer that was used before, else a new one.
    fn buffer(&self) -> Result<Buffer, HashError> {
        let kept = self
            .buffers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop();
        if let Some(buffer) = kept {
            return Ok(buffer);
        }
        let blocks = Params::DEFAULT.block_count();
        let mut buffer = Buffer::new();
        buffer.try_reserve_exact(blocks).map_err(failed)?;
        buffer.resize(blocks, Block::new());
        Ok(buffer)
    }

    fn keep(&self, buffer: Buffer) {
        self.buffers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(buffer);
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hasher")
            .field("places", &self.places.available_permits())
            .field("turns", &self.turns.available_permits())
            .finish_non_exhaustive()
    }
}

fn failed(error: impl fmt::Display) -> HashError {
    HashError {
        cause: error.to_string(),
    }
}

/// 19 MiB, two passes, one lane.
fn hash(password: &[u8], buffer: &mut Buffer) -> Result<PasswordHash, HashError> {
    let mut salt = [0_u8; phc::Salt::RECOMMENDED_LENGTH];
    getrandom::fill(&mut salt).map_err(failed)?;
    let mut out = [0_u8; Params::DEFAULT_OUTPUT_LEN];
    Argon2::default()
        .hash_password_into_with_memory(password, &salt, &mut out, buffer)
        .map_err(failed)?;
    let hash = phc::PasswordHash {
        algorithm: Algorithm::default().ident(),
        version: Some(Version::default().into()),
        params: (&Params::DEFAULT).try_into().map_err(failed)?,
        salt: Some(phc::Salt::new(&salt).map_err(failed)?),
        hash: Some(phc::Output::new(&out).map_err(failed)?),
    };
    Ok(PasswordHash(hash.to_string()))
}

/// Whether this is the password.
fn fits(password: &[u8], hash: &phc::PasswordHash, buffer: &mut Buffer) -> Result<bool, HashError> {
    let params = Params::try_from(hash).map_err(failed)?;
    // Of no hash that we made: its costs are others'.
    if params.block_count() > buffer.len() {
        return Ok(Argon2::default().verify_password(password, hash).is_ok());
    }
    let (Some(salt), Some(output)) = (&hash.salt, &hash.hash) else {
        return Ok(false);
    };
    let algorithm = Algorithm::try_from(hash.algorithm.as_str()).map_err(failed)?;
    let version = hash
        .version
        .map_or(Ok(Version::default()), Version::try_from);
    let argon2 = Argon2::new(algorithm, version.map_err(failed)?, params);
    let mut out = [0_u8; phc::Output::MAX_LENGTH];
    let Some(out) = out.get_mut(..output.len()) else {
        return Ok(false);
    };
    argon2
        .hash_password_into_with_memory(password, salt, out, buffer)
        .map_err(failed)?;
    // Compared in constant time.
    Ok(phc::Output::new(out).is_ok_and(|same| same == *output))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::sync::mpsc;

    use super::*;

    const PASSWORD: &str = "correct horse";

    /// Begins work that lasts until something is sent, and waits for its begin.
    async fn begin(
        place: Place,
    ) -> (
        tokio::task::JoinHandle<Result<(), HashError>>,
        mpsc::Sender<()>,
    ) {
        let (end, ends) = mpsc::channel::<()>();
        let (begin, begins) = tokio::sync::oneshot::channel();
        let work = place.run(move |_| {
            let _ = begin.send(());
            let _ = ends.recv();
        });
        let asked = tokio::spawn(work);
        begins.await.unwrap();
        (asked, end)
    }

    #[tokio::test]
    async fn work_keeps_its_turn_when_nobody_waits_for_it_any_more() {
        let hasher = Hasher::new(1, 1);
        let (asked, end) = begin(hasher.enter().unwrap()).await;
        asked.abort();
        assert!(asked.await.unwrap_err().is_cancelled());
        assert_eq!(hasher.inner.turns.available_permits(), 0);
        let next = tokio::spawn(hasher.enter().unwrap().hash(PASSWORD.into()));
        assert_eq!(
            hasher.enter().unwrap_err(),
            QueueFull,
            "one works, one waits"
        );
        end.send(()).unwrap();
        next.await.unwrap().unwrap();
        assert_eq!(hasher.inner.turns.available_permits(), 1);
    }

    #[tokio::test]
    async fn who_goes_away_while_waiting_leaves_the_place() {
        let hasher = Hasher::new(1, 1);
        let (asked, end) = begin(hasher.enter().unwrap()).await;
        let waiting = tokio::spawn(hasher.enter().unwrap().hash(PASSWORD.into()));
        tokio::task::yield_now().await;
        assert_eq!(hasher.enter().unwrap_err(), QueueFull);
        waiting.abort();
        assert!(waiting.await.unwrap_err().is_cancelled());
        assert!(hasher.enter().is_ok());
        end.send(()).unwrap();
        asked.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn work_that_panics_takes_no_turn_with_it() {
        let hasher = Hasher::new(1, 0);
        let place = hasher.enter().unwrap();
        assert!(place.run(|_| panic!("as asked")).await.is_err());
        assert!(hasher.enter().unwrap().hash(PASSWORD.into()).await.is_ok());
    }

    #[tokio::test]
    async fn the_buffers_are_as_many_as_hashes_at_once() {
        let hasher = Hasher::default();
        let mut all = tokio::task::JoinSet::new();
        for _ in 0..8 {
            all.spawn(hasher.enter().unwrap().hash(PASSWORD.into()));
        }
        assert_eq!(
            all.join_all()
                .await
                .iter()
                .filter(|done| done.is_ok())
                .count(),
            8
        );
        let kept = hasher.inner.buffers.lock().unwrap().len();
        assert!((1..=AT_ONCE).contains(&kept), "{kept}");
    }

    #[tokio::test]
    async fn hashes_with_other_costs_fit_as_well() {
        let hasher = Hasher::new(1, 0);
        for (memory, version) in [
            (64, Version::V0x13),
            (64, Version::V0x10),
            (20_000, Version::V0x13),
        ] {
            let params = Params::new(memory, 1, 2, Some(24)).unwrap();
            let mut buffer = vec![Block::new(); params.block_count()];
            let (salt, mut out) = ([7; 16], [0; 24]);
            let argon2 = Argon2::new(Algorithm::Argon2i, version, params.clone());
            argon2
                .hash_password_into_with_memory(PASSWORD.as_bytes(), &salt, &mut out, &mut buffer)
                .unwrap();
            let hash = phc::PasswordHash {
                algorithm: Algorithm::Argon2i.ident(),
                version: Some(version.into()),
                params: (&params).try_into().unwrap(),
                salt: Some(phc::Salt::new(&salt).unwrap()),
                hash: Some(phc::Output::new(&out).unwrap()),
            };
            for (password, fits) in [(PASSWORD, true), ("correct horsf", false)] {
                let hash = Some(PasswordHash(hash.to_string()));
                let verified = hasher.enter().unwrap().verify(password.into(), hash).await;
                assert_eq!(verified.unwrap(), fits, "{memory} {password}");
            }
        }
    }
}
