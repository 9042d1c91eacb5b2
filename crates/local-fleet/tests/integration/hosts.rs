//! Hosts on which all is well: connections, commands, clones, programs.

use crate::client::{Client, End, run};
use crate::{fleet, start};
use local_fleet::{LocalFleet, LogEvent, ReleaseSpec};
use russh::Sig;

#[tokio::test]
async fn a_command_has_its_streams_apart_and_its_status() {
    let (_folder, fleet) = fleet(1).await;
    let client = Client::connect(&fleet.hosts()[0]).await;
    assert_eq!(client.host_key, fleet.hosts()[0].host_key());
    let output = client.run("echo out; echo err >&2; exit 7").await;
    assert_eq!(
        (output.stdout.as_str(), output.stderr.as_str(), output.end),
        ("out\n", "err\n", End::Status(7))
    );
    let output = client
        .exec(
            "cat; pwd; echo $USER; env | grep -c CARGO",
            "from stdin\n",
            None,
        )
        .await;
    assert_eq!(
        output.stdout,
        format!(
            "from stdin\n{}\ndemo\n0\n",
            fleet.hosts()[0].home().display()
        )
    );
    assert_eq!(output.end, End::Status(1));
    fleet.stop().await;
}

#[tokio::test]
async fn large_input_and_output_pass_whole() {
    let (_folder, fleet) = fleet(1).await;
    let client = Client::connect(&fleet.hosts()[0]).await;
    let input = "0123456789abcde\n".repeat(512 * 1024);
    let output = client.exec("cat", &input, None).await;
    assert_eq!(output.end, End::Status(0));
    assert!(
        output.stdout == input,
        "{} of {} bytes came back",
        output.stdout.len(),
        input.len()
    );
    fleet.stop().await;
}

#[tokio::test]
async fn a_channel_that_nobody_reads_stops_no_other() {
    let (_folder, fleet) = fleet(1).await;
    let client = Client::connect(&fleet.hosts()[0]).await;
    let idle = client.handle.channel_open_session().await.unwrap();
    idle.exec(true, "sleep 600").await.unwrap();
    for _ in 0..500 {
        idle.data_bytes(&b"not read by the command"[..])
            .await
            .unwrap();
    }
    assert_eq!(client.run("echo free").await.stdout, "free\n");
    fleet.stop().await;
}

#[tokio::test]
async fn signals_reach_the_whole_group() {
    let (_folder, fleet) = fleet(1).await;
    let client = Client::connect(&fleet.hosts()[0]).await;
    let output = client
        .exec(
            "sh -c 'echo up; sleep 600'; echo after",
            "",
            Some(("up", Sig::TERM)),
        )
        .await;
    assert_eq!(
        (output.stdout.as_str(), output.end),
        ("up\n", End::Signal("TERM".into()))
    );
    fleet.stop().await;
}

#[tokio::test]
async fn hosts_are_clones_that_can_be_updated_by_hand() {
    let (_folder, fleet) = fleet(3).await;
    let old = fleet.first_release();
    let new = fleet
        .add_release(ReleaseSpec::good("Second release"))
        .await
        .unwrap();
    let [first, second, _] = fleet.hosts() else {
        panic!("three hosts")
    };
    assert_eq!(first.head().await.unwrap(), old.commit);
    let script = "set -e; cd app; git fetch -q origin main; git merge -q --ff-only FETCH_HEAD; bun install; \
                  sudo -n systemctl restart app; systemctl is-active app; git rev-parse HEAD";
    let output = run(first, script).await;
    assert_eq!(output.end, End::Status(0), "{output:?}");
    assert!(
        output
            .stdout
            .ends_with(&format!("active\n{}\n", new.commit)),
        "{output:?}"
    );
    assert_eq!(first.head().await.unwrap(), new.commit);
    assert_eq!(first.changes().await.unwrap(), "");
    let state = first.service_state().await.unwrap();
    assert_eq!(
        (state.active_state.as_str(), state.sub_state.as_str()),
        ("active", "running")
    );
    assert_eq!(
        (state.commit, state.release.as_deref()),
        (Some(new.commit), Some("r2"))
    );
    assert_eq!(state.installed.as_deref(), Some("r2"));
    assert_eq!(state.installed_commit, first.installed().unwrap());
    assert_eq!(
        first.installed().unwrap(),
        Some(first.head().await.unwrap())
    );
    assert_eq!(second.head().await.unwrap(), old.commit);
    assert_eq!(
        second.service_state().await.unwrap().commit,
        Some(old.commit)
    );
    let log: Vec<_> = first
        .log()
        .unwrap()
        .into_iter()
        .map(|entry| entry.event)
        .collect();
    let began = |text: &str| {
        log.iter()
            .position(|event| *event == LogEvent::Began(text.into()))
            .unwrap()
    };
    assert!(
        began("bun install") < began("systemctl restart app"),
        "{log:?}"
    );
    assert!(log.contains(&LogEvent::Ended {
        program: "systemctl".into(),
        status: 0
    }));
    fleet.stop().await;
}

#[tokio::test]
async fn fifty_hosts_start() {
    let began = std::time::Instant::now();
    let (_folder, fleet) = start(
        LocalFleet::builder()
            .hosts(50)
            .names(|i| format!("web-{i}.example")),
    )
    .await;
    eprintln!("50 hosts started in {:?}", began.elapsed());
    let mut tasks = tokio::task::JoinSet::new();
    for host in fleet.hosts().to_vec() {
        tasks.spawn(async move {
            run(
                &host,
                "cd app && git status --porcelain && git rev-parse HEAD",
            )
            .await
            .stdout
        });
    }
    let heads = tasks.join_all().await;
    assert_eq!(heads.len(), 50);
    let expected = format!("{}\n", fleet.first_release().commit);
    assert!(heads.iter().all(|head| *head == expected), "{heads:?}");
    fleet.stop().await;
}
