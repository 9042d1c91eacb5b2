//! People, sessions, tokens, the audit trail, and requests that are made twice.

use std::time::Duration;

use fleet_store::*;
use fleet_types::{AuditResult, LoginName, Role, TokenId};
use uuid::Uuid;

use crate::fleet::*;
use crate::place::Place;

fn name(text: &str) -> LoginName {
    text.parse().unwrap()
}

fn user(text: &str, role: Role) -> NewUser {
    NewUser {
        name: name(text),
        role,
        password: Some(PasswordHash("$argon2id$one".to_owned())),
    }
}

fn secret(byte: u8) -> SecretHash {
    SecretHash([byte; 32])
}

async fn open(store: &DieselStore, who: &str, byte: u8) -> SessionId {
    let id = SessionId(Uuid::now_v7());
    let session = NewSession {
        checked: None,
        id,
        secret: secret(byte),
        user: name(who),
        source: "10.0.0.1".to_owned(),
    };
    store.session_open(session, &actor()).await.unwrap();
    id
}

async fn is_open(store: &DieselStore, byte: u8) -> bool {
    let times = SessionTimes::default();
    let found = store.session_find(&secret(byte), times).await.unwrap();
    found.is_some()
}

fn token(text: &str, byte: u8) -> NewToken {
    NewToken {
        id: TokenId(Uuid::now_v7()),
        name: name(text),
        role: Role::Operator,
        secret: secret(byte),
        expires_at: None,
    }
}

async fn works(store: &DieselStore, byte: u8) -> bool {
    store.token_find(&secret(byte)).await.unwrap().is_some()
}

async fn add(store: &DieselStore, name: &str, role: Role) {
    store.user_add(user(name, role), &actor()).await.unwrap();
}

async fn disable(store: &DieselStore, who: &str, disabled: bool) {
    store
        .user_disable(&name(who), disabled, &actor())
        .await
        .unwrap();
}

async fn actions(store: &DieselStore) -> Vec<String> {
    let query = AuditQuery {
        limit: 1000,
        ..AuditQuery::default()
    };
    let mut rows = store.audit_list(query).await.unwrap();
    rows.reverse();
    rows.into_iter().map(|row| row.action).collect()
}

pub(crate) async fn people(place: &Place) {
    let store = place.store().await;
    assert_eq!(store.user_list().await.unwrap(), []);
    add(&store, "bob", Role::Viewer).await;
    add(&store, "ann", Role::Admin).await;
    let again = store.user_add(user("bob", Role::Admin), &actor()).await;
    assert_eq!(
        again.unwrap_err().to_string(),
        "there is a user bob already"
    );
    let names: Vec<_> = store
        .user_list()
        .await
        .unwrap()
        .into_iter()
        .map(|user| user.name)
        .collect();
    assert_eq!(names, [name("ann"), name("bob")]);
    assert_eq!(store.user_get(&name("carl")).await.unwrap(), None);

    // The last admin stays, whoever else there is.
    let last = store.user_disable(&name("ann"), true, &actor()).await;
    assert!(
        matches!(last, Err(AccessError::LastAdmin { .. })),
        "{last:?}"
    );
    add(&store, "eve", Role::Admin).await;
    disable(&store, "ann", true).await;
    disable(&store, "ann", true).await;
    let last = store.user_disable(&name("eve"), true, &actor()).await;
    assert!(
        matches!(last, Err(AccessError::LastAdmin { .. })),
        "{last:?}"
    );
    disable(&store, "ann", false).await;
    let unknown = store.user_disable(&name("carl"), true, &actor()).await;
    assert_eq!(unknown.unwrap_err().to_string(), "there is no user carl");
    // What was refused, or changed nothing, left no row.
    assert_eq!(
        actions(&store).await,
        [
            "user.add",
            "user.add",
            "user.add",
            "user.disable",
            "user.enable"
        ]
    );
}

