//! The built server as a process of its own, with real SSH hosts and a real database, over HTTP.
#![expect(clippy::unwrap_used, reason = "tests")]

/// These cases on every kind of database that the server runs on.
macro_rules! on_each_database {
    ($($case:ident)+) => {
        mod sqlite {
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $case() {
                    super::$case(crate::support::Base::Sqlite).await;
                }
            )+
        }

        mod postgres {
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $case() {
                    if !fleet_testkit::is_left_out("postgres") {
                        super::$case(crate::support::Base::Postgres).await;
                    }
                }
            )+
        }
    };
}

mod crash;
mod demo;
mod full_disk;
mod health;
mod kills;
mod limits;
mod line;
mod log;
mod log_lines;
mod manager;
mod nemesis;
mod readiness;
mod refusals;
mod retention;
mod several;
mod silence;
mod soak;
mod stop;
mod support;
mod upgrade;
