//! `users`

use fleet_types::view::User;
use fleet_types::{LoginName, Role};
use serde_json::json;

use super::password::new_password;
use crate::cli::{Global, PasswordSource, UsersCommand};
use crate::display::table::Table;
use crate::display::words;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::fleet::{Fleet, Place};
use crate::output::{Output, Paint};

/// Runs one of them.
pub(crate) async fn run(
    command: UsersCommand,
    global: &Global,
    out: Output,
) -> Result<Exit, Failure> {
    let place = Place::open(global, out, Default::default()).await?;
    let fleet = &*place.fleet();
    match command {
        UsersCommand::Add {
            name,
            role,
            password,
        } => add(fleet, out, name, role, password).await,
        UsersCommand::List => list(fleet, out).await,
        UsersCommand::Passwd { name, password } => passwd(fleet, out, &name, password).await,
        UsersCommand::Disable { name } => disable(fleet, out, &name, true).await,
        UsersCommand::Enable { name } => disable(fleet, out, &name, false).await,
    }
}

async fn add(
    fleet: &dyn Fleet,
    out: Output,
    name: LoginName,
    role: Role,
    source: PasswordSource,
) -> Result<Exit, Failure> {
    if user(fleet, &name).await?.is_some() {
        // Nobody types a password for nothing; the store decides all the same.
        return Err(
            Failure::refused(format!("there is a user {name} already")).help(format!(
                "rollout-cli users passwd {name} sets a new password"
            )),
        );
    }
    let password = new_password(source, out)?;
    let user = fleet.add_user(name, role, password).await?;
    let said = format!("added {}, {}", user.name, user.role);
    shown(out, &user)?;
    out.say(said);
    out.next(&[("rollout-cli users list".to_owned(), "everybody")]);
    Ok(Exit::Done)
}

async fn passwd(
    fleet: &dyn Fleet,
    out: Output,
    name: &LoginName,
    source: PasswordSource,
) -> Result<Exit, Failure> {
    known(fleet, name).await?;
    let password = new_password(source, out)?;
    fleet.set_password(name, password).await?;
    shown(out, &known(fleet, name).await?)?;
    out.say(format!(
        "{name} has a new password; sessions that were open are ended"
    ));
    Ok(Exit::Done)
}

async fn disable(
    fleet: &dyn Fleet,
    out: Output,
    name: &LoginName,
    disabled: bool,
) -> Result<Exit, Failure> {
    fleet.disable(name, disabled).await?;
    shown(out, &known(fleet, name).await?)?;
    out.say(if disabled {
        format!("{name} is locked out: no session, no sign-in, no token that {name} made")
    } else {
        format!("{name} may sign in again")
    });
    Ok(Exit::Done)
}

async fn user(fleet: &dyn Fleet, name: &LoginName) -> Result<Option<User>, Failure> {
    let users = fleet.users().await?;
    Ok(users.into_iter().find(|user| user.name == name.as_str()))
}

async fn known(fleet: &dyn Fleet, name: &LoginName) -> Result<User, Failure> {
    user(fleet, name).await?.ok_or_else(|| {
        Failure::refused(format!("there is no user {name}"))
            .help("rollout-cli users list shows everybody")
    })
}

fn shown(out: Output, user: &User) -> Result<(), Failure> {
    if out.json {
        out.object(&json!({ "user": user }))?;
    }
    Ok(())
}

async fn list(fleet: &dyn Fleet, out: Output) -> Result<Exit, Failure> {
    let users = fleet.users().await?;
    if out.json {
        out.object(&json!({ "users": users }))?;
        return Ok(Exit::Done);
    }
    if users.is_empty() {
        out.say("nobody can sign in yet");
        out.next(&[(
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
    out.data(&table.to_string())?;
    Ok(Exit::Done)
}
