//! TLS to a real PostgreSQL server, with certificates of the test's own.

use std::path::{Path, PathBuf};

use fleet_store::{DieselStore, Password, StoreError, StoreOptions, protection};
use fleet_testkit::{Postgres, PostgresOptions, is_left_out};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};

/// Everybody but the superuser needs a password.
const WHO_MAY_COME_IN: &str = "\
host all postgres 127.0.0.1/32 trust
hostssl all all 127.0.0.1/32 scram-sha-256
";

/// The store's user, on a database of its own.
const STORE_USER: &str = "CREATE USER fleet PASSWORD 's3cret'";

fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A server that speaks TLS with a certificate for these names, good until the end of a year.
fn server(authority: &CertifiedIssuer<'static, KeyPair>, names: &[&str], until: i32) -> Postgres {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(until, 12, 31);
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, authority).unwrap();
    let options = PostgresOptions::default()
        .setting("ssl = on")
        .file("server.crt", certificate.pem())
        .file("server.key", key.serialize_pem())
        .file("pg_hba.conf", WHO_MAY_COME_IN);
    Postgres::start(&options)
}

fn roots(folder: &Path, name: &str, authority: &CertifiedIssuer<'static, KeyPair>) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, authority.pem()).unwrap();
    path
}

async fn open(url: &str) -> Result<DieselStore, StoreError> {
    DieselStore::open(url, StoreOptions::default()).await
}

/// The store comes up and works, over TLS or not as expected.
async fn assert_opens(server: &Postgres, url: &str, protected: bool) {
    let opened = open(url).await;
    let store = opened.unwrap_or_else(|error| panic!("{url}: {error}"));
    assert!(store.consistency_check().await.unwrap().is_empty());
    let database = url.split('?').next().unwrap().rsplit('/').next().unwrap();
    let counted = server.sql(
        database,
        "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
         WHERE application_name = 'rollout' AND datname = current_database()",
    );
    assert_eq!(counted.trim(), if protected { "t" } else { "f" }, "{url}");
}

