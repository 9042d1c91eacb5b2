//! `tokens`

use std::time::Duration;

use fleet_types::view::Token;
use fleet_types::{LoginName, Role, Timestamp, TokenId};
use serde_json::json;

use crate::cli::{Global, TokensCommand};
use crate::display::table::Table;
use crate::display::words;
use crate::exit::Exit;
use crate::failure::{Failure, one_line};
use crate::fleet::{Fleet, Place};
use crate::output::{Output, Paint};

/// Runs one of them.
pub(crate) async fn run(
    command: TokensCommand,
    global: &Global,
    out: Output,
) -> Result<Exit, Failure> {
    let place = Place::open(global, out, Default::default()).await?;
    let fleet = &*place.fleet();
    match command {
        TokensCommand::Create {
            name,
            role,
            expires,
        } => create(fleet, out, name, role, expires).await,
        TokensCommand::List => list(fleet, out).await,
        TokensCommand::Revoke { token } => revoke(fleet, out, &token).await,
    }
}

async fn create(
    fleet: &dyn Fleet,
    out: Output,
    name: LoginName,
    role: Role,
    expires: Option<Duration>,
) -> Result<Exit, Failure> {
    let expires_at = expires.map(|life| later(words::now(), life));
    let made = fleet.create_token(name.clone(), role, expires_at).await?;
    if out.json {
        out.object(&json!({ "id": made.id, "token": made.token }))?;
    } else {
        out.data(&format!("id     {}\ntoken  {}\n", made.id, made.token))?;
    }
    let end = match made.expires_at {
        Some(at) => format!("it ends on {}", words::moment(at)),
        None => "it holds until it is revoked".to_owned(),
    };
    out.say(format!(
        "this token of {name}, {role}, is not shown again; {end}"
    ));
    out.next(&[(
        format!("rollout-cli tokens revoke {name}"),
        "end it at once",
    )]);
    Ok(Exit::Done)
}

fn later(moment: Timestamp, time: Duration) -> Timestamp {
    let time = i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
    Timestamp(moment.0.saturating_add(time))
}

async fn revoke(fleet: &dyn Fleet, out: Output, wanted: &str) -> Result<Exit, Failure> {
    let id = match wanted.parse::<TokenId>() {
        Ok(id) => id,
        Err(_) => named(fleet, wanted).await?,
    };
    fleet.revoke_token(id).await?;
    if out.json {
        out.object(&json!({ "revoked": id }))?;
    }
    out.say(format!("token {id} is revoked, on every server at once"));
    Ok(Exit::Done)
}

/// The token in force with this name; there is one at most.
async fn named(fleet: &dyn Fleet, name: &str) -> Result<TokenId, Failure> {
    let tokens = fleet.tokens().await?;
    let found = tokens
        .iter()
        .find(|token| token.name == name && token.revoked_at.is_none());
    found.map(|token| token.id).ok_or_else(|| {
        Failure::refused(format!("there is no token {name} in force"))
            .help("rollout-cli tokens list shows them")
    })
}

async fn list(fleet: &dyn Fleet, out: Output) -> Result<Exit, Failure> {
    let tokens = fleet.tokens().await?;
    if out.json {
        out.object(&json!({ "tokens": tokens }))?;
        return Ok(Exit::Done);
    }
    if tokens.is_empty() {
        out.say("there is no token yet");
        out.next(&[(
            "rollout-cli tokens create NAME --role operator".to_owned(),
            "make one",
        )]);
        return Ok(Exit::Done);
    }
    let mut table = Table::new(&["NAME", "ROLE", "STATE", "LAST USED", "MADE", "BY", "ID"]);
    let now = words::now();
    for token in &tokens {
        table.row(vec![
            token.name.clone(),
            token.role.to_string(),
            state(token, now),
            token
                .last_used_at
                .map_or_else(|| "-".to_owned(), words::ago),
            words::ago(token.created_at),
            one_line(&token.created_by),
            token.id.to_string(),
        ]);
    }
    out.data(&table.to_string())?;
    Ok(Exit::Done)
}

fn state(token: &Token, now: Timestamp) -> String {
    match (token.revoked_at, token.expires_at) {
        (Some(at), _) => Paint::Dim.on(format!("– revoked {}", words::ago(at))),
        (None, Some(at)) if at <= now => Paint::Dim.on(format!("– expired {}", words::ago(at))),
        (None, Some(at)) => {
            let until = words::moment(at);
            format!("{} until {until}", Paint::Green.on("✓"))
        }
        (None, None) => format!("{} until revoked", Paint::Green.on("✓")),
    }
}