pub(crate) async fn sessions_end_in_every_way(place: &Place) {
    let store = place.store().await;
    add(&store, "ann", Role::Admin).await;
    add(&store, "bob", Role::Viewer).await;
    let id = open(&store, "bob", 1).await;
    let times = SessionTimes::default();
    let found = store
        .session_find(&secret(1), times)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (found.id, found.user.as_str(), found.role),
        (id, "bob", Role::Viewer)
    );
    assert!(
        store
            .user_get(&name("bob"))
            .await
            .unwrap()
            .unwrap()
            .last_sign_in_at
            .is_some()
    );
    assert!(!is_open(&store, 9).await);

    store.session_end(id, &actor()).await.unwrap();
    store.session_end(id, &actor()).await.unwrap();
    assert!(!is_open(&store, 1).await);

    open(&store, "bob", 2).await;
    open(&store, "ann", 3).await;
    let other = PasswordHash("$argon2id$two".to_owned());
    store
        .user_set_password(&name("bob"), other, &actor())
        .await
        .unwrap();
    assert!(!is_open(&store, 2).await && is_open(&store, 3).await);

    // One's own is changed over the one that was known, and over no other that was set meanwhile.
    let hash = |end: &str| PasswordHash(format!("$argon2id${end}"));
    let change = async |known: &str, new: &str| {
        store
            .user_change_password(&name("bob"), hash(known), hash(new), &actor())
            .await
            .unwrap()
    };
    open(&store, "bob", 4).await;
    assert!(!change("one", "three").await && is_open(&store, 4).await);
    assert!(change("two", "three").await && !is_open(&store, 4).await);
    assert!(change("three", "two").await);

    // A password that was right a moment ago opens nothing any more.
    let late = NewSession {
        id: SessionId(Uuid::now_v7()),
        secret: secret(8),
        user: name("bob"),
        checked: Some(PasswordHash("$argon2id$one".to_owned())),
        source: String::new(),
    };
    let now = NewSession {
        checked: Some(PasswordHash("$argon2id$two".to_owned())),
        ..late.clone()
    };
    assert!(store.session_open(late, &actor()).await.is_err());
    assert!(!is_open(&store, 8).await);
    store.session_open(now, &actor()).await.unwrap();

    open(&store, "bob", 4).await;
    disable(&store, "bob", true).await;
    assert!(!is_open(&store, 4).await);
    let locked_out = NewSession {
        checked: None,
        id: SessionId(Uuid::now_v7()),
        secret: secret(5),
        user: name("bob"),
        source: String::new(),
    };
    assert!(store.session_open(locked_out, &actor()).await.is_err());
    disable(&store, "bob", false).await;
    assert!(!is_open(&store, 4).await, "ended is ended");

    // Used again and again it stays open, but not beyond its day.
    open(&store, "bob", 6).await;
    let mut hours = 0;
    while is_open(&store, 6).await {
        hours += 1;
        for _ in 0..3 {
            place.clock.advance(Duration::from_secs(20 * 60));
            is_open(&store, 6).await;
        }
    }
    assert_eq!(hours, 12);
    open(&store, "bob", 7).await;
    assert_eq!(
        store.session_list(&name("bob"), times).await.unwrap().len(),
        1
    );
    place.clock.advance(Duration::from_secs(30 * 60));
    assert!(!is_open(&store, 7).await);
    assert_eq!(store.session_list(&name("bob"), times).await.unwrap(), []);
}

