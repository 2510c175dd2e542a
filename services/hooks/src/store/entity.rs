//! The tables as sea-orm sees them. They never leave the store.

macro_rules! entity {
    ($(#[$doc:meta])* $name:ident, $table:literal { $($fields:tt)* }) => {
        $(#[$doc])*
        pub mod $name {
            use sea_orm::entity::prelude::*;

            #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
            #[sea_orm(table_name = $table)]
            pub struct Model { $($fields)* }

            #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
            pub enum Relation {}

            impl ActiveModelBehavior for ActiveModel {}
        }
    };
}

entity!(team, "team" {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    pub name: String,
    pub plan: String,
    pub created_at: DateTimeUtc,
});

entity!(api_key, "api_key" {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    pub team_id: String,
    pub name: String,
    pub hash: String,
    pub last_four: String,
    pub scopes: String,
    pub created_at: DateTimeUtc,
    pub revoked_at: Option<DateTimeUtc>,
});

entity!(session, "session" {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    pub team_id: String,
    pub key_id: String,
    pub hash: String,
    pub created_at: DateTimeUtc,
    pub expires_at: DateTimeUtc,
});

entity!(project, "project" {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    pub team_id: String,
    pub name: String,
    pub repository_url: String,
    pub production_branch: String,
    pub settings: String,
    pub created_at: DateTimeUtc,
    pub updated_at: DateTimeUtc,
    pub deleted_at: Option<DateTimeUtc>,
});

entity!(hook, "hook" {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    pub team_id: String,
    pub project_id: String,
    pub name: String,
    pub branch: String,
    pub paused: bool,
    pub build_cache: bool,
    pub created_at: DateTimeUtc,
    pub updated_at: DateTimeUtc,
    pub revoked_at: Option<DateTimeUtc>,
    pub quiet_period_ms: i64,
    pub max_wait_ms: i64,
    pub methods: String,
    pub last_triggered_at: Option<DateTimeUtc>,
    pub trigger_count: i64,
});

entity!(hook_token, "hook_token" {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    pub hook_id: String,
    pub hash: String,
    pub last_four: String,
    pub created_at: DateTimeUtc,
    pub expires_at: Option<DateTimeUtc>,
    pub last_used_at: Option<DateTimeUtc>,
    pub use_count: i64,
});

entity!(deployment, "deployment" {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    pub team_id: String,
    pub project_id: String,
    pub hook_id: Option<String>,
    pub hook_name: String,
    pub branch: String,
    pub commit_hash: Option<String>,
    pub commit_message: String,
    pub state: String,
    pub revision: i64,
    pub attempt: i32,
    pub resolve_attempts: i32,
    pub lease_owner: Option<String>,
    pub lease_expires_at: Option<DateTimeUtc>,
    pub not_before: DateTimeUtc,
    pub use_cache: bool,
    pub trigger_count: i32,
    pub cancel_requested: Option<String>,
    pub canceled: Option<String>,
    pub failure: Option<String>,
    pub artifact_files: Option<i64>,
    pub artifact_bytes: Option<i64>,
    pub last_position: i64,
    pub created_at: DateTimeUtc,
    pub queued_at: Option<DateTimeUtc>,
    pub building_at: Option<DateTimeUtc>,
    pub finished_at: Option<DateTimeUtc>,
    pub waiting_since: Option<DateTimeUtc>,
    pub title: Option<String>,
    pub body: Option<Vec<u8>>,
    pub wanted_commit: Option<String>,
    pub executor: Option<String>,
    pub log_removed_at: Option<DateTimeUtc>,
    pub log_emptied: bool,
    pub artifact_removed_at: Option<DateTimeUtc>,
    pub deleted_at: Option<DateTimeUtc>,
});

entity!(trigger, "trigger" {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    pub team_id: String,
    pub project_id: String,
    pub hook_id: Option<String>,
    pub token_id: Option<String>,
    pub method: String,
    pub client_address: String,
    pub user_agent: String,
    pub body_bytes: i64,
    pub body_digest: String,
    pub title: String,
    pub idempotency_key: Option<String>,
    pub decision: String,
    pub reason: String,
    pub deployment_id: Option<String>,
    pub at: DateTimeUtc,
});

entity!(sealed_value, "sealed_value" {
    #[sea_orm(primary_key, auto_increment = false)]
    pub owner_id: String,
    pub key_id: String,
    pub sealed: String,
});

entity!(variable, "variable" {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    pub team_id: String,
    pub project_id: String,
    pub name: String,
    pub branches: String,
    pub secret: bool,
    pub value: Option<String>,
    pub created_at: DateTimeUtc,
    pub updated_at: DateTimeUtc,
});

entity!(credential, "credential" {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    pub team_id: String,
    pub project_id: Option<String>,
    pub origin: String,
    pub kind: String,
    pub user_name: String,
    pub last_four: String,
    pub public_key: String,
    pub created_at: DateTimeUtc,
});

entity!(trusted_host, "trusted_host" {
    #[sea_orm(primary_key, auto_increment = false)]
    pub team_id: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub host: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub port: i32,
    pub host_keys: String,
    pub created_at: DateTimeUtc,
});

entity!(status_setting, "status_setting" {
    #[sea_orm(primary_key, auto_increment = false)]
    pub project_id: String,
    pub id: String,
    pub mode: String,
    pub host: Option<String>,
    pub api_base: Option<String>,
    pub token_base: Option<String>,
    pub last_four: String,
    pub wait_until: Option<DateTimeUtc>,
    pub updated_at: DateTimeUtc,
});

entity!(commit_status, "commit_status" {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    pub deployment_id: String,
    pub project_id: String,
    pub commit_hash: String,
    pub context: String,
    pub state: String,
    pub description: String,
    pub revision: i64,
    pub delivered_revision: i64,
    pub tries: i32,
    pub next_try_at: Option<DateTimeUtc>,
    pub lease_owner: Option<String>,
    pub lease_expires_at: Option<DateTimeUtc>,
    pub ambiguous: bool,
    pub repeating: bool,
    pub last_error: String,
    pub gave_up_at: Option<DateTimeUtc>,
    pub delivered_at: Option<DateTimeUtc>,
    pub wanted_at: DateTimeUtc,
    pub updated_at: DateTimeUtc,
});

entity!(endpoint, "endpoint" {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    pub team_id: String,
    pub project_id: Option<String>,
    pub url: String,
    pub types: String,
    pub description: String,
    pub disabled_at: Option<DateTimeUtc>,
    pub disabled_reason: Option<String>,
    pub failing_since: Option<DateTimeUtc>,
    pub created_at: DateTimeUtc,
    pub updated_at: DateTimeUtc,
});

entity!(endpoint_secret, "endpoint_secret" {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    pub endpoint_id: String,
    pub last_four: String,
    pub created_at: DateTimeUtc,
    pub expires_at: Option<DateTimeUtc>,
});

entity!(outgoing_event, "outgoing_event" {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    pub team_id: String,
    pub endpoint_id: String,
    pub deployment_id: Option<String>,
    pub position: i64,
    pub kind: String,
    pub facts: String,
    pub body: Option<String>,
    pub state: String,
    pub tries: i32,
    pub tries_before: i32,
    pub next_try_at: DateTimeUtc,
    pub lease_owner: Option<String>,
    pub lease_expires_at: Option<DateTimeUtc>,
    pub created_at: DateTimeUtc,
});

entity!(delivery, "delivery" {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    pub team_id: String,
    pub endpoint_id: String,
    pub event_id: String,
    pub at: DateTimeUtc,
    pub outcome: String,
    pub status: Option<i32>,
    pub took_ms: i64,
    pub error: String,
    pub answer: String,
});

entity!(installation, "installation" {
    #[sea_orm(primary_key, auto_increment = false)]
    pub name: String,
    pub value: String,
});

entity!(deployment_event, "deployment_event" {
    #[sea_orm(primary_key, auto_increment = false)]
    pub deployment_id: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub position: i64,
    pub attempt: Option<i32>,
    pub sequence: Option<i64>,
    pub payload: String,
    pub at: DateTimeUtc,
});

entity!(branch_address, "branch_address" {
    #[sea_orm(primary_key, auto_increment = false)]
    pub project_id: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub branch: String,
    pub deployment_id: String,
    pub updated_at: DateTimeUtc,
    pub held: bool,
    pub branch_hash: String,
});
