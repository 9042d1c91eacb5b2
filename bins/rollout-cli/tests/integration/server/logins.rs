//! Servers that cannot be reached or do not let us in, and what is refused before anything is sent.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;

use super::Served;
use crate::support::{Place, Ran};

/// Three lines at most, and nothing of the token.
fn is_short(ran: &Ran) {
    assert!(ran.stderr.lines().count() <= 3, "{ran:#?}");
    assert!(!ran.stderr.contains("rlt_"), "{ran:#?}");
    assert_eq!(ran.stdout, "", "{ran:#?}");
}

fn place() -> Place {
    let place = Place::new();
    let token = place.write("token", "rlt_abc\n");
    fs::set_permissions(token, fs::Permissions::from_mode(0o600)).unwrap();
    place
}

#[test]
fn nothing_is_sent_that_cannot_be_right() {
    let place = place();
    let open = place.write("open", "rlt_abc\n");
    fs::set_permissions(open, fs::Permissions::from_mode(0o644)).unwrap();
    let before = place.content();
    let here = "http://127.0.0.1:1";
    for (arguments, word) in [
        (vec!["--server", here, "status"], "no token"),
        (
            vec!["--server", here, "--token-file", "open", "status"],
            "644",
        ),
        (
            vec!["--server", here, "--token-file", "absent", "status"],
            "absent",
        ),
        (
            vec![
                "--server",
                "http://192.0.2.1",
                "--token-file",
                "token",
                "status",
            ],
            "not encrypted",
        ),
        (
            vec!["--server", "192.0.2.1", "--token-file", "token", "status"],
            "address",
        ),
        (
            vec!["--server", here, "--database-url", "sqlite://x", "status"],
            "--database-url",
        ),
    ] {
        let ran = place.expect(2, &arguments);
        is_short(&ran);
        assert!(ran.stderr.contains(word), "{arguments:?}: {ran:#?}");
    }
    let ran = Ran::of(
        place
            .command(&["status"])
            .env("ROLLOUT_SERVER", here)
            .env("ROLLOUT_DATABASE_URL", "sqlite://x")
            .output()
            .unwrap(),
    );
    assert_eq!(ran.code, 2, "{ran:#?}");
    assert!(ran.stderr.contains("both set"), "{ran:#?}");
    assert_eq!(place.content(), before);
}

#[test]
fn a_server_that_is_not_there_is_told_from_one_that_refuses() {
    let place = place();
    let url = format!("http://127.0.0.1:{}", fleet_testkit::free_port());
    for command in ["status", "update --all -y", "hosts list", "doctor"] {
        let mut arguments = vec!["--server", &url, "--token-file", "token"];
        arguments.extend(command.split(' '));
        let ran = place.expect(6, &arguments);
        let said = format!("{}{}", ran.stdout, ran.stderr);
        assert!(said.contains("cannot be reached"), "{ran:#?}");
    }
}

#[test]
fn no_proxy_sees_the_token_of_this_machine() {
    let served = Served::new(1, "");
    let proxy = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", proxy.local_addr().unwrap());
    proxy.set_nonblocking(true).unwrap();
    let mut command = served.command(&["status"]);
    for variable in ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"] {
        command.env(variable, &address);
    }
    let ran = Ran::of(command.output().unwrap());
    assert_eq!(ran.code, 0, "{ran:#?}");
    assert!(proxy.accept().is_err(), "nobody came by the proxy");
}

#[test]
fn a_refused_login_is_asked_for_once() {
    let served = Served::new(1, "");
    served.site.place.write("token", "rlt_wrong");
    served.expect(6, &["watch"]);
    let denied = served.site.place.json(&["audit", "--action", "access"]);
    assert_eq!(denied["entries"].as_array().unwrap().len(), 1, "{denied}");
}

#[test]
fn what_answers_must_be_a_rollout_server() {
    let place = place();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let other = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut read = [0; 4096];
        let _ = stream.read(&mut read).unwrap();
        let page = "<html>hello</html>";
        let answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{page}",
            page.len()
        );
        stream.write_all(answer.as_bytes()).unwrap();
    });
    let ran = place.expect(6, &["--server", &url, "--token-file", "token", "status"]);
    is_short(&ran);
    assert!(ran.stderr.contains("is no rollout-server"), "{ran:#?}");
    other.join().unwrap();
}

#[test]
fn a_token_lets_in_for_what_its_role_may() {
    let served = Served::new(2, "");
    let doctor = served.expect(0, &["doctor"]);
    assert!(doctor.stdout.contains("robot, admin"), "{doctor:#?}");
    // From the environment, as a CI job has it.
    let token = fs::read_to_string(served.site.place.path("token")).unwrap();
    let ran = Ran::of(
        served
            .site
            .place
            .command(&["hosts", "list"])
            .env("ROLLOUT_SERVER", served.url())
            .env("ROLLOUT_TOKEN", &token)
            .output()
            .unwrap(),
    );
    assert_eq!(ran.code, 0, "{ran:#?}");
    assert!(ran.stdout.contains("web-01"), "{ran:#?}");

    let viewer = served
        .site
        .place
        .json(&["tokens", "create", "eyes", "--role", "viewer"]);
    served.keep_token("token", &viewer);
    served.expect(0, &["status"]);
    served.expect(0, &["hosts", "show", "web-01"]);
    for command in [
        "update --all -y",
        "hosts remove web-01 -y",
        "users list",
        "hosts export",
    ] {
        let ran = served.expect(8, &command.split(' ').collect::<Vec<_>>());
        is_short(&ran);
        assert!(ran.stderr.contains("viewer may not"), "{ran:#?}");
    }
    served.site.place.expect(0, &["tokens", "revoke", "eyes"]);
    let ran = served.expect(6, &["status"]);
    is_short(&ran);
    assert!(ran.stderr.contains("refuses the login"), "{ran:#?}");
}
