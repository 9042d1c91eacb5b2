//! The first admin, and what ends with a person.

use std::sync::Arc;
use std::time::Duration;

use fleet_store::*;
use fleet_types::{LoginName, Role, Timestamp, TokenId};
use uuid::Uuid;

use crate::fleet::*;
use crate::place::Place;

pub(crate) fn login(text: &str) -> LoginName {
    text.parse().unwrap()
}

pub(crate) fn user(name: &str, role: Role) -> NewUser {
    NewUser {
        name: login(name),
        role,
        password: Some(PasswordHash(format!("$argon2id$of {name}"))),
    }
}

fn without_password(name: &str, role: Role) -> NewUser {
    NewUser {
        password: None,
        ..user(name, role)
    }
}

pub(crate) fn secret(number: u8) -> SecretHash {
    SecretHash([number; 32])
}

pub(crate) async fn add(store: &DieselStore, name: &str, role: Role) {
    store.user_add(user(name, role), &actor()).await.unwrap();
}

pub(crate) fn new_session(name: &str, number: u8) -> NewSession {
    NewSession {
        checked: None,
        id: SessionId(Uuid::now_v7()),
        secret: secret(number),
        user: login(name),
        source: "192.0.2.1".to_owned(),
    }
}

async fn open(store: &DieselStore, name: &str, number: u8) -> Result<SessionId, AccessError> {
    let session = new_session(name, number);
    let id = session.id;
    store.session_open(session, &actor()).await.map(|()| id)
}

async fn is_open(store: &DieselStore, number: u8) -> bool {
    let times = SessionTimes::default();
    let found = store.session_find(&secret(number), times).await.unwrap();
    found.is_some()
}

pub(crate) async fn a_hundred_sessions_and_no_more(place: &Place) {
    let store = place.store().await;
    add(&store, "anna", Role::Owner).await;
    add(&store, "otto", Role::Owner).await;
    open(&store, "otto", 200).await.unwrap();
    for number in 0..103 {
        open(&store, "anna", number).await.unwrap();
        place.clock.advance(Duration::from_millis(1));
    }
    for (number, stands) in [(0, false), (2, false), (3, true), (102, true), (200, true)] {
        assert_eq!(is_open(&store, number).await, stands, "{number}");
    }
    // Whose clock stands earlier comes in all the same.
    place
        .clock
        .set_wall(Timestamp(place.clock.now().0 - 60_000));
    open(&store, "anna", 104).await.unwrap();
    assert!(is_open(&store, 104).await);
    assert!(!is_open(&store, 3).await);
    let ended = AuditQuery {
        limit: 10,
        ..AuditQuery::default()
    };
    let rows = store.audit_list(ended).await.unwrap();
    let row = rows.iter().find(|row| row.action == "session.end").unwrap();
    assert_eq!(row.subject.as_deref(), Some("anna"));
    let detail = row.detail.as_deref().unwrap();
    assert!(detail.ends_with("more than 100 were open"), "{detail}");
}

pub(crate) async fn a_surplus_from_before_goes_bit_by_bit(place: &Place) {
    let store = place.store().await;
    add(&store, "anna", Role::Owner).await;
    open(&store, "anna", 1).await.unwrap();
    let base = place.clock.now().0 - 1000;
    let sql = format!(
        "INSERT INTO sessions (id, secret, user_name, source, created_at, last_used_at)
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 150)
         SELECT 'x' || i, 'x' || i, 'anna', 's', {base} + i, {base} + i FROM n"
    );
    place.execute(&sql).await.unwrap();
    open(&store, "anna", 2).await.unwrap();
    place.assert_rows("sessions", 142).await;
    open(&store, "anna", 3).await.unwrap();
    place.assert_rows("sessions", 133).await;
    let left = "DELETE FROM sessions WHERE id IN ('x20', 'x21')";
    place.execute(left).await.unwrap();
    // The twentieth went with the first ones.
    place.assert_rows("sessions", 132).await;
    for number in [1, 2, 3] {
        assert!(is_open(&store, number).await, "{number}");
    }
}

