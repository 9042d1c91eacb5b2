//! Every route that changes something: what an act leaves in the audit trail, what a denied one does, and a refused one.

use std::sync::Arc;

use admin_api::{Method, RULES, Rule, secrets};
use fleet_store::*;
use fleet_types::*;
use rollout_orchestrator::Worker;
use serde_json::json;
use tokio::sync::Notify;
use update_engine::testing::SimRelease;

use crate::world::*;

const PASSWORD: &str = "correct horse battery";
const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ9Yq1wU2lqEw2yB0oT1r0m9nXk3n3m1g0l8m1e6bQ2q";

/// How things stand before a request: three hosts, and people by the name of root, anna and bob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Given {
    /// No more than that.
    Fleet,
    /// The server reaches the hosts.
    Reachable,
    /// A rollout is running, and no host has begun.
    Running,
    /// The same, paused.
    Paused,
    /// The same, and `web-001` is at work.
    Updating,
    /// A rollout is over that changed `web-001`, and halted at `web-002`.
    Over,
    /// A person has to look at `web-001`.
    Marked,
    /// Bob is locked out.
    LockedOut,
    /// Anna is signed in at one more place, which the path names, and so is Bob.
    Elsewhere,
    /// The person whom the path names is the last admin.
    LastAdmin,
    /// What the path names is not there.
    Nothing,
    /// There is no admin, and somebody may become the first one.
    Setup,
}

use Given::*;
use Method::{Delete, Post, Put};

