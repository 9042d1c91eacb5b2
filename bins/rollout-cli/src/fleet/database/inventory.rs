use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use fleet_store::{HostRecord, NewAudit, NewHost};
use fleet_types::view::{EnrolledHost, HealthCheck, Host, HostCheck, HostKey};
use fleet_types::{AuditResult, HostId, HostName};
use rollout_orchestrator::{HealthSweeper, SweepSettings, check_host, endpoint, host_keys};
use rollout_settings::HostDefaults;
use ssh_exec::Identity;
use tokio::task::JoinSet;

use super::DatabaseFleet;
use crate::failure::Failure;
use crate::fleet::{Inventory, Scanned, ShownHost};

#[async_trait]
impl Inventory for DatabaseFleet {
    async fn hosts(&self) -> Result<Vec<Host>, Failure> {
        Ok(self.store.host_views(None).await?)
    }

    async fn enrolled(&self) -> Result<Vec<EnrolledHost>, Failure> {
        let fleet = self.store.host_list().await?;
        Ok(fleet.into_iter().map(EnrolledHost::from).collect())
    }

    async fn host(&self, name: &HostName) -> Result<Option<ShownHost>, Failure> {
        let record = self.store.host_get(name).await?;
        let host = self.admin.host_view(name, None).await?;
        let Some((record, host)) = record.zip(host) else {
            return Ok(None);
        };
        let EnrolledHost { entry, host_keys } = record.into();
        Ok(Some(ShownHost {
            host,
            host_keys,
            entry: Some(entry),
        }))
    }

    async fn defaults(&self) -> Result<HostDefaults, Failure> {
        Ok(HostDefaults {
            port: self.settings.ssh.port,
            user: self.settings.ssh.user.clone(),
            app: self.settings.app.clone(),
        })
    }

    fn key_folder(&self) -> Option<PathBuf> {
        std::env::current_dir().ok()
    }

    async fn judge(&self, host: &NewHost) -> Result<Option<String>, Failure> {
        let mut defaults = self.ssh_defaults();
        // Whether there is any credential is asked when it is needed.
        defaults
            .identity
            .get_or_insert(Identity::Agent(PathBuf::new()));
        let endpoint = endpoint(&host.name, &host.spec, &[], &defaults)?;
        if host.spec.key.is_none() {
            return Ok(None);
        }
        let loaded = self.transport()?.check_identity(&endpoint).await;
        Ok(loaded.err().map(|error| error.to_string()))
    }

    async fn add(&self, hosts: Vec<NewHost>) -> Result<(), Failure> {
        self.store.host_add(hosts, &self.actor).await?;
        Ok(())
    }

    async fn edit(&self, name: &HostName, host: NewHost) -> Result<(), Failure> {
        self.store.host_edit(name, host, &self.actor).await?;
        Ok(())
    }

    async fn remove(&self, name: &HostName) -> Result<(), Failure> {
        Ok(self.store.host_remove(name, &self.actor).await?)
    }

    async fn clear_attention(&self, name: &HostName) -> Result<(), Failure> {
        Ok(self.store.host_clear_attention(name, &self.actor).await?)
    }

    async fn pin(&self, name: &HostName, keys: Vec<String>) -> Result<(), Failure> {
        Ok(self.store.host_pin(name, keys, &self.actor).await?)
    }

    async fn scan(&self, hosts: Vec<HostName>) -> Result<Vec<Scanned>, Failure> {
        let hosts = self.records(&hosts).await?;
        let defaults = Arc::new(self.ssh_defaults());
        self.looking(async |_, _, transport| {
            let mut asking = JoinSet::new();
            for host in hosts {
                let (transport, defaults) = (Arc::clone(&transport), Arc::clone(&defaults));
                asking.spawn(async move {
                    let keys = host_keys(&transport, &host, &defaults).await;
                    let shown = |key: ssh_exec::HostKey| HostKey {
                        algorithm: key.algorithm,
                        fingerprint: key.fingerprint,
                        openssh: key.openssh,
                    };
                    Scanned {
                        host: host.name,
                        keys: keys
                            .map(|keys| keys.into_iter().map(shown).collect())
                            .map_err(|error| error.to_string()),
                    }
                });
            }
            asking.join_all().await
        })
        .await
    }

    async fn check(&self, hosts: Vec<HostName>) -> Result<Vec<HostCheck>, Failure> {
        let hosts = self.records(&hosts).await?;
        let defaults = Arc::new(self.ssh_defaults());
        let mut checks = self
            .looking(async |_, _, transport| {
                let mut looking = JoinSet::new();
                for host in hosts {
                    let (transport, defaults) = (Arc::clone(&transport), Arc::clone(&defaults));
                    looking.spawn(async move { check_host(&transport, &host, &defaults).await });
                }
                looking.join_all().await
            })
            .await?;
        checks.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(checks)
    }

    async fn check_health(
        &self,
        hosts: Vec<HostName>,
        fix: bool,
    ) -> Result<Vec<HealthCheck>, Failure> {
        let hosts = self.records(&hosts).await?;
        let ids: Vec<HostId> = hosts.iter().map(|host| host.id).collect();
        let settings = SweepSettings {
            every: self.settings.health.every,
            settle: self.settings.rollout.settle,
            fix,
            ..SweepSettings::default()
        };
        let health: Arc<dyn fleet_store::Health> = Arc::clone(&self.admin) as _;
        let checked = self
            .looking(async |orchestrator, worker, _| {
                let sweeper = HealthSweeper::beside(worker, orchestrator, health, settings);
                sweeper.sweep_once(fix, Some(ids)).await
            })
            .await?;
        let checked = checked
            .map_err(|error| Failure::unexpected("the hosts could not be looked at").why(error))?;
        let checked: Vec<HealthCheck> = checked.into_iter().map(HealthCheck::from).collect();
        if fix {
            self.put_on_record(&checked).await?;
        }
        Ok(checked)
    }
}

impl DatabaseFleet {
    /// Who had services started again, and what came of it, as a server notes it.
    async fn put_on_record(&self, checked: &[HealthCheck]) -> Result<(), Failure> {
        for one in checked {
            let entry = NewAudit {
                actor: self.actor.clone(),
                action: "host.fix".to_owned(),
                subject: Some(one.name.clone()),
                result: match one.was_looked_at() {
                    true => AuditResult::Done,
                    false => AuditResult::Failed,
                },
                detail: Some(one.summary()),
            };
            self.admin.audit_note(entry).await?;
        }
        Ok(())
    }

    /// These hosts, of those that are still in the fleet.
    async fn records(&self, names: &[HostName]) -> Result<Vec<HostRecord>, Failure> {
        let wanted: std::collections::HashSet<&HostName> = names.iter().collect();
        let mut fleet = self.store.host_list().await?;
        fleet.retain(|host| wanted.contains(&host.name));
        Ok(fleet)
    }
}
