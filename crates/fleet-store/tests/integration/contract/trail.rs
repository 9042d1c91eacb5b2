//! The audit trail: each change leaves one row, nothing else leaves any, and rows stay.

use std::time::Duration;

use fleet_store::*;
use fleet_types::{AuditResult, Role, Timestamp, TokenId, Verb};
use uuid::Uuid;

use super::people::{login, new_session, new_token, secret, user};
use crate::fleet::*;
use crate::place::Place;

/// Reads the rows that came since it last looked.
struct Trail<'a> {
    store: &'a DieselStore,
    seen: usize,
}

type Row = (String, Option<String>, Option<String>);

impl Trail<'_> {
    async fn news(&mut self) -> Vec<Row> {
        let query = AuditQuery {
            limit: 1000,
            ..AuditQuery::default()
        };
        let mut rows = self.store.audit_list(query).await.unwrap();
        rows.reverse();
        let news = rows.split_off(self.seen);
        self.seen += news.len();
        news.into_iter()
            .map(|row| {
                assert_eq!((row.actor, row.result), (who(), AuditResult::Done));
                (row.action, row.subject, row.detail)
            })
            .collect()
    }

    async fn one(&mut self, action: &str, subject: Option<&str>, detail: Option<&str>) {
        let row = (
            action.to_owned(),
            subject.map(ToOwned::to_owned),
            detail.map(ToOwned::to_owned),
        );
        assert_eq!(self.news().await, [row]);
    }

    async fn none(&mut self, what: &str) {
        assert_eq!(self.news().await, [], "{what}");
    }
}

fn who() -> Actor {
    Actor::new("anna", "198.51.100.4")
}

pub(crate) async fn each_change_and_nothing_else(place: &Place) {
    let store = place.store().await;
    let mut trail = Trail {
        store: &store,
        seen: 0,
    };
    hosts_and_rollouts(&store, &mut trail).await;
    people(place, &store, &mut trail).await;
    sessions_and_tokens(&store, &mut trail).await;
}

async fn hosts_and_rollouts(store: &DieselStore, trail: &mut Trail<'_>) {
    let by = &who();
    let one = store.host_add(vec![host("h1")], by).await.unwrap();
    trail.one("host.add", Some("h1"), None).await;
    let many: Vec<NewHost> = (2..=13).map(|n| host(&format!("h{n}"))).collect();
    store.host_add(many, by).await.unwrap();
    let detail = "12 hosts: h2 h3 h4 h5 h6 h7 h8 h9 h10 h11 …";
    trail.one("host.add", None, Some(detail)).await;
    store.host_add(Vec::new(), by).await.unwrap();
    trail.none("no hosts").await;
    let dup = vec![host("h20"), host("h1")];
    store.host_add(dup, by).await.unwrap_err();
    trail.none("a host that is there").await;

    let h1 = &one[0].name;
    store.host_edit(h1, host("h2"), by).await.unwrap_err();
    trail.none("a name that is taken").await;
    let keys = vec!["ssh-ed25519 AAAA".to_owned()];
    store.host_pin(h1, keys, by).await.unwrap();
    trail.one("host.trust", Some("h1"), Some("1 key")).await;
    store.host_clear_attention(h1, by).await.unwrap();
    trail.none("nothing to clear").await;

    let mut plan = one_stage(&one);
    plan.actor = by.clone();
    let id = store.rollout_create(plan.clone(), None).await.unwrap();
    let rollout = id.to_string();
    trail
        .one("rollout.update", Some(&rollout), Some("main, 1 host"))
        .await;
    store.rollout_create(plan, None).await.unwrap_err();
    trail.none("another one is active").await;
    for (verb, action) in [
        (Verb::Pause, "rollout.pause"),
        (Verb::Resume, "rollout.resume"),
        (Verb::Abort, "rollout.abort"),
    ] {
        store.rollout_verb(id, verb, by).await.unwrap();
        trail.one(action, Some(&rollout), None).await;
        store.rollout_verb(id, verb, by).await.unwrap();
        trail.none("it is so already").await;
    }
    store.rollout_advance(id).await.unwrap();
    store.rollout_verb(id, Verb::Resume, by).await.unwrap_err();
    trail.none("it is over").await;

    let renamed = store.host_edit(h1, host("h1b"), by).await.unwrap();
    trail
        .one("host.edit", Some("h1"), Some("h1 is now h1b"))
        .await;
    store.host_remove(&renamed.name, by).await.unwrap();
    trail.one("host.remove", Some("h1b"), None).await;
    store.host_remove(&renamed.name, by).await.unwrap_err();
    trail.none("it is gone").await;
}

