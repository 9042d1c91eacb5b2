//! The two trees of migrations end in the same tables.

use std::collections::BTreeSet;

use diesel::prelude::*;
use diesel::sql_types::{Bool, Text};
use fleet_store::{DieselStore, StoreOptions};

use crate::place::Place;

#[derive(QueryableByName, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Column {
    #[diesel(sql_type = Text)]
    of: String,
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Text)]
    kind: String,
    #[diesel(sql_type = Bool)]
    required: bool,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_databases_end_in_the_same_tables() {
    let Some(postgres) = Place::postgres().await else {
        return;
    };
    let sqlite = Place::file();
    for place in [&postgres, &sqlite] {
        DieselStore::open(place.url(), StoreOptions::default())
            .await
            .unwrap();
    }
    let there = sqlite_columns(sqlite.url().strip_prefix("sqlite://").unwrap());
    let here = postgres_columns(postgres.url()).await;
    let missing: Vec<_> = there.symmetric_difference(&here).collect();
    assert!(missing.is_empty(), "in one only: {missing:#?}");
    assert!(there.len() > 100, "{} columns", there.len());
}

fn sqlite_columns(path: &str) -> BTreeSet<Column> {
    let mut conn = SqliteConnection::establish(path).unwrap();
    let sql = "SELECT t.name AS of, c.name AS name, c.type AS kind, c.\"notnull\" AS required \
               FROM sqlite_master t, pragma_table_info(t.name) c \
               WHERE t.type = 'table' AND t.name NOT LIKE '\\_\\_%' ESCAPE '\\' AND t.name NOT LIKE 'sqlite%'";
    let rows: Vec<Column> = diesel::sql_query(sql).load(&mut conn).unwrap();
    rows.into_iter().collect()
}

async fn postgres_columns(url: &str) -> BTreeSet<Column> {
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls)
        .await
        .unwrap();
    tokio::spawn(connection);
    let sql = "SELECT table_name::text, column_name::text, data_type::text, is_nullable = 'NO' \
               FROM information_schema.columns \
               WHERE table_schema = 'public' AND table_name NOT LIKE '\\_\\_%'";
    let rows = client.query(sql, &[]).await.unwrap();
    let column = |row: &tokio_postgres::Row| {
        let kind: String = row.get(2);
        let kind = match kind.as_str() {
            "bigint" | "boolean" => "INTEGER",
            "text" => "TEXT",
            other => panic!("{other} has no likeness on SQLite"),
        };
        Column {
            of: row.get(0),
            name: row.get(1),
            kind: kind.to_owned(),
            required: row.get(3),
        }
    };
    rows.iter().map(column).collect()
}
