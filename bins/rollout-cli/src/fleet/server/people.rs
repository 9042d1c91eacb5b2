use async_trait::async_trait;
use fleet_store::AuditQuery;
use fleet_types::view::{AuditEntry, NewToken, Token, User};
use fleet_types::{LoginName, Role, Timestamp, TokenId};
use reqwest::Method;
use serde::Deserialize;
use serde_json::json;

use super::ServerFleet;
use super::client::ANSWER;
use crate::failure::Failure;
use crate::fleet::People;

/// Rows of the audit trail read at once.
const PAGE: u32 = 1000;

#[derive(Deserialize)]
struct Users {
    users: Vec<User>,
}

#[derive(Deserialize)]
struct OneUser {
    user: User,
}

#[derive(Deserialize)]
struct Tokens {
    tokens: Vec<Token>,
}

#[derive(Deserialize)]
struct Trail {
    entries: Vec<AuditEntry>,
    next: Option<String>,
}

#[async_trait]
impl People for ServerFleet {
    async fn users(&self) -> Result<Vec<User>, Failure> {
        let all: Users = self.client.get(&["api", "users"], &[]).await?;
        Ok(all.users)
    }

    async fn add_user(
        &self,
        name: LoginName,
        role: Role,
        password: String,
    ) -> Result<User, Failure> {
        let body = json!({ "name": name, "role": role, "password": password });
        let added: OneUser = self.client.make(&["api", "users"], &body, ANSWER).await?;
        Ok(added.user)
    }

    async fn set_password(&self, name: &LoginName, password: String) -> Result<(), Failure> {
        let path = ["api", "users", name.as_str(), "password"];
        let body = json!({ "password": password });
        self.client.change(Method::PUT, &path, Some(&body)).await
    }

    async fn disable(&self, name: &LoginName, disabled: bool) -> Result<(), Failure> {
        let verb = if disabled { "disable" } else { "enable" };
        let path = ["api", "users", name.as_str(), verb];
        self.client.change(Method::POST, &path, None).await
    }

    async fn tokens(&self) -> Result<Vec<Token>, Failure> {
        let all: Tokens = self.client.get(&["api", "tokens"], &[]).await?;
        Ok(all.tokens)
    }

    async fn create_token(
        &self,
        name: LoginName,
        role: Role,
        expires_at: Option<Timestamp>,
    ) -> Result<NewToken, Failure> {
        let body = json!({ "name": name, "role": role, "expires_at": expires_at });
        self.client.make(&["api", "tokens"], &body, ANSWER).await
    }

    async fn revoke_token(&self, id: TokenId) -> Result<(), Failure> {
        let path = ["api", "tokens", &id.to_string()];
        self.client.change(Method::DELETE, &path, None).await
    }

    async fn audit(&self, query: AuditQuery) -> Result<Vec<AuditEntry>, Failure> {
        let wanted = usize::try_from(query.limit).unwrap_or(usize::MAX);
        let mut entries = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let mut said = vec![("limit", query.limit.min(PAGE).to_string())];
            said.extend(query.actor.clone().map(|actor| ("actor", actor)));
            said.extend(query.action.clone().map(|action| ("action", action)));
            said.extend(query.since.map(|since| ("since", since.to_string())));
            said.extend(cursor.map(|cursor| ("cursor", cursor)));
            let page: Trail = self.client.get(&["api", "audit"], &said).await?;
            entries.extend(page.entries);
            cursor = page.next;
            if cursor.is_none() || entries.len() >= wanted {
                entries.truncate(wanted);
                return Ok(entries);
            }
        }
    }
}