async fn people(place: &Place, store: &DieselStore, trail: &mut Trail<'_>) {
    let by = &who();
    let until = Timestamp(place.clock.now().0 + 60_000);
    store.setup_offer(secret(1), until).await.unwrap();
    trail.none("an offer is no change by anybody").await;
    let claim = async |number, name| {
        store
            .setup_claim(&secret(number), user(name, Role::Admin), by)
            .await
    };
    claim(2, "anna").await.unwrap_err();
    trail.none("a wrong secret").await;
    claim(1, "anna").await.unwrap();
    trail
        .one("user.setup", Some("anna"), Some("role admin"))
        .await;
    claim(1, "eve").await.unwrap_err();
    trail.none("taken").await;

    store.user_add(user("bob", Role::Viewer), by).await.unwrap();
    trail
        .one("user.add", Some("bob"), Some("role viewer"))
        .await;
    let again = store.user_add(user("bob", Role::Admin), by).await;
    again.unwrap_err();
    trail.none("he is there").await;
    let new = PasswordHash("new".to_owned());
    let (anna, bob, no) = (login("anna"), login("bob"), login("no"));
    let set = store.user_set_password(&bob, new.clone(), by).await;
    set.unwrap();
    trail.one("user.password", Some("bob"), None).await;
    let set = store.user_set_password(&no, new, by).await;
    set.unwrap_err();
    trail.none("nobody").await;
    for (disabled, action) in [(true, "user.disable"), (false, "user.enable")] {
        store.user_disable(&bob, disabled, by).await.unwrap();
        trail.one(action, Some("bob"), None).await;
        store.user_disable(&bob, disabled, by).await.unwrap();
        trail.none("he is so already").await;
    }
    store.user_disable(&anna, true, by).await.unwrap_err();
    trail.none("the last admin").await;
}

async fn sessions_and_tokens(store: &DieselStore, trail: &mut Trail<'_>) {
    let by = &who();
    store.sign_in_try("bob", "192.0.2.1").await.unwrap();
    store.sign_in_done("bob", "192.0.2.1").await.unwrap();
    trail.none("a try changes nothing").await;
    let session = new_session("bob", 3);
    let id = session.id;
    store.session_open(session, by).await.unwrap();
    trail.one("session.open", Some("bob"), None).await;
    let nobody = store.session_open(new_session("no", 4), by).await;
    nobody.unwrap_err();
    trail.none("nobody").await;
    store.session_end(id, by).await.unwrap();
    trail.one("session.end", Some("bob"), None).await;
    store.session_end(id, by).await.unwrap();
    trail.none("it is over").await;
    several_sessions(store, trail).await;

    let token = new_token("ci", 5);
    let id = token.id;
    store.token_create(token, by).await.unwrap();
    let detail = format!("role admin, id {id}");
    trail.one("token.create", Some("ci"), Some(&detail)).await;
    store
        .token_create(new_token("ci", 6), by)
        .await
        .unwrap_err();
    trail.none("the name is taken").await;
    store.token_revoke(id, by).await.unwrap();
    let detail = format!("id {id}");
    trail.one("token.revoke", Some("ci"), Some(&detail)).await;
    store.token_revoke(id, by).await.unwrap();
    let unknown = TokenId(Uuid::now_v7());
    store.token_revoke(unknown, by).await.unwrap_err();
    trail.none("it is revoked, or none").await;
}

