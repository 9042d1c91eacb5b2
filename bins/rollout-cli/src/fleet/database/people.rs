use access_secrets::{hash_password, new_token};
use async_trait::async_trait;
use fleet_store::{AuditQuery, NewUser};
use fleet_types::view::{AuditEntry, NewToken, Token, User};
use fleet_types::{LoginName, Role, Timestamp, TokenId};
use uuid::Uuid;

use super::DatabaseFleet;
use crate::failure::Failure;
use crate::fleet::People;

#[async_trait]
impl People for DatabaseFleet {
    async fn users(&self) -> Result<Vec<User>, Failure> {
        let users = self.admin.user_list().await?;
        Ok(users.into_iter().map(User::from).collect())
    }

    async fn add_user(
        &self,
        name: LoginName,
        role: Role,
        password: String,
    ) -> Result<User, Failure> {
        let hash = hash_password(password).await.map_err(Failure::unexpected)?;
        let user = NewUser {
            name,
            role,
            password: Some(hash),
        };
        Ok(self.admin.user_add(user, &self.actor).await?.into())
    }

    async fn set_password(&self, name: &LoginName, password: String) -> Result<(), Failure> {
        let hash = hash_password(password).await.map_err(Failure::unexpected)?;
        Ok(self
            .admin
            .user_set_password(name, hash, &self.actor)
            .await?)
    }

    async fn disable(&self, name: &LoginName, disabled: bool) -> Result<(), Failure> {
        Ok(self.admin.user_disable(name, disabled, &self.actor).await?)
    }

    async fn tokens(&self) -> Result<Vec<Token>, Failure> {
        let tokens = self.admin.token_list().await?;
        Ok(tokens.into_iter().map(Token::from).collect())
    }

    async fn create_token(
        &self,
        name: LoginName,
        role: Role,
        expires_at: Option<Timestamp>,
    ) -> Result<NewToken, Failure> {
        let secret = new_token().map_err(Failure::unexpected)?;
        let token = fleet_store::NewToken {
            id: TokenId(Uuid::now_v7()),
            name,
            role,
            secret: secret.hash,
            expires_at,
        };
        let made = self.admin.token_create(token, &self.actor).await?;
        Ok(NewToken {
            id: made.id,
            token: secret.text,
            expires_at: made.expires_at,
        })
    }

    async fn revoke_token(&self, id: TokenId) -> Result<(), Failure> {
        Ok(self.admin.token_revoke(id, &self.actor).await?)
    }

    async fn audit(&self, query: AuditQuery) -> Result<Vec<AuditEntry>, Failure> {
        let rows = self.admin.audit_list(query).await?;
        Ok(rows.into_iter().map(AuditEntry::from).collect())
    }
}