pub(crate) async fn tokens_end_in_every_way(place: &Place) {
    let store = place.store().await;
    add(&store, "ann", Role::Admin).await;
    add(&store, "anna", Role::Admin).await;
    let ci = token("ci", 1);
    store.token_create(ci.clone(), &actor()).await.unwrap();
    assert!(works(&store, 1).await && !works(&store, 2).await);
    let twice = store.token_create(token("ci", 2), &actor()).await;
    assert!(
        matches!(twice, Err(AccessError::Duplicate { .. })),
        "{twice:?}"
    );
    store.token_revoke(ci.id, &actor()).await.unwrap();
    store.token_revoke(ci.id, &actor()).await.unwrap();
    assert!(!works(&store, 1).await);
    store.token_create(token("ci", 3), &actor()).await.unwrap();
    assert!(works(&store, 3).await);

    let soon = Clock::now(&place.clock).0 + 5000;
    let short = NewToken {
        expires_at: Some(fleet_types::Timestamp(soon)),
        ..token("short", 4)
    };
    store.token_create(short, &actor()).await.unwrap();
    assert!(works(&store, 4).await);
    place.clock.advance(Duration::from_secs(5));
    assert!(!works(&store, 4).await && works(&store, 3).await);

    // Whoever made it is locked out.
    disable(&store, "anna", true).await;
    assert!(!works(&store, 3).await);
    disable(&store, "anna", false).await;
    assert!(works(&store, 3).await);
    let unknown = store.token_revoke(TokenId(Uuid::now_v7()), &actor()).await;
    assert!(matches!(unknown, Err(AccessError::Unknown { .. })));
    let listed = store.token_list().await.unwrap();
    assert_eq!(listed.len(), 3);
    assert!(listed.iter().any(|token| token.last_used_at.is_some()));
}

pub(crate) async fn the_first_admin_comes_in_once(place: &Place) {
    let store = place.store().await;
    let later = fleet_types::Timestamp(Clock::now(&place.clock).0 + 60_000);
    let claim = |byte: u8, who: &str| {
        let (store, user) = (&store, user(who, Role::Viewer));
        async move { store.setup_claim(&secret(byte), user, &actor()).await }
    };
    assert!(claim(1, "ann").await.is_err(), "nothing was offered");
    assert!(store.setup_offer(secret(1), later).await.unwrap());
    assert!(store.setup_offer(secret(2), later).await.unwrap());
    assert!(claim(1, "ann").await.is_err(), "replaced");
    assert_eq!(claim(2, "ann").await.unwrap().role, Role::Admin);
    assert!(claim(2, "bob").await.is_err(), "taken");
    assert!(!store.setup_offer(secret(3), later).await.unwrap());
}

pub(crate) async fn a_late_first_admin_is_none(place: &Place) {
    let store = place.store().await;
    let later = fleet_types::Timestamp(Clock::now(&place.clock).0 + 60_000);
    assert!(store.setup_offer(secret(1), later).await.unwrap());
    place.clock.advance(Duration::from_secs(60));
    let late = store
        .setup_claim(&secret(1), user("ann", Role::Admin), &actor())
        .await;
    assert!(matches!(late, Err(AccessError::SetupOver)), "{late:?}");
}

pub(crate) async fn one_of_many_becomes_the_first_admin(place: &Place) {
    let store = place.store().await;
    let later = fleet_types::Timestamp(Clock::now(&place.clock).0 + 60_000);
    store.setup_offer(secret(1), later).await.unwrap();
    let tries = (0..20).map(|n| {
        let (store, user) = (&store, user(&format!("u{n}"), Role::Admin));
        async move { store.setup_claim(&secret(1), user, &actor()).await.is_ok() }
    });
    let won = futures_util::future::join_all(tries).await;
    assert_eq!(won.iter().filter(|won| **won).count(), 1);
    assert_eq!(store.user_list().await.unwrap().len(), 1);
}

pub(crate) async fn two_admins_cannot_lock_each_other_out(place: &Place) {
    let store = place.store().await;
    for _ in 0..5 {
        let _ = store.user_add(user("ann", Role::Admin), &actor()).await;
        let _ = store.user_add(user("bob", Role::Admin), &actor()).await;
        let (ann, bob, by) = (name("ann"), name("bob"), actor());
        let both = futures_util::future::join(
            store.user_disable(&ann, true, &by),
            store.user_disable(&bob, true, &by),
        );
        let (one, two) = both.await;
        assert!(one.is_ok() != two.is_ok(), "{one:?} {two:?}");
        store.user_disable(&ann, false, &by).await.unwrap();
        store.user_disable(&bob, false, &by).await.unwrap();
    }
}

