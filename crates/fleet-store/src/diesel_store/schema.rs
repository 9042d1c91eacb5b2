//! The tables, the same on both databases.

diesel::table! {
    meta (id) { id -> BigInt, store_id -> Text, created_at -> BigInt, }
}

diesel::table! {
    #[sql_name = "__diesel_schema_migrations"]
    migrations_run (version) { version -> Text, }
}

diesel::table! {
    compatibility (id) { id -> BigInt, since -> BigInt, }
}

diesel::table! {
    feed (id) { id -> BigInt, seq -> BigInt, }
}

diesel::table! {
    hosts (id) {
        id -> Text,
        name -> Text,
        machine -> Text,
        repo -> Text,
        spec -> Text,
        labels -> Text,
        owner -> Nullable<Text>,
        host_keys -> Text,
        current_version -> Nullable<Text>,
        previous_version -> Nullable<Text>,
        needs_attention -> Bool,
        health -> Text,
        last_rollout -> Nullable<Text>,
        last_update_at -> Nullable<BigInt>,
        lease_worker -> Nullable<Text>,
        lease_machine -> Nullable<Text>,
        lease_purpose -> Nullable<Text>,
        lease_epoch -> BigInt,
        added_at -> BigInt,
        removed_at -> Nullable<BigInt>,
    }
}

diesel::table! {
    rollouts (id) {
        id -> Text,
        number -> BigInt,
        kind -> Text,
        state -> Text,
        target -> Nullable<Text>,
        target_ref -> Text,
        policy -> Text,
        source -> Nullable<Text>,
        started_by -> Text,
        message -> Nullable<Text>,
        created_at -> BigInt,
        finished_at -> Nullable<BigInt>,
        stage -> BigInt,
        reason -> Nullable<Text>,
        hosts -> BigInt,
        forced -> Bool,
        schema -> BigInt,
        outputs_removed_at -> Nullable<BigInt>,
        outputs_removed_to -> Nullable<BigInt>,
    }
}

diesel::table! {
    stages (rollout, position) {
        rollout -> Text,
        position -> BigInt,
        percent -> BigInt,
        size -> BigInt,
        state -> Text,
        updating -> BigInt,
        updated -> BigInt,
        unchanged -> BigInt,
        failed -> BigInt,
        rolled_back -> BigInt,
        skipped -> BigInt,
        blamed -> BigInt,
    }
}

diesel::table! {
    attempts (rollout, host) {
        rollout -> Text,
        host -> Text,
        position -> BigInt,
        stage -> BigInt,
        name -> Text,
        machine -> Text,
        status -> Text,
        reason -> Nullable<Text>,
        touched -> Bool,
        needs_attention -> Bool,
        progress -> Text,
        step -> Nullable<Text>,
        step_since -> Nullable<BigInt>,
        step_deadline -> Nullable<BigInt>,
        message -> Nullable<Text>,
        previous_version -> Nullable<Text>,
        target_version -> Nullable<Text>,
        from_version -> Nullable<Text>,
        takeovers -> BigInt,
        steps -> BigInt,
        started_at -> Nullable<BigInt>,
        finished_at -> Nullable<BigInt>,
    }
}

diesel::table! {
    attempt_specs (rollout, host) { rollout -> Text, host -> Text, spec -> Text, }
}

diesel::table! {
    steps (rollout, position, number) {
        rollout -> Text,
        position -> BigInt,
        number -> BigInt,
        step -> Text,
        started_at -> BigInt,
        finished_at -> Nullable<BigInt>,
        duration_ms -> Nullable<BigInt>,
        reason -> Nullable<Text>,
        message -> Nullable<Text>,
        output -> Nullable<Text>,
    }
}

diesel::table! {
    events (seq) {
        seq -> BigInt,
        at -> BigInt,
        kind -> Text,
        rollout -> Nullable<Text>,
        stage -> Nullable<BigInt>,
        host -> Nullable<Text>,
        step -> Nullable<Text>,
        status -> Nullable<Text>,
        reason -> Nullable<Text>,
        message -> Nullable<Text>,
        from_version -> Nullable<Text>,
        to_version -> Nullable<Text>,
        duration_ms -> Nullable<BigInt>,
        actor -> Nullable<Text>,
    }
}

diesel::table! {
    workers (id) {
        id -> Text,
        label -> Text,
        serves -> Bool,
        process -> Nullable<Text>,
        since -> BigInt,
        lease_era -> Text,
        lease_until -> BigInt,
        gone_at -> Nullable<BigInt>,
        schema -> BigInt,
    }
}

diesel::table! {
    drivers (rollout, worker) { rollout -> Text, worker -> Text, left_to_others -> Nullable<Text>, }
}

diesel::table! {
    slots (number) { number -> BigInt, worker -> Text, since -> BigInt, of_check -> Bool, }
}

diesel::table! {
    bad_versions (version) { version -> Text, rollout -> Text, at -> BigInt, }
}

diesel::allow_tables_to_appear_in_same_query!(sessions, tokens, users);

diesel::allow_tables_to_appear_in_same_query!(
    attempts,
    attempt_specs,
    compatibility,
    drivers,
    hosts,
    rollouts,
    slots,
    steps,
    stages,
    workers,
);

diesel::table! {
    users (name) {
        name -> Text,
        role -> Text,
        password -> Nullable<Text>,
        created_at -> BigInt,
        last_sign_in_at -> Nullable<BigInt>,
        disabled_at -> Nullable<BigInt>,
    }
}

diesel::table! {
    sessions (id) {
        id -> Text,
        secret -> Text,
        user_name -> Text,
        source -> Text,
        created_at -> BigInt,
        last_used_at -> BigInt,
    }
}

diesel::table! {
    tokens (id) {
        id -> Text,
        name -> Text,
        role -> Text,
        secret -> Text,
        created_by -> Text,
        login -> Nullable<Text>,
        created_at -> BigInt,
        expires_at -> Nullable<BigInt>,
        last_used_at -> Nullable<BigInt>,
        revoked_at -> Nullable<BigInt>,
    }
}

diesel::table! {
    setup (id) { id -> BigInt, secret -> Text, expires_at -> BigInt, }
}

diesel::table! {
    sign_in_failures (what) { what -> Text, failures -> BigInt, last_at -> BigInt, }
}

diesel::table! {
    audit (id) {
        id -> BigInt,
        at -> BigInt,
        actor -> Text,
        source -> Text,
        action -> Text,
        subject -> Nullable<Text>,
        result -> Text,
        detail -> Nullable<Text>,
    }
}

diesel::table! {
    request_keys (request) { request -> Text, fingerprint -> Text, rollout -> Text, at -> BigInt, }
}

diesel::table! {
    health_checks (host) {
        host -> Text,
        next_at -> BigInt,
        checked_at -> Nullable<BigInt>,
        message -> Nullable<Text>,
        since -> Nullable<BigInt>,
    }
}

diesel::table! {
    health_restarts (host, epoch) { host -> Text, epoch -> BigInt, at -> BigInt, }
}

diesel::allow_tables_to_appear_in_same_query!(attempts, health_checks);
diesel::allow_tables_to_appear_in_same_query!(health_checks, hosts);