pub(crate) fn new_token(name: &str, number: u8) -> NewToken {
    NewToken {
        id: TokenId(Uuid::now_v7()),
        name: login(name),
        role: Role::Admin,
        secret: secret(number),
        expires_at: None,
    }
}

async fn add_token(store: &DieselStore, name: &str, number: u8, by: &str) {
    let new = new_token(name, number);
    store.token_create(new, &Actor::local(by)).await.unwrap();
}

async fn works(store: &DieselStore, number: u8) -> bool {
    store.token_find(&secret(number)).await.unwrap().is_some()
}

pub(crate) async fn locked_out_at_once_everywhere(place: &Place) {
    let stores = [place.store().await, place.store().await];
    let [here, there] = &stores;
    add(here, "anna", Role::Admin).await;
    add(here, "bob", Role::Admin).await;
    open(here, "bob", 1).await.unwrap();
    open(here, "anna", 2).await.unwrap();
    add_token(here, "of-bob", 3, "bob").await;
    add_token(here, "of-anna", 4, "anna").await;
    // Made with the token that bob made, and with one made with that: they end with bob too.
    add_token(here, "second", 5, "of-bob").await;
    add_token(here, "third", 6, "second").await;
    assert!(is_open(there, 1).await && is_open(there, 2).await);
    for number in 3..=6 {
        assert!(works(there, number).await, "token {number}");
    }

    let bob = login("bob");
    here.user_disable(&bob, true, &actor()).await.unwrap();
    for store in &stores {
        assert!(!is_open(store, 1).await && is_open(store, 2).await);
        for (number, expected) in [(3, false), (4, true), (5, false), (6, false)] {
            assert_eq!(works(store, number).await, expected, "token {number}");
        }
        let opened = open(store, "bob", 7).await;
        assert!(matches!(opened, Err(AccessError::Unknown { .. })));
    }
    there.user_disable(&bob, false, &actor()).await.unwrap();
    assert!(!is_open(here, 1).await, "it was ended");
    assert!(works(here, 3).await && works(here, 6).await);
    open(there, "bob", 8).await.unwrap();
    assert!(is_open(here, 8).await);
}

pub(crate) async fn setup_needs_a_password(place: &Place) {
    let store = place.store().await;
    let until = Timestamp(place.clock.now().0 + 60_000);
    // An admin who cannot sign in is none.
    let root = without_password("root", Role::Admin);
    store.user_add(root, &actor()).await.unwrap();
    assert!(store.setup_offer(secret(1), until).await.unwrap());
    let claim = async |new| store.setup_claim(&secret(1), new, &actor()).await;
    let refused = claim(without_password("anna", Role::Admin)).await;
    assert!(
        matches!(refused, Err(AccessError::Invalid(_))),
        "{refused:?}"
    );
    let taken = claim(user("root", Role::Admin)).await;
    assert!(
        matches!(taken, Err(AccessError::Duplicate { .. })),
        "{taken:?}"
    );
    // Neither used the offer up.
    claim(user("anna", Role::Admin)).await.unwrap();
    assert!(!store.setup_offer(secret(2), until).await.unwrap());
}

pub(crate) async fn setup_is_over_once_there_is_an_admin(place: &Place) {
    let store = place.store().await;
    let until = Timestamp(place.clock.now().0 + 60_000);
    assert!(store.setup_offer(secret(1), until).await.unwrap());
    add(&store, "vera", Role::Viewer).await;
    assert!(store.setup_offer(secret(1), until).await.unwrap());
    add(&store, "anna", Role::Admin).await;
    let eve = user("eve", Role::Admin);
    let claimed = store.setup_claim(&secret(1), eve, &actor()).await;
    assert!(
        matches!(claimed, Err(AccessError::SetupOver)),
        "{claimed:?}"
    );
    assert_eq!(store.user_get(&login("eve")).await.unwrap(), None);
}

