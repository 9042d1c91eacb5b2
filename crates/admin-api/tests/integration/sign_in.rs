//! People sign in and out; what is over is over everywhere at once.

use std::sync::Arc;
use std::time::Duration;

use admin_api::{ApiSettings, SignInError, secrets};
use axum::http::HeaderMap;
use fleet_store::*;
use fleet_types::{AuditResult, Role};

use crate::world::*;

const PASSWORD: &str = "correct horse battery";

async fn add_person(world: &World, name: &str, role: Role) {
    let password = Some(secrets::hash_password(PASSWORD.into()).await.unwrap());
    world
        .store
        .user_add(
            NewUser {
                name: name.parse().unwrap(),
                role,
                password,
            },
            &actor(),
        )
        .await
        .unwrap();
}

/// How long a wrong try takes.
async fn wrong_try(world: &World, name: &str, source: &str) -> Duration {
    let door = world.api.sign_in().unwrap();
    let began = std::time::Instant::now();
    let headers = HeaderMap::new();
    let tried = door.sign_in(name, "not the one".into(), source, &headers);
    let answer = tried.await.unwrap_err();
    let took = began.elapsed();
    assert!(matches!(answer, SignInError::Wrong), "{name}: {answer}");
    took
}

#[tokio::test]
async fn nobody_learns_from_the_time_it_takes_who_there_is() {
    let world = World::new(0).await;
    add_person(&world, "anna", Role::Operator).await;
    add_person(&world, "locked", Role::Operator).await;
    let locked = "locked".parse().unwrap();
    world
        .store
        .user_disable(&locked, true, &actor())
        .await
        .unwrap();
    world.session("nopassword", Role::Viewer).await;
    // Other work on this machine makes a try longer, never shorter: the shortest of some counts, and all have their turn in
    // the same bad moments.
    let names = ["anna", "nobody", "locked", "nopassword", "no such name!"];
    let mut shortest = names.map(|_| Duration::MAX);
    for number in 0..4 {
        for (name, shortest) in names.iter().zip(&mut shortest) {
            let source = format!("10.0.1.{number}");
            let took = wrong_try(&world, name, &source).await;
            *shortest = took.min(*shortest);
        }
    }
    // A name that cannot even be one is looked at as long. Without a hash it would take a hundredth of the time.
    let [known, others @ ..] = shortest;
    for (name, other) in names[1..].iter().zip(others) {
        assert!(other * 10 > known, "{name}: {other:?}, anna: {known:?}");
    }
}

fn cookie_of(set_cookie: &str) -> String {
    set_cookie.split(';').next().unwrap().to_owned()
}

fn shown(cookie: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("cookie", cookie.parse().unwrap());
    headers
}

async fn status(world: &World, cookie: &str) -> u16 {
    world
        .send(Call::new("GET", "/api/me").header("cookie", cookie))
        .await
        .status
        .as_u16()
}

