//! What hashing passwords costs a process that goes on.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "tests")]

use access_secrets::Hasher;

const MIB: usize = 1024 * 1024;

/// Memory of this process that is in use, in bytes.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    let kib: usize = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib * 1024
}

/// Each blocking thread may get an arena of its own from the allocator, and what was freed in it stays with the process.
#[tokio::test]
async fn memory_stays_when_many_threads_have_hashed() {
    let hasher = Hasher::default();
    let before = resident();
    // So many threads wait, that each of the next hashes is done by another.
    for _ in 0..3 {
        let mut all = tokio::task::JoinSet::new();
        for _ in 0..32 {
            let place = hasher.enter().unwrap();
            all.spawn(async move {
                let idle = tokio::task::spawn_blocking(std::thread::yield_now);
                idle.await.unwrap();
                place.hash("correct horse".to_owned()).await
            });
        }
        assert!(all.join_all().await.iter().all(Result::is_ok));
    }
    let grown = resident().saturating_sub(before);
    assert!(grown < 80 * MIB, "{} MiB more than before", grown / MIB);
}
