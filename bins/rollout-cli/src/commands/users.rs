//! `users`

use fleet_store::{NewUser, UserRecord};
use fleet_types::{LoginName, Role, Timestamp};
use serde::Serialize;
use serde_json::json;

use super::password::new_hash;
use crate::cli::{Global, PasswordSource, UsersCommand};
use crate::context::Context;
use crate::display::table::Table;
use crate::display::words;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{Output, Paint};

/// A person as JSON shows them, here and over HTTP.
#[derive(Debug, Serialize)]
struct UserView {
    name: String,
    role: Role,
    created_at: Timestamp,
    last_sign_in_at: Option<Timestamp>,
    disabled_at: Option<Timestamp>,
    has_password: bool,
}

impl From<UserRecord> for UserView {
    fn from(record: UserRecord) -> Self {
        Self {
            name: record.name.into(),
            role: record.role,
            created_at: record.created_at,
            last_sign_in_at: record.last_sign_in_at,
            disabled_at: record.disabled_at,
            has_password: record.password.is_some(),
        }
    }
}

/// Runs one of them.
pub(crate) async fn run(
    command: UsersCommand,
    global: &Global,
    out: Output,
) -> Result<Exit, Failure> {
    let context = Context::open(global, out, Default::default()).await?;
    match command {
        UsersCommand::Add {
            name,
            role,
            password,
        } => add(&context, name, role, password).await,
        UsersCommand::List => list(&context).await,
        UsersCommand::Passwd { name, password } => passwd(&context, &name, password).await,
        UsersCommand::Disable { name } => disable(&context, &name, true).await,
        UsersCommand::Enable { name } => disable(&context, &name, false).await,
    }
}

async fn add(
    context: &Context,
    name: LoginName,
    role: Role,
    source: PasswordSource,
) -> Result<Exit, Failure> {
    if context.admin.user_get(&name).await?.is_some() {
        // Nobody types a password for nothing; the store decides all the same.
        return Err(
            Failure::refused(format!("there is a user {name} already")).help(format!(
                "rollout-cli users passwd {name} sets a new password"
            )),
        );
    }
    let user = NewUser {
        name,
        role,
        password: Some(new_hash(source, context.out).await?),
    };
    let user = context.admin.user_add(user, &context.actor).await?;
    let said = format!("added {}, {}", user.name, user.role);
    shown(context, user.into())?;
    context.out.say(said);
    context
        .out
        .next(&[("rollout-cli users list".to_owned(), "everybody")]);
    Ok(Exit::Done)
}

async fn passwd(
    context: &Context,
    name: &LoginName,
    source: PasswordSource,
) -> Result<Exit, Failure> {
    known(context, name).await?;
    let hash = new_hash(source, context.out).await?;
    context
        .admin
        .user_set_password(name, hash, &context.actor)
        .await?;
    shown(context, known(context, name).await?)?;
    context.out.say(format!(
        "{name} has a new password; sessions that were open are ended"
    ));
    Ok(Exit::Done)
}

async fn disable(context: &Context, name: &LoginName, disabled: bool) -> Result<Exit, Failure> {
    context
        .admin
        .user_disable(name, disabled, &context.actor)
        .await?;
    shown(context, known(context, name).await?)?;
    context.out.say(if disabled {
        format!("{name} is locked out: no session, no sign-in, no token that {name} made")
    } else {
        format!("{name} may sign in again")
    });
    Ok(Exit::Done)
}

async fn known(context: &Context, name: &LoginName) -> Result<UserView, Failure> {
    let user = context.admin.user_get(name).await?;
    user.map(UserView::from).ok_or_else(|| {
        Failure::refused(format!("there is no user {name}"))
            .help("rollout-cli users list shows everybody")
    })
}

fn shown(context: &Context, user: UserView) -> Result<(), Failure> {
    if context.out.json {
        context.out.object(&json!({ "user": user }))?;
    }
    Ok(())
}

async fn list(context: &Context) -> Result<Exit, Failure> {
    let users = context.admin.user_list().await?;
    let users: Vec<UserView> = users.into_iter().map(UserView::from).collect();
    if context.out.json {
        context.out.object(&json!({ "users": users }))?;
        return Ok(Exit::Done);
    }
    if users.is_empty() {
        context.out.say("nobody can sign in yet");
        context.out.next(&[(
            "rollout-cli users add NAME --role admin".to_owned(),
            "add the first admin",
        )]);
        return Ok(Exit::Done);
    }
    let mut table = Table::new(&["NAME", "ROLE", "ADDED", "LAST SIGN-IN", "STATE"]);
    for user in &users {
        let state = match (user.disabled_at, user.has_password) {
            (Some(at), _) => Paint::Red.on(format!("✗ locked out {}", words::ago(at))),
            (None, false) => Paint::Yellow.on("! no password"),
            (None, true) => format!("{} may sign in", Paint::Green.on("✓")),
        };
        table.row(vec![
            user.name.clone(),
            user.role.to_string(),
            words::ago(user.created_at),
            user.last_sign_in_at
                .map_or_else(|| "-".to_owned(), words::ago),
            state,
        ]);
    }
    context.out.data(&table.to_string())?;
    Ok(Exit::Done)
}