pub(crate) async fn guessing_gets_slower_and_locks_nobody_out(place: &Place) {
    let store = place.store().await;
    let mut counted = 0;
    for _ in 0..1000 {
        match store.sign_in_try("ann", "10.0.0.1").await {
            Ok(()) => counted += 1,
            Err(AccessError::TooManyTries { wait }) => assert!(wait <= Duration::from_secs(60)),
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(counted, 5, "without waiting");
    // From elsewhere, and to other accounts, as if nothing had been.
    store.sign_in_try("ann", "10.0.0.2").await.unwrap();
    store.sign_in_try("bob", "10.0.0.1").await.unwrap();
    // Who waits as told gets a try each time, up to a minute apart.
    let mut waits = Vec::new();
    for _ in 0..8 {
        let Err(AccessError::TooManyTries { wait }) = store.sign_in_try("ann", "10.0.0.1").await
        else {
            panic!("no wait");
        };
        waits.push(wait.as_secs());
        place.clock.advance(wait);
        store.sign_in_try("ann", "10.0.0.1").await.unwrap();
    }
    assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
    store.sign_in_done("ann", "10.0.0.1").await.unwrap();
    for _ in 0..5 {
        store.sign_in_try("ann", "10.0.0.1").await.unwrap();
    }
    place.clock.advance(Duration::from_secs(15 * 60 + 1));
    for _ in 0..5 {
        store.sign_in_try("ann", "10.0.0.1").await.unwrap();
    }
    // Many accounts from one address: the address is slowed.
    let mut free = 0;
    for n in 0..200 {
        free += i32::from(
            store
                .sign_in_try(&format!("user{n}"), "10.9.9.9")
                .await
                .is_ok(),
        );
    }
    assert_eq!(free, 50);
    // What people type is no danger.
    for odd in [
        "",
        "\0",
        "\u{1b}[2J",
        &"x".repeat(100_000),
        "'; DROP TABLE users; --",
    ] {
        store.sign_in_try(odd, "10.0.0.7").await.unwrap();
    }
}

pub(crate) async fn every_change_leaves_one_row(place: &Place) {
    let store = place.store().await;
    let who = Actor::new("anna", "198.51.100.4");
    let hosts = store
        .host_add(vec![host("a"), host("b")], &who)
        .await
        .unwrap();
    let dup = store.host_add(vec![host("c"), host("a")], &who).await;
    assert!(dup.is_err());
    store
        .host_pin(&hosts[0].name, vec!["ssh-ed25519 AAAA".to_owned()], &who)
        .await
        .unwrap();
    store
        .host_edit(&hosts[0].name, host("a"), &who)
        .await
        .unwrap();
    store
        .host_clear_attention(&hosts[0].name, &who)
        .await
        .unwrap();
    let mut plan = one_stage(&hosts);
    plan.actor = who.clone();
    let (id, _) = start(&store, plan).await;
    for verb in [
        fleet_types::Verb::Pause,
        fleet_types::Verb::Pause,
        fleet_types::Verb::Abort,
    ] {
        store.rollout_verb(id, verb, &who).await.unwrap();
    }
    store.rollout_advance(id).await.unwrap();
    assert!(
        store
            .rollout_verb(id, fleet_types::Verb::Pause, &who)
            .await
            .is_err()
    );
    store.host_remove(&hosts[1].name, &who).await.unwrap();
    let denied = NewAudit {
        actor: Actor::new("vera\r\n\u{1b}[31m", "10.0.0.1"),
        action: "rollout.pause".to_owned(),
        subject: None,
        result: AuditResult::Denied,
        detail: Some("x".repeat(10_000)),
    };
    store.audit_note(denied).await.unwrap();
    assert_eq!(
        actions(&store).await,
        [
            "host.add",
            "host.trust",
            "host.edit",
            "rollout.update",
            "rollout.pause",
            "rollout.abort",
            "host.remove",
            "rollout.pause"
        ]
    );
    let all = AuditQuery {
        limit: 100,
        ..AuditQuery::default()
    };
    let rows = store.audit_list(all.clone()).await.unwrap();
    assert_eq!(rows[0].actor.name, "vera\\x0d\\n\\x1b[31m");
    assert!(rows[0].detail.as_ref().unwrap().len() <= 500);
    assert_eq!(rows[1].actor, who);
    assert_eq!(rows[1].subject.as_deref(), Some("b"));
    let older = AuditQuery {
        before: Some(rows[2].id),
        limit: 2,
        ..all.clone()
    };
    assert_eq!(store.audit_list(older).await.unwrap(), rows[3..5]);
    let pauses = AuditQuery {
        action: Some("rollout.pause".to_owned()),
        ..all.clone()
    };
    assert_eq!(store.audit_list(pauses).await.unwrap().len(), 2);
    let hers = AuditQuery {
        actor: Some("anna".to_owned()),
        ..all
    };
    assert_eq!(store.audit_list(hers).await.unwrap().len(), 7);
}

fn request(key: &str, fingerprint: &str) -> Option<RequestKey> {
    Some(RequestKey {
        key: key.to_owned(),
        fingerprint: fingerprint.to_owned(),
    })
}

pub(crate) async fn a_request_is_carried_out_once(place: &Place) {
    let store = place.store().await;
    let hosts = add_hosts(&store, 2).await;
    let mut plan = one_stage(&hosts);
    plan.request = request("k1", "all to main");
    let create = async |plan: &NewRollout| store.rollout_create(plan.clone(), None).await;
    let id = create(&plan).await.unwrap();
    // While it is active, and when it is over.
    for _ in 0..2 {
        let again = create(&plan).await;
        assert!(matches!(again, Err(TriggerError::Repeated { rollout }) if rollout == id));
        plan.request = request("k1", "something else");
        assert!(matches!(create(&plan).await, Err(TriggerError::KeyReused)));
        plan.request = request("k1", "all to main");
        store
            .rollout_verb(id, fleet_types::Verb::Abort, &actor())
            .await
            .unwrap();
        store.rollout_advance(id).await.unwrap();
    }
    plan.request = request("k2", "all to main");
    assert_ne!(create(&plan).await.unwrap(), id);
    // A request that was refused may be made again.
    plan.request = request("k3", "all to main");
    assert!(matches!(
        create(&plan).await,
        Err(TriggerError::Active { .. })
    ));
    assert!(matches!(
        create(&plan).await,
        Err(TriggerError::Active { .. })
    ));
}

pub(crate) async fn one_request_made_by_many_is_one_rollout(place: &Place) {
    let store = place.store().await;
    let hosts = add_hosts(&store, 2).await;
    let mut plan = one_stage(&hosts);
    plan.request = request("k1", "x");
    let tries = (0..20).map(|_| store.rollout_create(plan.clone(), None));
    let mut ids = Vec::new();
    for made in futures_util::future::join_all(tries).await {
        match made {
            Ok(rollout) | Err(TriggerError::Repeated { rollout }) => ids.push(rollout),
            Err(error) => panic!("{error}"),
        }
    }
    assert!(ids.iter().all(|id| *id == ids[0]));
    assert_eq!(store.rollout_list(None, 10).await.unwrap().len(), 1);
}

pub(crate) async fn programs_do_not_pass_for_people(place: &Place) {
    let store = place.store().await;
    add(&store, "bob", Role::Viewer).await;
    let taken = store.token_create(token("bob", 1), &actor()).await;
    assert!(
        matches!(taken, Err(AccessError::Duplicate { .. })),
        "{taken:?}"
    );
    // An owner's token bears the owner's name, and changes nothing.
    let own = NewToken {
        role: Role::Owner,
        ..token("bob", 2)
    };
    store.token_create(own, &actor()).await.unwrap();
    let ci = token("ci", 3);
    store.token_create(ci.clone(), &actor()).await.unwrap();
    let taken = store.user_add(user("ci", Role::Admin), &actor()).await;
    assert!(
        matches!(taken, Err(AccessError::Duplicate { .. })),
        "{taken:?}"
    );
    store.token_revoke(ci.id, &actor()).await.unwrap();
    add(&store, "ci", Role::Admin).await;
}
