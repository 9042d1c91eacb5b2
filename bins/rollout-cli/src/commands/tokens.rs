//! `tokens`

use std::time::Duration;

use access_secrets::new_token;
use fleet_store::{NewToken, TokenRecord};
use fleet_types::{LoginName, Role, Timestamp, TokenId};
use serde::Serialize;
use serde_json::json;
use uuid::Uuid;

use crate::cli::{Global, TokensCommand};
use crate::context::Context;
use crate::display::table::Table;
use crate::display::words;
use crate::exit::Exit;
use crate::failure::{Failure, one_line};
use crate::output::{Output, Paint};

/// A token as JSON shows it, here and over HTTP; without its secret.
#[derive(Debug, Serialize)]
struct TokenView {
    id: TokenId,
    name: String,
    role: Role,
    created_by: String,
    created_at: Timestamp,
    expires_at: Option<Timestamp>,
    last_used_at: Option<Timestamp>,
    revoked_at: Option<Timestamp>,
}

impl From<TokenRecord> for TokenView {
    fn from(record: TokenRecord) -> Self {
        Self {
            id: record.id,
            name: record.name.into(),
            role: record.role,
            created_by: record.created_by,
            created_at: record.created_at,
            expires_at: record.expires_at,
            last_used_at: record.last_used_at,
            revoked_at: record.revoked_at,
        }
    }
}

/// Runs one of them.
pub(crate) async fn run(
    command: TokensCommand,
    global: &Global,
    out: Output,
) -> Result<Exit, Failure> {
    let context = Context::open(global, out, Default::default()).await?;
    match command {
        TokensCommand::Create {
            name,
            role,
            expires,
        } => create(&context, name, role, expires).await,
        TokensCommand::List => list(&context).await,
        TokensCommand::Revoke { token } => revoke(&context, &token).await,
    }
}

async fn create(
    context: &Context,
    name: LoginName,
    role: Role,
    expires: Option<Duration>,
) -> Result<Exit, Failure> {
    let secret = new_token().map_err(Failure::unexpected)?;
    let token = NewToken {
        id: TokenId(Uuid::now_v7()),
        name,
        role,
        secret: secret.hash,
        expires_at: expires.map(|life| later(words::now(), life)),
    };
    let made = context.admin.token_create(token, &context.actor).await?;
    if context.out.json {
        context
            .out
            .object(&json!({ "id": made.id, "token": secret.text }))?;
    } else {
        context
            .out
            .data(&format!("id     {}\ntoken  {}\n", made.id, secret.text))?;
    }
    let end = match made.expires_at {
        Some(at) => format!("it ends on {}", words::moment(at)),
        None => "it holds until it is revoked".to_owned(),
    };
    context.out.say(format!(
        "this token of {}, {}, is not shown again; {end}",
        made.name, made.role
    ));
    context.out.next(&[(
        format!("rollout-cli tokens revoke {}", made.name),
        "end it at once",
    )]);
    Ok(Exit::Done)
}

fn later(moment: Timestamp, time: Duration) -> Timestamp {
    let time = i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
    Timestamp(moment.0.saturating_add(time))
}

async fn revoke(context: &Context, wanted: &str) -> Result<Exit, Failure> {
    let id = match wanted.parse::<TokenId>() {
        Ok(id) => id,
        Err(_) => named(context, wanted).await?,
    };
    context.admin.token_revoke(id, &context.actor).await?;
    if context.out.json {
        context.out.object(&json!({ "revoked": id }))?;
    }
    context
        .out
        .say(format!("token {id} is revoked, on every server at once"));
    Ok(Exit::Done)
}

/// The token in force with this name; there is one at most.
async fn named(context: &Context, name: &str) -> Result<TokenId, Failure> {
    let tokens = context.admin.token_list().await?;
    let found = tokens
        .iter()
        .find(|token| token.name.as_str() == name && token.revoked_at.is_none());
    found.map(|token| token.id).ok_or_else(|| {
        Failure::refused(format!("there is no token {name} in force"))
            .help("rollout-cli tokens list shows them")
    })
}

async fn list(context: &Context) -> Result<Exit, Failure> {
    let tokens = context.admin.token_list().await?;
    let tokens: Vec<TokenView> = tokens.into_iter().map(TokenView::from).collect();
    if context.out.json {
        context.out.object(&json!({ "tokens": tokens }))?;
        return Ok(Exit::Done);
    }
    if tokens.is_empty() {
        context.out.say("there is no token yet");
        context.out.next(&[(
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
    context.out.data(&table.to_string())?;
    Ok(Exit::Done)
}

fn state(token: &TokenView, now: Timestamp) -> String {
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