pub(crate) async fn one_of_many_takes_the_setup(place: &Place) {
    let stores = [Arc::new(place.store().await), Arc::new(place.store().await)];
    let until = Timestamp(place.clock.now().0 + 60_000);
    assert!(stores[0].setup_offer(secret(1), until).await.unwrap());
    let tasks: Vec<_> = (0..20)
        .map(|n| {
            let store = Arc::clone(&stores[n % 2]);
            let new = user(&format!("u{n}"), Role::Admin);
            tokio::spawn(async move { store.setup_claim(&secret(1), new, &actor()).await })
        })
        .collect();
    let mut won = Vec::new();
    for task in tasks {
        match task.await.unwrap() {
            Ok(admin) => won.push(admin),
            Err(AccessError::SetupOver) => {}
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(won.len(), 1);
    assert_eq!(stores[0].user_list().await.unwrap(), won);
    // The losers left no row either.
    let all = AuditQuery {
        limit: 100,
        ..AuditQuery::default()
    };
    assert_eq!(stores[1].audit_list(all).await.unwrap().len(), 1);
}

pub(crate) async fn one_of_many_tokens_gets_the_name(place: &Place) {
    let stores = [Arc::new(place.store().await), Arc::new(place.store().await)];
    for round in 0..5 {
        let tasks: Vec<_> = (0..10_u8)
            .map(|n| {
                let store = Arc::clone(&stores[usize::from(n % 2)]);
                let new = new_token(&format!("ci{round}"), round * 10 + n);
                tokio::spawn(async move { store.token_create(new, &actor()).await })
            })
            .collect();
        let mut made = 0;
        for task in tasks {
            match task.await.unwrap() {
                Ok(_) => made += 1,
                Err(AccessError::Duplicate { what: "token", .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
        assert_eq!(made, 1, "round {round}");
    }
    assert_eq!(stores[0].token_list().await.unwrap().len(), 5);
}

pub(crate) async fn use_is_noted_to_the_minute(place: &Place) {
    let store = place.store().await;
    add(&store, "anna", Role::Admin).await;
    open(&store, "anna", 1).await.unwrap();
    add_token(&store, "ci", 2, "anna").await;
    let noted = async || {
        assert!(is_open(&store, 1).await && works(&store, 2).await);
        let times = SessionTimes::default();
        let anna = login("anna");
        let sessions = store.session_list(&anna, times).await.unwrap();
        let tokens = store.token_list().await.unwrap();
        [Some(sessions[0].last_used_at), tokens[0].last_used_at]
    };
    let began = Some(place.clock.now());
    assert_eq!(noted().await, [began; 2]);
    place.clock.advance(Duration::from_secs(59));
    assert_eq!(noted().await, [began; 2]);
    place.clock.advance(Duration::from_secs(2));
    assert_eq!(noted().await, [Some(place.clock.now()); 2]);
}

pub(crate) async fn sessions_are_those_of_one_person(place: &Place) {
    let store = place.store().await;
    add(&store, "anna", Role::Admin).await;
    add(&store, "bob", Role::Viewer).await;
    let first = open(&store, "anna", 1).await.unwrap();
    open(&store, "bob", 2).await.unwrap();
    place.clock.advance(Duration::from_secs(1));
    let second = open(&store, "anna", 3).await.unwrap();
    let times = SessionTimes::default();
    let list = store.session_list(&login("anna"), times).await.unwrap();
    let ids: Vec<SessionId> = list.iter().map(|session| session.id).collect();
    assert_eq!(ids, [second, first], "the latest first");
    let no = open(&store, "nobody", 4).await;
    assert!(matches!(no, Err(AccessError::Unknown { what: "user", .. })));
}

pub(crate) async fn old_sessions_are_forgotten(place: &Place) {
    let store = place.store().await;
    add(&store, "anna", Role::Admin).await;
    for number in 1..=3 {
        open(&store, "anna", number).await.unwrap();
    }
    place.clock.advance(Duration::from_secs(91 * 24 * 3600));
    open(&store, "anna", 4).await.unwrap();
    place.assert_rows("sessions", 1).await;
}

pub(crate) async fn sessions_are_ended_by_whose_they_are(place: &Place) {
    let store = place.store().await;
    add(&store, "anna", Role::Admin).await;
    add(&store, "bob", Role::Viewer).await;
    let times = SessionTimes::default();
    let (anna, bob) = (login("anna"), login("bob"));
    let end = async |name: &LoginName, which| {
        let ended = store.session_end_of(name, which, times, &actor()).await;
        match ended {
            Ok(count) => Some(count),
            Err(AccessError::Unknown { .. }) => None,
            Err(error) => panic!("{error}"),
        }
    };
    let first = open(&store, "anna", 1).await.unwrap();
    let second = open(&store, "anna", 2).await.unwrap();
    let of_bob = open(&store, "bob", 3).await.unwrap();
    // Somebody else's, one that never was, and anybody's of nobody.
    for (name, id) in [
        (&anna, of_bob),
        (&anna, SessionId(Uuid::now_v7())),
        (&login("no"), first),
    ] {
        for which in [WhichSessions::One(id), WhichSessions::AllBut(id)] {
            assert_eq!(end(name, which).await, None);
        }
    }
    assert_eq!(end(&login("no"), WhichSessions::All).await, None);
    for number in 1..=3 {
        assert!(is_open(&store, number).await, "{number}");
    }

    assert_eq!(end(&anna, WhichSessions::One(first)).await, Some(1));
    assert!(!is_open(&store, 1).await && is_open(&store, 2).await);
    assert_eq!(end(&anna, WhichSessions::One(first)).await, None);
    for number in 4..=5 {
        open(&store, "anna", number).await.unwrap();
    }
    assert_eq!(end(&anna, WhichSessions::AllBut(second)).await, Some(2));
    assert!(is_open(&store, 2).await && is_open(&store, 3).await);
    assert!(!is_open(&store, 4).await && !is_open(&store, 5).await);
    assert_eq!(end(&bob, WhichSessions::All).await, Some(1));
    assert_eq!(end(&bob, WhichSessions::All).await, Some(0));
    assert!(!is_open(&store, 3).await);
}

pub(crate) async fn what_is_over_by_itself_goes_with_the_others(place: &Place) {
    let store = place.store().await;
    let (anna, times) = (login("anna"), SessionTimes::default());
    add(&store, "anna", Role::Admin).await;
    add(&store, "bob", Role::Viewer).await;
    let old = open(&store, "anna", 1).await.unwrap();
    open(&store, "bob", 2).await.unwrap();
    place.clock.advance(Duration::from_secs(31 * 60));
    let new = open(&store, "anna", 3).await.unwrap();
    let end = async |which| store.session_end_of(&anna, which, times, &actor()).await;
    assert!(end(WhichSessions::One(old)).await.is_err());
    place.assert_rows("sessions", 3).await;
    assert_eq!(end(WhichSessions::AllBut(new)).await.unwrap(), 0);
    place.assert_rows("sessions", 2).await;
    assert_eq!(end(WhichSessions::All).await.unwrap(), 1);
    // Bob's is over too, and nobody's concern here.
    place.assert_rows("sessions", 1).await;
}

pub(crate) async fn of_many_who_end_all_others_one_stays(place: &Place) {
    let stores = [Arc::new(place.store().await), Arc::new(place.store().await)];
    add(&stores[0], "anna", Role::Admin).await;
    let mut ids = Vec::new();
    for number in 0..10 {
        ids.push(open(&stores[0], "anna", number).await.unwrap());
    }
    let tasks: Vec<_> = ids
        .iter()
        .enumerate()
        .map(|(n, id)| {
            let (store, which) = (Arc::clone(&stores[n % 2]), WhichSessions::AllBut(*id));
            tokio::spawn(async move {
                let times = SessionTimes::default();
                let anna = login("anna");
                store.session_end_of(&anna, which, times, &actor()).await
            })
        })
        .collect();
    let mut ended = Vec::new();
    for task in tasks {
        match task.await.unwrap() {
            Ok(count) => ended.push(count),
            Err(AccessError::Unknown {
                what: "session", ..
            }) => {}
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(ended, [9]);
    let times = SessionTimes::default();
    let left = stores[1].session_list(&login("anna"), times).await.unwrap();
    assert_eq!(left.len(), 1);
    let query = AuditQuery {
        action: Some("session.end".to_owned()),
        limit: 100,
        ..AuditQuery::default()
    };
    let rows = stores[1].audit_list(query).await.unwrap();
    assert_eq!(rows.len(), 9);
}
