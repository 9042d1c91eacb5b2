//! Answers that get lost on the way: what was asked for once is done once.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use local_fleet::ReleaseSpec;

use super::Served;

/// Passes requests on, and loses the first answers to requests whose first line holds the words. Returns its address, and
/// how many it lost.
fn lossy(server: String, words: &'static str, losses: usize) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let lost = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&lost);
    std::thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let (server, counted) = (server.clone(), Arc::clone(&counted));
            std::thread::spawn(move || pass_on(client, &server, words, losses, &counted));
        }
    });
    (address, lost)
}

fn pass_on(
    mut client: TcpStream,
    server: &str,
    words: &str,
    losses: usize,
    lost: &AtomicUsize,
) -> Option<()> {
    let mut upstream = TcpStream::connect(server).ok()?;
    let mut answers = upstream.try_clone().ok()?;
    let mut back = client.try_clone().ok()?;
    let loses = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let losing = Arc::clone(&loses);
    let answering = std::thread::spawn(move || {
        let mut part = [0; 65536];
        while let Ok(read @ 1..) = answers.read(&mut part) {
            if losing.load(Ordering::SeqCst) {
                let _ = back.shutdown(Shutdown::Both);
                return;
            }
            if back.write_all(&part[..read]).is_err() {
                return;
            }
        }
        let _ = back.shutdown(Shutdown::Both);
    });
    let mut part = [0; 65536];
    while let Ok(read @ 1..) = client.read(&mut part) {
        let text = String::from_utf8_lossy(&part[..read]).into_owned();
        if text.lines().next().unwrap_or_default().contains(words)
            && lost.load(Ordering::SeqCst) < losses
        {
            lost.fetch_add(1, Ordering::SeqCst);
            loses.store(true, Ordering::SeqCst);
        }
        upstream.write_all(&part[..read]).ok()?;
    }
    let _ = upstream.shutdown(Shutdown::Both);
    answering.join().ok()
}

#[test]
fn a_trigger_whose_answer_is_lost_starts_one_rollout() {
    let served = Served::new(2, "[rollout]\nsettle = 0\n");
    let target = served.site.release(ReleaseSpec::good("two"));
    let (address, lost) = lossy(served.address.clone(), "/api/updates/trigger", 2);
    let url = format!("http://{address}");
    let ran = served.site.place.expect(
        0,
        &[
            "--server",
            &url,
            "--token-file",
            "token",
            "update",
            "--all",
            "-y",
        ],
    );
    assert_eq!(lost.load(Ordering::SeqCst), 2, "{ran:#?}");
    let rollouts = served.site.place.json(&["rollouts", "list"]);
    assert_eq!(rollouts["rollouts"].as_array().unwrap().len(), 1);
    assert_eq!(served.site.heads(), vec![target; 2]);
}

#[test]
fn a_trigger_whose_answers_are_all_lost_is_told_as_what_it_is() {
    let served = Served::new(1, "");
    let (address, lost) = lossy(served.address.clone(), "/api/updates/trigger", 99);
    let url = format!("http://{address}");
    let ran = served.site.place.expect(
        6,
        &[
            "--server",
            &url,
            "--token-file",
            "token",
            "update",
            "--all",
            "-y",
        ],
    );
    assert!(ran.stderr.contains("may have been carried out"), "{ran:#?}");
    assert!(lost.load(Ordering::SeqCst) > 1, "{ran:#?}");
    let rollouts = served.site.place.json(&["rollouts", "list"]);
    assert_eq!(rollouts["rollouts"].as_array().unwrap().len(), 1);
}

#[test]
fn a_change_whose_answer_is_lost_is_not_sent_again() {
    let served = Served::new(1, "");
    let (address, lost) = lossy(served.address.clone(), "POST /api/hosts ", 9);
    let url = format!("http://{address}");
    let words = "hosts add new-1 --address 192.0.2.1 --repo /srv/one";
    let mut arguments = vec!["--server", &url, "--token-file", "token"];
    arguments.extend(words.split(' '));
    let ran = served.site.place.expect(6, &arguments);
    assert!(ran.stderr.contains("may have been carried out"), "{ran:#?}");
    assert_eq!(lost.load(Ordering::SeqCst), 1, "{ran:#?}");
}