/// One route: what is sent there, and what comes of it.
struct Act {
    method: Method,
    path: &'static str,
    given: Given,
    /// JSON below `/api`, a form elsewhere.
    body: &'static str,
    /// Verb and subject of each row, the last one first. `{id}` is what the path names, `{latest}` the latest rollout.
    rows: &'static [(&'static str, &'static str)],
    /// What changes nothing: in which case, with which body, and the status of the answer. Of routes that are open it is
    /// what is denied.
    idle: Option<(Given, &'static str, u16)>,
}

const fn act(
    (method, path): (Method, &'static str),
    given: Given,
    body: &'static str,
    rows: &'static [(&'static str, &'static str)],
    idle: Option<(Given, &'static str, u16)>,
) -> Act {
    Act {
        method,
        path,
        given,
        body,
        rows,
        idle,
    }
}

const ADD: &str = r#"{"name":"new","address":"10.9.9.9"}"#;
const ADD_AGAIN: &str = r#"{"name":"web-001","address":"10.9.9.9"}"#;
const IMPORT: &str = r#"{"hosts":[{"name":"new","address":"10.9.9.9"}]}"#;
const IMPORT_AGAIN: &str =
    r#"{"hosts":[{"name":"new","address":"10.9.9.9"},{"name":"web-001","address":"10.9.9.8"}]}"#;
const PIN: &str = r#"{"keys":["{key}"]}"#;
const OWN: &str = r#"{"old_password":"correct horse battery","password":"a fine new one"}"#;
const OWN_WEAK: &str = r#"{"old_password":"correct horse battery","password":"short"}"#;
const OWN_FORM: &str =
    "old_password=correct+horse+battery&password=a+fine+new+one&again=a+fine+new+one";
const OWN_FORM_WEAK: &str = "old_password=correct+horse+battery&password=short&again=short";
const USER: &str = r#"{"name":"carla","role":"viewer"}"#;
const USER_AGAIN: &str = r#"{"name":"bob","role":"viewer"}"#;
const USER_FORM: &str = "name=carla&role=viewer&password=a+fine+new+one";
const USER_FORM_AGAIN: &str = "name=bob&role=viewer&password=a+fine+new+one";
const TOKEN: &str = r#"{"name":"robot","role":"viewer"}"#;
const TOKEN_AGAIN: &str = r#"{"name":"ci","role":"viewer"}"#;
const CSV: &str = "format=csv&hosts=name,address%0Anew,10.9.9.9";
const CSV_AGAIN: &str = "format=csv&hosts=name,address%0Anew,10.9.9.9%0Aweb-001,10.9.9.8";
const EDIT_FORM: &str = "name=web-001&address=10.9.9.9&port=22";
const SETUP: &str = "secret={secret}&name=first&password=a+fine+new+one";

/// Every route but those that only look.
#[rustfmt::skip]
const ACTS: &[Act] = &[
    act((Post, "/api/updates/trigger"), Fleet, r#"{"all":true}"#, &[("rollout.update", "{latest}")], Some((Fleet, "{}", 422))),
    act((Post, "/api/updates/rollouts/{id}/pause"), Running, "{}", &[("rollout.pause", "{id}")], Some((Over, "{}", 409))),
    act((Post, "/api/updates/rollouts/{id}/resume"), Paused, "{}", &[("rollout.resume", "{id}")], Some((Over, "{}", 409))),
    act((Post, "/api/updates/rollouts/{id}/abort"), Running, "{}", &[("rollout.abort", "{id}")], Some((Nothing, "{}", 404))),
    act((Post, "/api/updates/rollouts/{id}/retry"), Over, "{}", &[("rollout.retry", "{latest}")], Some((Running, "{}", 409))),
    act((Post, "/api/updates/rollouts/{id}/rollback"), Over, "{}", &[("rollout.rollback", "{latest}")], Some((Running, "{}", 409))),
    act((Post, "/api/hosts"), Fleet, ADD, &[("host.add", "new")], Some((Fleet, ADD_AGAIN, 409))),
    act((Post, "/api/hosts/import"), Fleet, IMPORT, &[("host.add", "new")], Some((Fleet, IMPORT_AGAIN, 409))),
    act((Put, "/api/hosts/{name}"), Fleet, r#"{"owner":"acme"}"#, &[("host.edit", "web-001")], Some((Updating, r#"{"owner":"acme"}"#, 409))),
    act((Delete, "/api/hosts/{name}"), Fleet, "", &[("host.remove", "web-001")], Some((Updating, "", 409))),
    act((Put, "/api/hosts/{name}/keys"), Fleet, PIN, &[("host.trust", "web-001")], Some((Fleet, r#"{"keys":["x"]}"#, 422))),
    act((Post, "/api/hosts/{name}/scan"), Reachable, "{}", &[("host.scan", "web-001")], Some((Nothing, "{}", 404))),
    act((Post, "/api/hosts/{name}/check"), Reachable, "{}", &[("host.check", "web-001")], Some((Nothing, "{}", 404))),
    act((Post, "/api/hosts/{name}/health"), Reachable, r#"{"fix":true}"#, &[("host.fix", "web-001")], Some((Reachable, r#"{"fix":7}"#, 422))),
    act((Post, "/api/hosts/{name}/clear"), Marked, "{}", &[("host.clear", "web-001")], Some((Fleet, "{}", 200))),
    act((Put, "/api/me/password"), Fleet, OWN, &[("session.open", "anna"), ("user.password", "anna")], Some((Fleet, OWN_WEAK, 422))),
    act((Delete, "/api/sessions"), Elsewhere, "", &[("session.end", "anna")], Some((Fleet, "", 200))),
    act((Delete, "/api/sessions/{id}"), Elsewhere, "", &[("session.end", "anna")], Some((Nothing, "", 404))),
    act((Post, "/api/users"), Fleet, USER, &[("user.add", "carla")], Some((Fleet, USER_AGAIN, 409))),
    act((Put, "/api/users/{name}/password"), Fleet, r#"{"password":"a fine new one"}"#, &[("user.password", "bob")], Some((Fleet, r#"{"password":"short"}"#, 422))),
    act((Post, "/api/users/{name}/disable"), Fleet, "{}", &[("user.disable", "bob")], Some((LastAdmin, "{}", 409))),
    act((Post, "/api/users/{name}/enable"), LockedOut, "{}", &[("user.enable", "bob")], Some((Fleet, "{}", 204))),
    act((Delete, "/api/users/{name}/sessions"), Elsewhere, "", &[("session.end", "bob")], Some((Fleet, "", 200))),
    act((Post, "/api/tokens"), Fleet, TOKEN, &[("token.create", "robot")], Some((Fleet, TOKEN_AGAIN, 409))),
    act((Delete, "/api/tokens/{id}"), Fleet, "", &[("token.revoke", "ci")], Some((Nothing, "", 404))),
    act((Post, "/login"), Fleet, "name=anna&password=correct+horse+battery", &[("session.open", "anna")], Some((Fleet, "name=anna&password=wrong", 422))),
    act((Post, "/login/setup"), Setup, SETUP, &[("session.open", "first"), ("user.setup", "first")], Some((Fleet, SETUP, 422))),
    act((Post, "/logout"), Fleet, "", &[("session.end", "anna")], None),
    act((Post, "/admin/account"), Fleet, OWN_FORM, &[("session.open", "anna"), ("user.password", "anna")], Some((Fleet, OWN_FORM_WEAK, 422))),
    act((Post, "/admin/account/sessions/end"), Elsewhere, "", &[("session.end", "anna")], Some((Fleet, "", 303))),
    act((Post, "/admin/account/sessions/{id}/end"), Elsewhere, "", &[("session.end", "anna")], Some((Nothing, "", 404))),
    act((Post, "/admin/updates/start"), Fleet, "which=all", &[("rollout.update", "{latest}")], Some((Running, "which=all", 409))),
    act((Post, "/admin/updates/rollouts/{id}/pause"), Running, "", &[("rollout.pause", "{id}")], Some((Over, "", 409))),
    act((Post, "/admin/updates/rollouts/{id}/resume"), Paused, "", &[("rollout.resume", "{id}")], Some((Over, "", 409))),
    act((Post, "/admin/updates/rollouts/{id}/abort"), Running, "", &[("rollout.abort", "{id}")], Some((Nothing, "", 404))),
    act((Post, "/admin/updates/rollouts/{id}/retry"), Over, "", &[("rollout.retry", "{latest}")], Some((Running, "", 409))),
    act((Post, "/admin/updates/rollouts/{id}/rollback"), Over, "", &[("rollout.rollback", "{latest}")], Some((Running, "", 409))),
    act((Post, "/admin/updates/hosts/{name}/clear"), Marked, "", &[("host.clear", "web-001")], Some((Nothing, "", 404))),
    act((Post, "/admin/updates/hosts/{name}/check"), Reachable, "", &[("host.check", "web-001"), ("host.look", "web-001")], Some((Nothing, "", 404))),
    act((Post, "/admin/hosts/new"), Fleet, "name=new&address=10.9.9.9", &[("host.add", "new")], Some((Fleet, "name=web-001&address=10.9.9.9", 409))),
    act((Post, "/admin/hosts/import"), Fleet, CSV, &[("host.add", "new")], Some((Fleet, CSV_AGAIN, 409))),
    act((Post, "/admin/hosts/{name}/edit"), Fleet, EDIT_FORM, &[("host.edit", "web-001")], Some((Updating, EDIT_FORM, 409))),
    act((Post, "/admin/hosts/{name}/remove"), Fleet, "", &[("host.remove", "web-001")], Some((Updating, "", 409))),
    act((Post, "/admin/hosts/{name}/keys"), Reachable, "", &[("host.scan", "web-001")], Some((Nothing, "", 404))),
    act((Post, "/admin/hosts/{name}/pin"), Fleet, "key={key}", &[("host.trust", "web-001")], Some((Fleet, "key=x", 422))),
    act((Post, "/admin/users"), Fleet, USER_FORM, &[("user.add", "carla")], Some((Fleet, USER_FORM_AGAIN, 409))),
    act((Post, "/admin/users/{name}/password"), Fleet, "password=a+fine+new+one", &[("user.password", "bob")], Some((Fleet, "password=short", 422))),
    act((Post, "/admin/users/{name}/disable"), Fleet, "", &[("user.disable", "bob")], Some((LastAdmin, "", 409))),
    act((Post, "/admin/users/{name}/enable"), LockedOut, "", &[("user.enable", "bob")], Some((Fleet, "", 303))),
    act((Post, "/admin/users/{name}/sessions/end"), Elsewhere, "", &[("session.end", "bob")], Some((Nothing, "", 404))),
    act((Post, "/admin/tokens"), Fleet, "name=robot&role=viewer&days=30", &[("token.create", "robot")], Some((Fleet, "name=ci&role=viewer&days=30", 409))),
    act((Post, "/admin/tokens/{id}/revoke"), Fleet, "", &[("token.revoke", "ci")], Some((Nothing, "", 404))),
];

fn changes() -> impl Iterator<Item = &'static Rule> {
    RULES.iter().filter(|rule| rule.method != Method::Get)
}

fn act_of(rule: &Rule) -> &'static Act {
    let mut found = ACTS
        .iter()
        .filter(|act| (act.method, act.path) == (rule.method, rule.path));
    let act = found.next();
    let act = act.unwrap_or_else(|| panic!("{rule:?}: what does it leave in the trail?"));
    assert!(found.next().is_none(), "{rule:?} is told twice");
    act
}

/// A world in which things stand like this.
struct Ground {
    world: World,
    root: String,
    cookie: String,
    name: &'static str,
    id: String,
    secret: String,
    worker: Option<Worker>,
}

impl Ground {
    async fn new(path: &str, given: Given, password: &PasswordHash) -> Self {
        let world = World::new(3).await;
        let people = path.contains("/users/");
        let mut ground = Self {
            root: world.token_as("root", Role::Admin).await,
            cookie: world.session("anna", Role::Admin).await,
            name: if people { "bob" } else { "web-001" },
            id: String::new(),
            secret: "none".to_owned(),
            worker: None,
            world,
        };
        ground.people(given, password).await;
        ground.world.token_as("ci", Role::Operator).await;
        if path.contains("/tokens/") {
            let tokens = ground.world.store.token_list().await.unwrap();
            let found = tokens.iter().find(|token| token.name.as_str() == "ci");
            ground.id = found.unwrap().id.to_string();
        }
        ground.stand(given).await;
        ground
    }

    async fn people(&mut self, given: Given, password: &PasswordHash) {
        let (store, ann) = (&self.world.store, actor());
        let (anna, bob) = ("anna".parse().unwrap(), "bob".parse().unwrap());
        let user = NewUser {
            name: "bob".parse().unwrap(),
            role: Role::Operator,
            password: None,
        };
        store.user_add(user, &ann).await.unwrap();
        if given == Setup {
            let door = self.world.api.sign_in().unwrap();
            let now = Timestamp(i64::MAX / 2);
            let offered = door.offer_setup(now, std::time::Duration::from_secs(60));
            self.secret = offered.await.unwrap().unwrap();
            return;
        }
        let set = store.user_set_password(&anna, password.clone(), &ann);
        set.await.unwrap();
        // The password ended the session that there was.
        self.cookie = self.world.one_more_session("anna", "test").await.1;
        if given == LockedOut {
            store.user_disable(&bob, true, &ann).await.unwrap();
        }
    }

    async fn stand(&mut self, given: Given) {
        match given {
            Fleet | Setup | LockedOut => {}
            LastAdmin => self.name = "anna",
            Elsewhere => {
                let (other, _) = self.world.one_more_session("anna", "192.0.2.7").await;
                self.world.one_more_session("bob", "192.0.2.8").await;
                self.id = other.0.to_string();
            }
            Nothing => {
                self.name = "nobody";
                self.id = "00000000-0000-7000-8000-000000000000".to_owned();
            }
            Reachable => {
                let worker = self.world.worker().await;
                let process = &self.world.process;
                *process.transport.lock().unwrap() = Some(worker.transport());
                let may_end = Arc::new(Notify::new());
                may_end.notify_one();
                *process.looks.lock().unwrap() = Some(may_end);
                self.worker = Some(worker);
            }
            Running => self.trigger().await,
            Paused => {
                self.trigger().await;
                let (id, ann) = (self.id.parse().unwrap(), actor());
                self.world.orchestrator.pause(id, &ann).await.unwrap();
            }
            Updating => {
                self.trigger().await;
                self.world.begin(self.id.parse().unwrap()).await;
            }
            Marked => {
                let marked = (AttemptStatus::Failed, Reason::RollbackFailed, true, "dead");
                self.world.ended(&[marked]).await;
            }
            Over => self.halt().await,
        }
    }

    async fn trigger(&mut self) {
        let body = json!({ "all": true, "settle_seconds": 0 });
        let begun = self
            .world
            .post("/api/updates/trigger", &self.root, body)
            .await
            .expect(202);
        self.id = begun["rollout"]["id"].as_str().unwrap().to_owned();
    }

    async fn halt(&mut self) {
        let new = self.world.new.clone();
        self.world.fleet.change("web-002", |host| {
            host.releases.insert(new, SimRelease::InstallFails);
        });
        let worker = self.world.worker().await;
        self.trigger().await;
        let id = self.id.parse().unwrap();
        loop {
            let rollout = self.world.store.rollout_get(id).await.unwrap().unwrap();
            if !rollout.state.is_active() {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        }
        drop(worker);
    }

    fn call(&self, rule: &Rule, body: &str) -> Call {
        let path = rule.path.replace("{name}", self.name);
        let call = Call::new(rule.method.as_str(), &path.replace("{id}", &self.id));
        let body = body.replace("{secret}", &self.secret);
        if rule.path.starts_with("/api") {
            call.header("content-type", "application/json")
                .body(body.replace("{key}", KEY))
        } else {
            call.header("content-type", "application/x-www-form-urlencoded")
                .body(body.replace("{key}", &KEY.replace(' ', "+")))
        }
    }

    /// Sends it as who may: a program, or a person where it is about themselves.
    async fn send(&self, rule: &Rule, body: &str) -> Answer {
        let call = self.call(rule, body);
        let call = match rule.needs {
            None => call,
            Some(Right::Own) => call
                .header("cookie", &self.cookie)
                .header("sec-fetch-site", "same-origin"),
            Some(_) => call.token(&self.root),
        };
        self.world.send(call).await
    }

    fn who(rule: &Rule, act: &Act) -> &'static str {
        match rule.needs {
            None => act.rows[0].1,
            Some(Right::Own) => "anna",
            Some(_) => "root",
        }
    }

    async fn trail(&self) -> Vec<AuditRecord> {
        let query = AuditQuery {
            limit: 10_000,
            ..AuditQuery::default()
        };
        self.world.store.audit_list(query).await.unwrap()
    }

    /// All that a request might change, but when somebody was last seen.
    async fn state(&self) -> String {
        let store = &self.world.store;
        let users = store.user_list().await.unwrap();
        let mut people = Vec::new();
        for user in users {
            let times = SessionTimes::default();
            let sessions = store.session_list(&user.name, times).await.unwrap();
            let sessions: Vec<SessionId> = sessions.iter().map(|session| session.id).collect();
            let password = user.password.map(|hash| hash.0);
            people.push((user.name, user.role, user.disabled_at, password, sessions));
        }
        let tokens = store.token_list().await.unwrap();
        let tokens: Vec<_> = tokens
            .iter()
            .map(|token| (token.id, token.revoked_at))
            .collect();
        let hosts = store.host_list().await.unwrap();
        let query = RolloutQuery {
            limit: 100,
            ..RolloutQuery::default()
        };
        let rollouts = store.rollouts_matching(query).await.unwrap();
        let seq = store.last_seq().await.unwrap();
        format!("{people:?} {tokens:?} {hosts:?} {rollouts:?} {seq:?}")
    }
}

async fn password() -> PasswordHash {
    secrets::hash_password(PASSWORD.into()).await.unwrap()
}

#[test]
fn every_act_is_of_a_route() {
    assert_eq!(ACTS.len(), changes().count());
}

#[tokio::test(start_paused = true)]
async fn an_act_leaves_its_rows_and_no_others() {
    let password = password().await;
    for rule in changes() {
        let act = act_of(rule);
        let ground = Ground::new(rule.path, act.given, &password).await;
        let (before, was) = (ground.trail().await.len(), ground.state().await);
        let answer = ground.send(rule, act.body).await;
        let status = answer.status.as_u16();
        let done = matches!(status, 200 | 201 | 202 | 204 | 303);
        assert!(done, "{rule:?}: {status} {}", answer.text());
        let latest = ground.world.store.rollout_latest().await.unwrap();
        let latest = latest.map_or_else(String::new, |rollout| rollout.id.to_string());
        let trail = ground.trail().await;
        let rows = &trail[..trail.len() - before];
        let told: Vec<(String, String)> = rows
            .iter()
            .map(|row| (row.action.clone(), row.subject.clone().unwrap_or_default()))
            .collect();
        let fill = |text: &str| {
            text.replace("{id}", &ground.id)
                .replace("{latest}", &latest)
        };
        let expected: Vec<(String, String)> = act
            .rows
            .iter()
            .map(|(verb, subject)| ((*verb).to_owned(), fill(subject)))
            .collect();
        assert_eq!(told, expected, "{rule:?}");
        for row in rows {
            let who = (row.actor.name.as_str(), row.actor.source.as_str());
            assert_eq!(who, (Ground::who(rule, act), "203.0.113.9"), "{rule:?}");
            assert_eq!(row.result, AuditResult::Done, "{rule:?} {row:?}");
        }
        // A look changes nothing here; everything else can be seen.
        if act.given != Reachable {
            assert_ne!(ground.state().await, was, "{rule:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_denied_act_leaves_one_row_and_changes_nothing() {
    let password = password().await;
    for rule in changes() {
        let act = act_of(rule);
        let Some(right) = rule.needs else { continue };
        let ground = Ground::new(rule.path, act.given, &password).await;
        let call = ground.call(rule, act.body);
        let other = Role::ALL.iter().find(|role| !role.may(right));
        // What everybody has, only somebody who is not known has not.
        let (call, who) = match other {
            Some(role) => (
                call.token(&ground.world.token_as("other", *role).await),
                "other",
            ),
            None => (call, "unknown"),
        };
        let (before, was) = (ground.trail().await.len(), ground.state().await);
        let answer = ground.world.send(call).await;
        let expected = if other.is_some() { 403 } else { 401 };
        assert_eq!(answer.status.as_u16(), expected, "{rule:?}");
        let trail = ground.trail().await;
        assert_eq!(trail.len(), before + 1, "{rule:?}: {:?}", trail.first());
        let row = &trail[0];
        let told = (row.actor.name.as_str(), row.action.as_str(), row.result);
        assert_eq!(told, (who, "access", AuditResult::Denied), "{rule:?}");
        let subject = row.subject.as_deref().unwrap();
        let path = rule.path.replace("{name}", ground.name);
        let path = path.replace("{id}", &ground.id);
        assert_eq!(subject, format!("{} {path}", rule.method.as_str()));
        assert_eq!(ground.state().await, was, "{rule:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_refused_act_changes_nothing() {
    let password = password().await;
    for rule in changes() {
        let act = act_of(rule);
        let Some((given, body, status)) = act.idle else {
            continue;
        };
        let ground = Ground::new(rule.path, given, &password).await;
        let (before, was) = (ground.trail().await.len(), ground.state().await);
        let answer = ground.send(rule, body).await;
        assert_eq!(answer.status.as_u16(), status, "{rule:?} {}", answer.text());
        assert_eq!(ground.state().await, was, "{rule:?}");
        let trail = ground.trail().await;
        let rows = &trail[..trail.len() - before];
        if rule.needs.is_some() {
            assert!(rows.is_empty(), "{rule:?}: {rows:?}");
            continue;
        }
        // Whoever is not let in has tried.
        let [row] = rows else {
            panic!("{rule:?}: {rows:?}")
        };
        let verbs: Vec<&str> = act.rows.iter().map(|(verb, _)| *verb).collect();
        assert!(verbs.contains(&row.action.as_str()), "{rule:?}: {row:?}");
        assert_eq!(row.result, AuditResult::Denied, "{rule:?}");
        assert!(row.subject.is_some(), "{rule:?}: {row:?}");
    }
}
