//! One suite, run on SQLite in memory with calls inline, on an SQLite file with threads, and on PostgreSQL.

use crate::place::Place;

mod lifecycle;

macro_rules! cases {
    ($($module:ident: $($case:ident)+;)+) => {
        mod memory {
            $($(
                #[tokio::test]
                async fn $case() {
                    super::$module::$case(&super::Place::memory()).await;
                }
            )+)+
        }
        cases!(shared sqlite postgres: $($module: $($case)+;)+);
    };
    (shared $sqlite:ident $postgres:ident: $($module:ident: $($case:ident)+;)+) => {
        mod $sqlite {
            $($(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    super::$module::$case(&super::Place::file()).await;
                }
            )+)+
        }
        mod $postgres {
            $($(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    if let Some(place) = super::Place::postgres().await {
                        super::$module::$case(&place).await;
                    }
                }
            )+)+
        }
    };
}

cases! {
    lifecycle: goes_through;
}