/// It is refused with a cause and a help that name these.
async fn assert_refused(url: &str, why: &str, what_to_do: &str) {
    match open(url).await {
        Err(StoreError::Tls { cause, help, .. }) => {
            assert!(cause.contains(why), "{url}: {cause}");
            assert!(help.contains(what_to_do), "{url}: {help}");
            assert!(!format!("{cause}{help}").contains('\n'), "{cause}{help}");
        }
        other => panic!("{url}: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_are_looked_at_as_far_as_was_asked() {
    if is_left_out("postgres") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (ours, other) = (authority("ours"), authority("another"));
    let known = roots(folder.path(), "ours.pem", &ours);
    let known = known.display();
    let unknown = roots(folder.path(), "another.pem", &other);
    let unknown = unknown.display();
    let server = server(&ours, &["localhost", "127.0.0.1", "db.example.org"], 2099);
    let port = server.port();
    let url = |host: &str, asked: &str| {
        let database = server.new_database();
        format!("postgres://postgres@{host}:{port}/{database}?hostaddr=127.0.0.1{asked}")
    };

    for (host, asked, protected) in [
        (
            "127.0.0.1",
            "&sslmode=verify-full&sslrootcert={known}",
            true,
        ),
        (
            "localhost",
            "&sslmode=verify-full&sslrootcert={known}",
            true,
        ),
        // Nothing said: a host that is not this machine is checked in full.
        ("db.example.org", "&sslrootcert={known}", true),
        (
            "wrong.example.org",
            "&sslmode=verify-ca&sslrootcert={known}",
            true,
        ),
        ("wrong.example.org", "&sslmode=require", true),
        ("wrong.example.org", "&sslmode=prefer", true),
        ("wrong.example.org", "&sslmode=disable", false),
        ("127.0.0.1", "", false),
    ] {
        let asked = asked.replace("{known}", &known.to_string());
        assert_opens(&server, &url(host, &asked), protected).await;
    }

    let trusts_another = "issued by nobody that is trusted";
    for (host, asked, why, what_to_do) in [
        (
            "wrong.example.org",
            "&sslrootcert={known}",
            "for another name",
            "subjectAltName",
        ),
        (
            "10.0.0.7",
            "&sslrootcert={known}",
            "for another name",
            "subjectAltName",
        ),
        (
            "db.example.org",
            "&sslrootcert={unknown}",
            trusts_another,
            "sslrootcert=",
        ),
        (
            "db.example.org",
            "&sslmode=verify-ca&sslrootcert={unknown}",
            trusts_another,
            "sslrootcert=",
        ),
        // A file that was named counts, as with libpq.
        (
            "db.example.org",
            "&sslmode=require&sslrootcert={unknown}",
            trusts_another,
            "sslrootcert=",
        ),
        ("db.example.org", "", trusts_another, "sslrootcert="),
        (
            "db.example.org",
            "&sslrootcert=/no/such/file",
            "/no/such/file",
            "PEM",
        ),
    ] {
        let asked = asked
            .replace("{known}", &known.to_string())
            .replace("{unknown}", &unknown.to_string());
        assert_refused(&url(host, &asked), why, what_to_do).await;
    }

    // Nobody gets in without a password, nor without TLS.
    server.sql("postgres", STORE_USER);
    let database = server.new_database();
    server.sql(&database, "GRANT ALL ON SCHEMA public TO fleet");
    let url = |mode: &str| format!("postgres://fleet@127.0.0.1:{port}/{database}?sslmode={mode}");
    assert_refused(&url("disable"), "without TLS", "sslmode=verify-full").await;
    let strict = format!("{}&sslrootcert={known}", url("verify-full"));
    let with = |password: &str| StoreOptions {
        password: Some(Password::new(password)),
        ..StoreOptions::default()
    };
    DieselStore::open(&strict, with("s3cret")).await.unwrap();
    let refused = DieselStore::open(&strict, with("wr0ng")).await.unwrap_err();
    let said = format!("{refused} {refused:?} {:?}", with("wr0ng"));
    assert!(said.contains("password authentication failed"), "{said}");
    assert!(!said.contains("wr0ng"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_that_are_out_of_date_are_refused() {
    if is_left_out("postgres") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let ours = authority("ours");
    let known = roots(folder.path(), "ours.pem", &ours);
    let server = server(&ours, &["127.0.0.1"], 2024);
    let database = server.new_database();
    for mode in ["verify-ca", "verify-full"] {
        let url = format!(
            "{}?sslmode={mode}&sslrootcert={}",
            server.url(&database),
            known.display()
        );
        assert_refused(&url, "has expired", "new certificate").await;
    }
    let url = format!("{}?sslmode=require", server.url(&database));
    assert_opens(&server, &url, true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_without_tls_is_refused_unless_it_need_not() {
    if is_left_out("postgres") {
        return;
    }
    // Of its own, so that no other test's connections are counted.
    let server = Postgres::start(&PostgresOptions::default());
    let database = server.new_database();
    let url = server.url(&database);
    for mode in ["require", "verify-ca", "verify-full"] {
        let asked = format!("{url}?sslmode={mode}");
        assert_refused(&asked, "does not speak TLS", "ssl = on").await;
    }
    let remote = url.replace("127.0.0.1", "db.example.org") + "?hostaddr=127.0.0.1";
    assert_refused(&remote, "sslmode=verify-full", "sslmode=disable").await;
    for mode in ["disable", "prefer"] {
        assert_opens(&server, &format!("{url}?sslmode={mode}"), false).await;
    }
    let socket = server.socket_folder().display().to_string();
    let port = server.port();
    let socket = format!(
        "postgres://postgres@{}:{port}/{database}?sslmode=verify-full",
        socket.replace('/', "%2F")
    );
    assert_opens(&server, &socket, false).await;
}

#[test]
fn a_host_that_is_not_this_machine_is_checked_unless_said_otherwise() {
    for (rest, mode) in [
        ("db.example.org/app", "verify-full"),
        ("10.0.0.7/app", "verify-full"),
        ("127.0.0.1:5433/app", "disable"),
        ("[::1]/app", "disable"),
        ("LocalHost/app", "disable"),
        ("localhost.example.org/app", "verify-full"),
        ("localhost,db/app", "verify-full"),
        ("localhost/app?sslrootcert=/x", "verify-full"),
        ("%2Frun%2Fpostgresql/app?sslmode=require", "disable"),
        ("db/app?sslmode=disable", "disable"),
        ("db/app?user=u&sslmode=verify%2Dca", "verify-ca"),
        ("db/app?sslmode=prefer&sslrootcert=system", "prefer"),
        ("localhost/app?hostaddr=10.0.0.7", "verify-full"),
        ("localhost/app?hostaddr=127.0.0.2", "disable"),
        ("db/app?hostaddr=127.0.0.1", "verify-full"),
    ] {
        let url = format!("postgres://u:s?sslmode=disable@{rest}");
        assert_eq!(protection(&url).unwrap(), mode, "{rest}");
    }
}

#[tokio::test]
async fn what_is_wrong_about_tls_is_refused_and_a_password_is_never_shown() {
    for wrong in [
        "sslmode=nonsense",
        "sslmode=allow",
        "sslmode=",
        "sslmode=%",
        "sslmode=%2",
        "sslmode=ä%zz",
        "sslmode",
        "sslrootcert=ca.pem",
        "sslrootcert=/no/such/file",
        "host=/run/postgresql&hostaddr=10.0.0.7,10.0.0.8&sslmode=verify-full",
    ] {
        let refused = open(&format!("postgres://u:secret@db.example.org/app?{wrong}")).await;
        let refused = refused.unwrap_err();
        assert!(matches!(refused, StoreError::Tls { .. }), "{refused}");
        assert!(!format!("{refused:?} {refused}").contains("secret"));
        // What is no escape stays as it is.
        if wrong.starts_with("sslmode=%") {
            assert!(
                refused.to_string().contains(&wrong["sslmode=".len()..]),
                "{refused}"
            );
        }
    }
    // Where the password ends is not clear, or nothing has a name that a certificate could be for.
    for wrong in [
        "u:sec@ret@db.example.org/app",
        "u:sec@re/t@db.example.org/app",
        "db.example.org/app?user=u&password=sec@ret",
        "db.example.org:5432/app?password=sec@ret",
        "db.example.org:5432/app?user=u@x&password=secret",
        "db.example.org/app?user=u@x&password=secret",
        "[::1]:5432/app?user=u&password=sec@ret",
        "[2001:db8::7]/app?user=u&password=sec@ret",
        "h1:5432,h2:5432/app?user=u&pass%77ord=sec@ret",
        "u:secret@:5433/app?hostaddr=10.0.0.7",
        "u:secret@/app?host=&hostaddr=10.0.0.7",
    ] {
        let refused = open(&format!("postgres://{wrong}")).await.unwrap_err();
        assert!(
            matches!(refused, StoreError::Url { .. }),
            "{wrong}: {refused}"
        );
        let told = format!("{refused:?} {refused}");
        assert!(!told.contains("ret"), "{told}");
    }
    // What can only be meant in one way is taken.
    for right in [
        "u:12/abc=@127.0.0.1/app",
        "u:/q+3=@127.0.0.1/app",
        "u:s?x&y=z:@127.0.0.1/app",
        "u@127.0.0.1/app?application_name=x@y&user=u",
        "u@[::1]:5433,127.0.0.1/app",
    ] {
        assert_eq!(
            protection(&format!("postgres://{right}")).unwrap(),
            "disable"
        );
    }
    // Nobody listens there.
    let told = open("postgres://u:secret@127.0.0.1:1/app")
        .await
        .unwrap_err();
    let told = format!("{told:?} {told}");
    assert!(told.contains("postgres://u@127.0.0.1:1/app"), "{told}");
    assert!(!told.contains("secret"), "{told}");
    let refused = open("postgres://u:secret@:x/").await.unwrap_err();
    assert!(!format!("{refused:?} {refused}").contains("secret"));
}
