//! Stores that hand their calls on, for tests that let calls fail, count them or look at their answers.

/// Implements [`Store`](crate::Store) for `$store`: each call is `$call!(self.method(argument, …))`, a macro that the caller
/// writes, with an arm of its own for each method of which it has more to say. `$store` has an `inner` that is a store.
///
/// Where it is used, `async-trait` and `fleet-types` have to be dependencies.
#[macro_export]
macro_rules! passing_store {
    ($store:ty, $call:ident) => {
        $crate::passing_calls! { $store, $call,
            Inventory {
                host_add(hosts: Vec<NewHost>, actor: &Actor) -> Vec<HostRecord>, HostError;
                host_edit(name: &HostName, host: NewHost, actor: &Actor) -> HostRecord, HostError;
                host_edit_seen(seen: &HostRecord, host: NewHost, actor: &Actor) -> HostRecord, HostError;
                host_remove(name: &HostName, actor: &Actor) -> (), HostError;
                host_remove_seen(seen: &HostRecord, actor: &Actor) -> (), HostError;
                host_list() -> Vec<HostRecord>, StoreError;
                host_get(name: &HostName) -> Option<HostRecord>, StoreError;
                host_pin(name: &HostName, keys: Vec<String>, actor: &Actor) -> (), HostError;
                host_pin_seen(seen: &HostRecord, keys: Vec<String>, actor: &Actor) -> (), HostError;
                host_clear_attention(name: &HostName, actor: &Actor) -> (), HostError;
                host_views(rollout: Option<RolloutId>) -> Vec<view::Host>, StoreError;
            }
            Rollouts {
                rollout_create(plan: NewRollout, worker: Option<NewWorker>) -> RolloutId, TriggerError;
                rollout_get(id: RolloutId) -> Option<RolloutRecord>, StoreError;
                rollout_active() -> Option<RolloutRecord>, StoreError;
                rollout_latest() -> Option<RolloutRecord>, StoreError;
                rollout_list(before: Option<RolloutId>, limit: u32) -> Vec<RolloutRecord>, StoreError;
                rollout_view(id: RolloutId) -> Option<view::Rollout>, StoreError;
                status() -> view::Status, StoreError;
                attempt_list(id: RolloutId) -> Vec<AttemptRecord>, StoreError;
                rollout_verb(id: RolloutId, verb: Verb, actor: &Actor) -> (), VerbError;
                rollout_resolve(id: RolloutId, target: Resolution) -> RolloutRecord, StoreError;
                rollout_advance(id: RolloutId) -> RolloutRecord, StoreError;
                rollout_attend(id: RolloutId, worker: WorkerId) -> (), StoreError;
                rollout_leaves(id: RolloutId, worker: WorkerId, hosts: Option<LeftToOthers>) -> (), StoreError;
                known_bad(version: &CommitHash) -> Option<RolloutId>, StoreError;
            }
            Attempts {
                attempt_claim(rollout: RolloutId, worker: WorkerId, except: &[HostId]) -> Claim, LeaseError;
                attempt_take_over(worker: WorkerId, except: &[HostId]) -> Option<Claimed>, LeaseError;
                attempt_record(lease: &HostLease, event: &HostEvent) -> (), LeaseError;
                attempt_raise(lease: &HostLease, above: Epoch) -> HostLease, LeaseError;
                attempt_get(rollout: RolloutId, host: HostId) -> Option<AttemptRecord>, StoreError;
                attempt_steps(rollout: RolloutId, host: &HostName) -> Vec<StepRecord>, StoreError;
            }
            Workers {
                worker_register(worker: NewWorker) -> WorkerId, StoreError;
                worker_renew(worker: WorkerId) -> (), LeaseError;
                worker_leave(worker: WorkerId) -> (), StoreError;
                worker_alive() -> Vec<WorkerRecord>, StoreError;
                slot_acquire(slot: SlotId, limit: u32) -> bool, LeaseError;
                slot_acquire_for_check(slot: SlotId, limit: u32, checks: u32) -> bool, LeaseError;
                slot_release(slot: SlotId) -> (), StoreError;
            }
            Feed {
                events_after(after: Seq, rollout: Option<RolloutId>, limit: u32) -> Vec<Event>, StoreError;
                events_wait(after: Seq, patience: Duration) -> (), StoreError;
            }
        }

        impl $crate::Store for $store {
            fn id(&self) -> fleet_types::StoreId {
                self.inner.id()
            }
            fn lease_times(&self) -> $crate::LeaseTimes {
                self.inner.lease_times()
            }
            fn schema_known(&self) -> $crate::Schema {
                self.inner.schema_known()
            }
        }
    };
}

/// The same for [`Health`](crate::Health).
#[macro_export]
macro_rules! passing_health {
    ($store:ty, $call:ident) => {
        $crate::passing_calls! { $store, $call,
            Health {
                health_due(worker: WorkerId, every: Duration, limit: u32, turns: Turns) -> Vec<Due>, LeaseError;
                health_record(host: HostId, seen: HealthSeen) -> bool, StoreError;
                health_claim(worker: WorkerId, host: HostId, seen: Option<Epoch>) -> Option<HealthLease>, LeaseError;
                health_restart(lease: &HealthLease, limit: RestartLimit) -> RestartTurn, LeaseError;
                health_raise(lease: &HealthLease, on_record: Option<FenceSeen>) -> HealthLease, LeaseError;
                health_settle(lease: &HealthLease, seen: HealthSeen, restart: RestartSent) -> (), LeaseError;
            }
        }
    };
}

/// What the two above are made of.
#[doc(hidden)]
#[macro_export]
macro_rules! passing_calls {
    ($store:ty, $call:ident, $($concern:ident {
        $($method:ident($($arg:ident: $of:ty),*) -> $answer:ty, $error:ty;)*
    })*) => {
        const _: () = {
            #[allow(unused_imports, reason = "not every concern needs all of them")]
            use {
                $crate::*,
                fleet_types::{
                    CommitHash, Epoch, Event, HostEvent, HostId, HostName, RolloutId, Seq, Verb, WorkerId, view,
                },
                std::time::Duration,
            };
            $(
                #[async_trait::async_trait]
                impl $concern for $store {
                    $(async fn $method(&self, $($arg: $of),*) -> Result<$answer, $error> {
                        $call!(self.$method($($arg),*))
                    })*
                }
            )*
        };
    };
}
