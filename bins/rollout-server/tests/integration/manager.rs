//! What the service manager hears.

use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use rustix::process::Signal;

use crate::support::Site;

fn hear(socket: &UnixDatagram, wanted: &str) -> String {
    let mut heard = String::new();
    let mut buffer = [0; 4096];
    while !heard.contains(wanted) {
        let length = socket
            .recv(&mut buffer)
            .unwrap_or_else(|error| panic!("{wanted:?} was not heard, but {heard:?}: {error}"));
        heard.push_str(&String::from_utf8_lossy(&buffer[..length]));
        heard.push('\n');
    }
    heard
}

#[tokio::test(flavor = "multi_thread")]
async fn it_tells_when_it_is_ready_alive_and_stopping() {
    let site = Site::without_hosts().await;
    let path = site.path("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    let mut server = site
        .serve_with(&[], |command| {
            command
                .env("NOTIFY_SOCKET", &path)
                .env("WATCHDOG_USEC", "30000000");
        })
        .await;
    hear(&socket, "READY=1");
    hear(&socket, "STATUS=0 hosts, no rollout");
    hear(&socket, "WATCHDOG=1");
    server.signal(Signal::TERM);
    hear(&socket, "STOPPING=1");
    assert!(server.ended().await.0.success());
}
