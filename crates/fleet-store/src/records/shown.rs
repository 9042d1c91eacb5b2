//! From records to what people and programs see of them, and back.

use std::num::NonZeroU32;

use fleet_types::{AppSettings, view};

use super::{AuditRecord, HostRecord, HostSpec, NewHost, StepRecord, TokenRecord, UserRecord};

impl From<UserRecord> for view::User {
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

impl From<TokenRecord> for view::Token {
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

impl From<AuditRecord> for view::AuditEntry {
    fn from(record: AuditRecord) -> Self {
        Self {
            id: record.id.0,
            at: record.at,
            actor: record.actor.name,
            source: record.actor.source,
            action: record.action,
            subject: record.subject,
            result: record.result,
            detail: record.detail,
        }
    }
}

impl From<StepRecord> for view::StepOutput {
    fn from(record: StepRecord) -> Self {
        let took = record
            .finished_at
            .map(|end| end.since(record.started_at).as_secs_f64());
        let (reason, message) = record.failed.unzip();
        Self {
            step: record.step,
            started_at: record.started_at,
            finished_at: record.finished_at,
            duration_seconds: took,
            reason,
            message,
            exit: record.output.exit,
            stdout: record.output.stdout,
            stderr: record.output.stderr,
            total_bytes: record.output.total_bytes,
            removed_after_days: record.removed_after_days.map(NonZeroU32::get),
        }
    }
}

impl From<HostRecord> for view::EnrolledHost {
    fn from(record: HostRecord) -> Self {
        let host = NewHost {
            name: record.name,
            spec: record.spec,
            labels: record.labels,
            owner: record.owner,
        };
        Self {
            entry: host.into(),
            host_keys: record.host_keys,
        }
    }
}

impl From<NewHost> for view::HostEntry {
    fn from(host: NewHost) -> Self {
        let spec = host.spec;
        let app = spec.app;
        Self {
            name: host.name,
            address: spec.address,
            port: spec.port,
            user: spec.user,
            key: spec.key,
            jump: spec.jump,
            labels: host.labels,
            owner: host.owner,
            repo: app.repo,
            remote: app.remote,
            branch: app.branch,
            service: app.service,
            install: app.install,
            verify: app.verify,
            generated: app.generated,
            min_free_mib: app.min_free_mib,
            timeouts: app.timeouts,
        }
    }
}

impl From<view::HostEntry> for NewHost {
    fn from(entry: view::HostEntry) -> Self {
        Self {
            name: entry.name,
            spec: HostSpec {
                address: entry.address,
                port: entry.port,
                user: entry.user,
                key: entry.key,
                jump: entry.jump,
                app: AppSettings {
                    repo: entry.repo,
                    remote: entry.remote,
                    branch: entry.branch,
                    service: entry.service,
                    install: entry.install,
                    verify: entry.verify,
                    generated: entry.generated,
                    min_free_mib: entry.min_free_mib,
                    timeouts: entry.timeouts,
                },
            },
            labels: entry.labels,
            owner: entry.owner,
        }
    }
}
