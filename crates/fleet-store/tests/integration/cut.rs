//! The connection to PostgreSQL is cut at the worst moments.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use fleet_store::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::fleet::*;
use crate::place::{Place, assert_consistent};

/// What happens to the connection when the word is seen on its way to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cut {
    /// The server does not get it.
    Before,
    /// The server gets it; its answer is lost.
    After,
}

/// Stands between store and server.
struct Proxy {
    port: u16,
    armed: Arc<AtomicUsize>,
}

const CUTS: [(&[u8], Cut); 4] = [
    (b"; COMMIT", Cut::After),
    (b"; COMMIT", Cut::Before),
    (b"BEGIN ISOLATION LEVEL READ COMMITTED", Cut::Before),
    (b"BEGIN ISOLATION LEVEL READ COMMITTED", Cut::After),
];
const NONE: usize = CUTS.len();

impl Proxy {
    async fn new(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let armed = Arc::new(AtomicUsize::new(NONE));
        let shared = Arc::clone(&armed);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(("127.0.0.1", server)).await.unwrap();
                tokio::spawn(carry(client, server, Arc::clone(&shared)));
            }
        });
        Self { port, armed }
    }
}

async fn carry(client: TcpStream, server: TcpStream, armed: Arc<AtomicUsize>) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let answers = tokio::spawn(async move {
        let _ = tokio::io::copy(&mut from_server, &mut to_client).await;
    });
    let mut bytes = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = from_client.read(&mut bytes).await {
        let sent = &bytes[..length];
        let cut = CUTS
            .get(armed.load(Ordering::SeqCst))
            .filter(|(word, _)| sent.windows(word.len()).any(|window| window == *word));
        match cut {
            None => to_server.write_all(sent).await.unwrap(),
            Some((_, cut)) => {
                armed.store(NONE, Ordering::SeqCst);
                // The answer must not come through, whether the server gives one or not.
                answers.abort();
                let _ = answers.await;
                if *cut == Cut::After {
                    to_server.write_all(sent).await.unwrap();
                }
                return;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_commit_is_unknown_and_anything_before_it_is_done_again() {
    let Some(place) = Place::postgres().await else {
        return;
    };
    let direct = place.store().await;
    let server: u16 = place
        .url()
        .split([':', '/'])
        .find_map(|part| part.parse().ok())
        .unwrap();
    let proxy = Proxy::new(server).await;
    let url = place
        .url()
        .replace(&server.to_string(), &proxy.port.to_string());
    let store = DieselStore::open(&url, StoreOptions::default()).await;
    let store = store.unwrap();
    for (number, (word, cut)) in CUTS.iter().enumerate() {
        let case = format!("{cut:?} {}", String::from_utf8_lossy(word));
        let name = format!("cut{number}");
        proxy.armed.store(number, Ordering::SeqCst);
        let result = store.host_add(vec![host(&name)], &actor()).await;
        assert_eq!(proxy.armed.load(Ordering::SeqCst), NONE, "{case}: cut");
        let commit = word.ends_with(b"; COMMIT");
        match (commit, &result) {
            (true, Err(HostError::Store(StoreError::Unavailable { .. }))) | (false, Ok(_)) => {}
            (_, result) => panic!("{case}: {result:?}"),
        }
        // The next call finds a connection again.
        store.host_list().await.unwrap();
        let after = format!("after{number}");
        store.host_add(vec![host(&after)], &actor()).await.unwrap();
        let applied = !commit || *cut == Cut::After;
        let found = direct.host_get(&name.parse().unwrap()).await.unwrap();
        assert_eq!(found.is_some(), applied, "{case}");
        assert_consistent(&direct).await;
    }
}