async fn several_sessions(store: &DieselStore, trail: &mut Trail<'_>) {
    let (by, bob) = (&who(), login("bob"));
    let times = SessionTimes::default();
    let end = async |which| store.session_end_of(&bob, which, times, by).await;
    let begin = async |number| {
        let session = new_session("bob", number);
        let id = session.id;
        store.session_open(session, by).await.unwrap();
        let list = store.session_list(&bob, times).await.unwrap();
        let found = list.into_iter().find(|session| session.id == id).unwrap();
        let detail = format!("begun {} from 192.0.2.1", found.created_at);
        (id, detail)
    };
    let (kept, kept_told) = begin(10).await;
    let (one, one_told) = begin(11).await;
    let (_, other_told) = begin(12).await;
    trail.news().await;
    end(WhichSessions::One(one)).await.unwrap();
    trail.one("session.end", Some("bob"), Some(&one_told)).await;
    end(WhichSessions::One(one)).await.unwrap_err();
    end(WhichSessions::AllBut(one)).await.unwrap_err();
    trail.none("it is over").await;
    end(WhichSessions::AllBut(kept)).await.unwrap();
    trail
        .one("session.end", Some("bob"), Some(&other_told))
        .await;
    end(WhichSessions::AllBut(kept)).await.unwrap();
    trail.none("there are no others").await;
    end(WhichSessions::All).await.unwrap();
    trail
        .one("session.end", Some("bob"), Some(&kept_told))
        .await;
    end(WhichSessions::All).await.unwrap();
    trail.none("there are none").await;
}

pub(crate) async fn texts_are_bounded_lines(place: &Place) {
    let store = place.store().await;
    let long = "\u{1b}\n\0".repeat(10_000);
    let entry = NewAudit {
        actor: Actor::new(long.clone(), long.clone()),
        action: long.clone(),
        subject: Some(long.clone()),
        result: AuditResult::Denied,
        detail: Some(long),
    };
    let id = store.audit_note(entry).await.unwrap();
    place.clock.advance(Duration::from_secs(1));
    let all = AuditQuery {
        limit: 10,
        ..AuditQuery::default()
    };
    let rows = store.audit_list(all.clone()).await.unwrap();
    let row = &rows[0];
    assert_eq!((row.id, row.result), (id, AuditResult::Denied));
    for text in [
        &row.actor.name,
        &row.actor.source,
        &row.action,
        row.subject.as_ref().unwrap(),
        row.detail.as_ref().unwrap(),
    ] {
        assert!(text.chars().count() <= 500 && text.starts_with("\\x1b\\n\\x00"));
        assert!(!text.contains(char::is_control));
    }
    let since = AuditQuery {
        since: Some(place.clock.now()),
        ..all
    };
    assert_eq!(store.audit_list(since).await.unwrap(), []);
}

pub(crate) async fn rows_stay_as_they_are(place: &Place) {
    let store = place.store().await;
    add_hosts(&store, 1).await;
    let all = AuditQuery {
        limit: 10,
        ..AuditQuery::default()
    };
    let before = store.audit_list(all.clone()).await.unwrap();
    assert_eq!(before.len(), 1);
    let replace = "INSERT OR REPLACE INTO audit (id, at, actor, source, action, result) \
                   VALUES (1, 0, 'eve', 'x', 'y', 'done')";
    let own = if place.is_postgres() {
        "TRUNCATE audit"
    } else {
        replace
    };
    for sql in [
        "UPDATE audit SET actor = 'eve'",
        "UPDATE audit SET actor = 'eve' WHERE id = 1",
        "DELETE FROM audit",
        "DELETE FROM audit WHERE id = 1",
        own,
    ] {
        let told = place.execute(sql).await.unwrap_err();
        assert!(told.contains("rows of the audit trail"), "{sql}: {told}");
    }
    assert_eq!(store.audit_list(all).await.unwrap(), before);
    add_host_after(&store).await;
}

/// Adding goes on.
async fn add_host_after(store: &DieselStore) {
    store.host_add(vec![host("after")], &who()).await.unwrap();
    let newest = AuditQuery {
        limit: 1,
        ..AuditQuery::default()
    };
    let rows = store.audit_list(newest).await.unwrap();
    assert_eq!(rows[0].subject.as_deref(), Some("after"));
}