#[tokio::test]
async fn a_session_is_new_at_every_sign_in_and_ends() {
    let world = World::new(0).await;
    add_person(&world, "anna", Role::Operator).await;
    let door = world.api.sign_in().unwrap();
    // A secret that somebody planted before is worth nothing after.
    let planted = format!("rollout_session={}", "A".repeat(43));
    let first = door
        .sign_in("anna", PASSWORD.into(), "10.0.0.1", &shown(&planted))
        .await
        .unwrap();
    assert!(
        first.set_cookie.contains("; HttpOnly; SameSite=Lax"),
        "{}",
        first.set_cookie
    );
    let first = cookie_of(&first.set_cookie);
    assert_ne!(first, planted);
    assert_eq!(
        (status(&world, &planted).await, status(&world, &first).await),
        (401, 200)
    );
    // Signing in once more ends the session that the browser showed.
    let second = door
        .sign_in("anna", PASSWORD.into(), "10.0.0.1", &shown(&first))
        .await
        .unwrap();
    let second = cookie_of(&second.set_cookie);
    assert_ne!(first, second);
    assert_eq!(
        (status(&world, &first).await, status(&world, &second).await),
        (401, 200)
    );
    // Another browser is another session.
    let third = door
        .sign_in("anna", PASSWORD.into(), "10.0.0.2", &HeaderMap::new())
        .await
        .unwrap();
    let third = cookie_of(&third.set_cookie);
    assert_eq!(
        (status(&world, &second).await, status(&world, &third).await),
        (200, 200)
    );
    // A new password ends all of them.
    let admin = world.token(Role::Admin).await;
    let body = serde_json::json!({ "password": "another good one" });
    let call = Call::new("PUT", "/api/users/anna/password")
        .token(&admin)
        .json(&body);
    world.send(call).await.expect(204);
    assert_eq!(
        (status(&world, &second).await, status(&world, &third).await),
        (401, 401)
    );
    let old = door
        .sign_in("anna", PASSWORD.into(), "10.0.0.3", &HeaderMap::new())
        .await;
    assert!(matches!(old, Err(SignInError::Wrong)));
    door.sign_in(
        "anna",
        "another good one".into(),
        "10.0.0.3",
        &HeaderMap::new(),
    )
    .await
    .unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_thousand_wrong_passwords_lock_nobody_out() {
    let world = World::new(0).await;
    add_person(&world, "anna", Role::Admin).await;
    let door = world.api.sign_in().unwrap();
    let none = HeaderMap::new();
    let (mut wrong, mut told_to_wait) = (0, 0);
    for n in 0..1000 {
        match door
            .sign_in("anna", format!("wrong {n}"), "10.6.6.6", &none)
            .await
        {
            Err(SignInError::Wrong) => wrong += 1,
            Err(SignInError::TooManyTries { .. }) => told_to_wait += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!(
        wrong == 5 && wrong + told_to_wait == 1000,
        "{wrong} looked at, {told_to_wait} told to wait"
    );
    // The right person elsewhere does not notice.
    door.sign_in("anna", PASSWORD.into(), "10.0.0.1", &none)
        .await
        .unwrap();
    // At the same place even the right password has to wait, but not for ever.
    let early = door
        .sign_in("anna", PASSWORD.into(), "10.6.6.6", &none)
        .await;
    assert!(
        matches!(early, Err(SignInError::TooManyTries { .. })),
        "{early:?}"
    );
    world.clock.advance(Duration::from_secs(61));
    door.sign_in("anna", PASSWORD.into(), "10.6.6.6", &none)
        .await
        .unwrap();
    // Each password that was looked at is one row. Of those that were not, some are, the others get one together.
    let rows = world
        .store
        .audit_list(AuditQuery {
            limit: 5000,
            ..AuditQuery::default()
        })
        .await
        .unwrap();
    let denied = |why: Option<&str>| {
        rows.iter()
            .filter(|row| row.action == "session.open" && row.result == AuditResult::Denied)
            .filter(|row| row.detail.as_deref() == why)
            .count()
    };
    assert_eq!(denied(None), wrong);
    assert_eq!(denied(Some("too many tries")), 20 - wrong);
}

#[tokio::test]
async fn it_is_not_said_who_there_is() {
    let world = World::new(0).await;
    add_person(&world, "anna", Role::Admin).await;
    add_person(&world, "gone", Role::Viewer).await;
    world
        .store
        .user_disable(&"gone".parse().unwrap(), true, &actor())
        .await
        .unwrap();
    let door = world.api.sign_in().unwrap();
    let mut said = Vec::new();
    for (n, (account, password)) in [
        ("anna", "wrong password"),
        ("nobody", "wrong password"),
        ("gone", PASSWORD),
        ("no such name!", "x"),
        ("", ""),
        ("\u{1b}[2J", "x"),
    ]
    .into_iter()
    .enumerate()
    {
        let error = door
            .sign_in(
                account,
                password.into(),
                &format!("10.0.1.{n}"),
                &HeaderMap::new(),
            )
            .await
            .unwrap_err();
        said.push(error.to_string());
    }
    said.dedup();
    assert_eq!(said, ["name or password is wrong"]);
    let long = "x".repeat(2_000_000);
    assert!(
        door.sign_in("anna", long, "10.0.2.1", &HeaderMap::new())
            .await
            .is_err()
    );
}

#[tokio::test]
async fn the_first_admin_comes_in_once_by_the_secret() {
    let world = World::new(0).await;
    let door = world.api.sign_in().unwrap();
    let now = fleet_store::Clock::now(&world.clock);
    let secret = door
        .offer_setup(now, Duration::from_secs(3600))
        .await
        .unwrap()
        .unwrap();
    let claim = |secret: String, password: &'static str, source: &'static str| async move {
        door.claim_setup(&secret, "root".parse().unwrap(), password.into(), source)
            .await
    };
    assert!(matches!(
        claim("guess".into(), PASSWORD, "1").await,
        Err(SignInError::SetupOver)
    ));
    assert!(matches!(
        claim(secret.clone(), "password", "2").await,
        Err(SignInError::Weak(_))
    ));
    let first = claim(secret.clone(), PASSWORD, "3").await.unwrap();
    assert_eq!(status(&world, &cookie_of(&first.set_cookie)).await, 200);
    assert!(claim(secret, PASSWORD, "4").await.is_err());
    assert!(
        door.offer_setup(now, Duration::from_secs(3600))
            .await
            .unwrap()
            .is_none()
    );
}

#[tokio::test]
async fn two_servers_on_one_store_agree_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", folder.path().join("rollout.db").display());
    let clock = ManualClock::ticking();
    let open = || async {
        let options = StoreOptions {
            clock: Arc::new(clock.clone()),
            ..StoreOptions::default()
        };
        Arc::new(DieselStore::open(&url, options).await.unwrap())
    };
    let one = World::on(open().await, clock.clone(), 0, ApiSettings::default()).await;
    let two = World::on(open().await, clock.clone(), 0, ApiSettings::default()).await;
    add_person(&one, "anna", Role::Operator).await;
    let signed = one
        .api
        .sign_in()
        .unwrap()
        .sign_in("anna", PASSWORD.into(), "x", &HeaderMap::new())
        .await
        .unwrap();
    let cookie = cookie_of(&signed.set_cookie);
    let admin = one.token(Role::Admin).await;
    let made = two
        .post(
            "/api/tokens",
            &admin,
            serde_json::json!({ "name": "ci", "role": "viewer" }),
        )
        .await
        .expect(201);
    let token = made["token"].as_str().unwrap().to_owned();
    assert_eq!(status(&two, &cookie).await, 200);
    one.get("/api/me", &token).await.expect(200);
    // Ended on one, refused on the other.
    let revoke = Call::new(
        "DELETE",
        &format!("/api/tokens/{}", made["id"].as_str().unwrap()),
    )
    .token(&admin);
    one.send(revoke).await.expect(204);
    two.get("/api/me", &token)
        .await
        .problem(401, "unauthenticated");
    two.post("/api/users/anna/disable", &admin, serde_json::json!({}))
        .await
        .expect(204);
    assert_eq!(status(&one, &cookie).await, 401);
}

#[tokio::test]
async fn sessions_end_by_themselves() {
    let world = World::new(0).await;
    let cookie = world.session("anna", Role::Viewer).await;
    assert_eq!(status(&world, &cookie).await, 200);
    world.clock.advance(Duration::from_secs(29 * 60));
    assert_eq!(status(&world, &cookie).await, 200);
    world.clock.advance(Duration::from_secs(31 * 60));
    assert_eq!(status(&world, &cookie).await, 401);
}

#[tokio::test]
async fn a_full_queue_of_passwords_sends_people_away() {
    let world = World::new(0).await;
    add_person(&world, "anna", Role::Operator).await;
    let admin = world.token(Role::Admin).await;
    let mut places = Vec::new();
    while let Ok(place) = world.api.hasher().enter() {
        places.push(place);
    }
    assert_eq!(places.len(), 66, "two at work, 64 waiting");
    let sign_in = || {
        Call::new("POST", "/login")
            .header("origin", "http://localhost:8080")
            .header("content-type", "application/x-www-form-urlencoded")
            .body(format!("name=anna&password={PASSWORD}").replace(' ', "+"))
    };
    // So many that the account would have to wait, had they been tries.
    for _ in 0..30 {
        let answer = world.send(sign_in()).await;
        assert_eq!(
            (answer.status.as_u16(), answer.header("retry-after")),
            (429, "2")
        );
    }
    let bob = serde_json::json!({ "name": "bob", "role": "viewer", "password": "long enough" });
    let new = serde_json::json!({ "password": "another good one" });
    let add = || Call::new("POST", "/api/users").token(&admin).json(&bob);
    let set = || {
        Call::new("PUT", "/api/users/anna/password")
            .token(&admin)
            .json(&new)
    };
    for call in [add(), set()] {
        let answer = world.send(call).await;
        answer.problem(429, "rate_limited");
        assert_eq!(answer.header("retry-after"), "2");
    }
    drop(places);
    assert_eq!(world.send(sign_in()).await.status.as_u16(), 303);
    world.send(add()).await.expect(201);
    world.send(set()).await.expect(204);
}

#[tokio::test]
async fn names_guessed_from_one_address_fill_no_trail() {
    let world = World::new(0).await;
    let door = world.api.sign_in().unwrap();
    let none = HeaderMap::new();
    for n in 0..30 {
        let name = format!("name-{n}");
        let tried = door.sign_in(&name, "wrong one".into(), "10.6.6.6", &none);
        assert!(matches!(tried.await, Err(SignInError::Wrong)));
    }
    assert_eq!(world.denials().await.len(), 20);
    // The first one from elsewhere is not lost in that.
    let elsewhere = door.sign_in("anna", "wrong one".into(), "10.7.7.7", &none);
    assert!(matches!(elsewhere.await, Err(SignInError::Wrong)));
    let denials = world.denials().await;
    assert_eq!(
        (denials.len(), denials[0].actor.source.as_str()),
        (21, "10.7.7.7")
    );
    // What was left out is told when the process ends, if not before.
    world.api.stop().cancel();
    let told = async {
        loop {
            let denials = world.denials().await;
            if denials.len() > 21 {
                break denials[0].clone();
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let told = tokio::time::timeout(Duration::from_secs(20), told)
        .await
        .unwrap();
    let detail = told.detail.as_deref().unwrap_or_default();
    assert!(detail.ends_with("up to this one: 10"), "{detail}");
    assert_eq!(
        (told.actor.name.as_str(), told.actor.source.as_str()),
        ("name-29", "10.6.6.6")
    );
}

async fn change(world: &World, cookie: &str, old: &str, new: &str) -> Answer {
    let body = serde_json::json!({ "old_password": old, "password": new });
    let call = Call::new("PUT", "/api/me/password")
        .header("cookie", cookie)
        .header("sec-fetch-site", "same-origin")
        .json(&body);
    world.send(call).await
}

#[tokio::test]
async fn everybody_changes_their_own_password() {
    const NEW: &str = "a battery of horses";
    let world = World::new(0).await;
    let door = world.api.sign_in().unwrap();
    let none = HeaderMap::new();
    for role in Role::ALL {
        let name = format!("{role}-x");
        add_person(&world, &name, *role).await;
        let mut cookies = Vec::new();
        for _ in 0..2 {
            let signed_in = door
                .sign_in(&name, PASSWORD.into(), "10.0.0.1", &none)
                .await;
            cookies.push(cookie_of(&signed_in.unwrap().set_cookie));
        }
        let (here, elsewhere) = (&cookies[0], &cookies[1]);
        for (old, new, code) in [
            ("not the old one", NEW, "wrong_password"),
            (PASSWORD, "short", "weak_password"),
            (PASSWORD, "password123", "weak_password"),
            (PASSWORD, PASSWORD, "weak_password"),
        ] {
            change(&world, here, old, new).await.problem(422, code);
        }
        assert_eq!(
            (status(&world, here).await, status(&world, elsewhere).await),
            (200, 200),
            "what is refused ends nothing"
        );
        let changed = change(&world, here, PASSWORD, NEW).await;
        changed.expect(204);
        let now = cookie_of(changed.header("set-cookie"));
        let all = [here, elsewhere, &now].map(|cookie| status(&world, cookie));
        let [here, elsewhere, now] = all;
        assert_eq!((here.await, elsewhere.await, now.await), (401, 401, 200));
        let old = door.sign_in(&name, PASSWORD.into(), "10.0.0.9", &none);
        assert!(matches!(old.await, Err(SignInError::Wrong)));
        let new = door.sign_in(&name, NEW.into(), "10.0.0.9", &none);
        new.await.unwrap();
        let asked = AuditQuery {
            action: Some("user.password".into()),
            actor: Some(name.clone()),
            limit: 10,
            ..AuditQuery::default()
        };
        let rows = world.store.audit_list(asked).await.unwrap();
        let results: Vec<AuditResult> = rows.iter().map(|row| row.result).collect();
        assert_eq!(
            results,
            [AuditResult::Done, AuditResult::Denied],
            "{rows:?}"
        );
        assert!(rows.iter().all(|row| row.subject.as_ref() == Some(&name)));
        assert!(!format!("{rows:?}").contains(NEW));
    }
}

#[tokio::test]
async fn an_old_password_is_not_guessed_from_a_session_left_open() {
    let world = World::new(0).await;
    add_person(&world, "anna", Role::Viewer).await;
    let door = world.api.sign_in().unwrap();
    let signed_in = door
        .sign_in("anna", PASSWORD.into(), "test", &HeaderMap::new())
        .await;
    let cookie = cookie_of(&signed_in.unwrap().set_cookie);
    let (mut wrong, mut told_to_wait) = (0, 0);
    for n in 0..30 {
        let answer = change(&world, &cookie, &format!("a guess {n}"), "a fine new one").await;
        match answer.status.as_u16() {
            422 => wrong += 1,
            429 => told_to_wait += 1,
            other => panic!("{other}: {}", answer.text()),
        }
    }
    assert!(wrong <= 10 && told_to_wait >= 20, "{wrong} were looked at");
    let early = change(&world, &cookie, PASSWORD, "a fine new one").await;
    early.problem(429, "rate_limited");
    assert!(!early.header("retry-after").is_empty());
}

#[tokio::test]
async fn a_program_has_no_password() {
    let world = World::new(0).await;
    let token = world.token(Role::Admin).await;
    let body = serde_json::json!({ "old_password": PASSWORD, "password": "a fine new one" });
    let call = Call::new("PUT", "/api/me/password");
    let answer = world.send(call.token(&token).json(&body)).await;
    answer.problem(409, "no_password");
    // Nor has somebody whom an admin gave none.
    let cookie = world.session("vera", Role::Viewer).await;
    let answer = change(&world, &cookie, "", "a fine new one").await;
    answer.problem(409, "no_password");
}

#[tokio::test]
async fn a_password_is_changed_with_a_form() {
    let world = World::new(0).await;
    add_person(&world, "carla", Role::Owner).await;
    let door = world.api.sign_in().unwrap();
    let signed_in = door
        .sign_in("carla", PASSWORD.into(), "test", &HeaderMap::new())
        .await;
    let cookie = cookie_of(&signed_in.unwrap().set_cookie);
    let send = async |body: &str| {
        let call = Call::new("POST", "/admin/account")
            .header("cookie", &cookie)
            .header("sec-fetch-site", "same-origin")
            .header("accept", "text/html")
            .header("content-type", "application/x-www-form-urlencoded");
        world.send(call.body(body.to_owned())).await
    };
    let old = PASSWORD.replace(' ', "+");
    for (old, new, again, says) in [
        (
            old.as_str(),
            "a+fine+new+one",
            "another",
            "not the same twice",
        ),
        (
            "wrong",
            "a+fine+new+one",
            "a+fine+new+one",
            "old password is wrong",
        ),
        (old.as_str(), "short", "short", "at least 8"),
    ] {
        let body = format!("old_password={old}&password={new}&again={again}");
        let answer = send(&body).await;
        assert_eq!(answer.status.as_u16(), 422);
        assert!(answer.text().contains(says), "{}", answer.text());
    }
    let body = format!("old_password={old}&password=a+fine+new+one&again=a+fine+new+one");
    let answer = send(&body).await;
    assert_eq!(answer.header("location"), "/admin/account?changed=1");
    let now = cookie_of(answer.header("set-cookie"));
    assert_eq!(
        (status(&world, &cookie).await, status(&world, &now).await),
        (401, 200)
    );
}
