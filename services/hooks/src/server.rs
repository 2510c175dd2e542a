//! The hooks service as a process.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use grapnel_proto::DESCRIPTORS;
use grapnel_runtime::{
    CancellationToken, Clock,
    grpc::{self, EndError, Local, Peers},
};
use rand::RngExt as _;
use tokio::net::TcpListener;

use crate::{
    app::{AllExecutors, App, FirstKey},
    config::HooksConfig,
    dispatch::{Connect, Dispatcher, ExecutorAddress, Fleet, Patience},
    executors::Reachable,
    grpc::{PUBLIC, routes},
    outbound::{
        events::{self, Sender},
        http::{ClientError, HttpClient},
        statuses::{self, StatusTeller},
    },
    retention::{Pace, Upkeep},
    sealing::{KeyFileError, Sealer},
    store::{Hearing, OpenError, Store, StoreError, why_away},
};

/// How often the process sets its clock by the database's.
const SET_CLOCK_EVERY: Duration = Duration::from_secs(10);

/// Why the service does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The database.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// The database again.
    #[error("the database cannot be read: {0}")]
    Read(#[from] StoreError),
    /// The keys of secrets.
    #[error(transparent)]
    SecretKeys(#[from] KeyFileError),
    /// What asks others.
    #[error(transparent)]
    Outbound(#[from] ClientError),
    /// The first key.
    #[error(transparent)]
    FirstKey(#[from] FirstKey),
    /// The address, or an executor's.
    #[error(transparent)]
    End(#[from] EndError),
}

/// A service that listens and has not begun to serve.
pub struct Hooks {
    listener: TcpListener,
    address: SocketAddr,
    config: HooksConfig,
    app: App,
    outbound: HttpClient,
    local: Local,
}

impl Hooks {
    /// Opens the database, makes the first key where there is none, and listens.
    ///
    /// # Errors
    /// One of these cannot be done.
    pub async fn bind(config: HooksConfig, clock: Clock) -> Result<Self, StartError> {
        let (listener, address) = grpc::listen(&config.listen).await?;
        let store = Store::open_with(&config.database_url, config.connecting).await?;
        set_clock(&clock, &store).await?;
        store.take_over(clock.now()).await?;
        let sealer = sealer(&config, &store).await?;
        let outbound = HttpClient::new(config.reach.clone(), config.ca_bundle.as_deref())?;
        let executors = AllExecutors::new(Reachable(fleet(&config, &store)?));
        let app = App {
            store,
            sealer,
            clock,
            limits: config.limits,
            rates: config.rates.clone(),
            executors,
            addresses: config.addresses.clone(),
            session_lifetime: config.session_lifetime,
        };
        app.ensure_first_key(config.plan, config.admin_key.as_ref(), &config.admin_key_file).await?;
        Ok(Self { listener, address, config, app, outbound, local: Local::default() })
    }

    /// Returns the address that it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the service for clients in this process. It answers from [`Hooks::run`] on.
    pub fn local(&self) -> Local {
        self.local.clone()
    }

    /// Names the executors to dispatch to, in place of the configured ones.
    pub fn set_executors(&mut self, urls: Vec<String>) {
        self.config.executors = urls.into_iter().map(ExecutorAddress::Url).collect();
    }

    /// Tells how addresses look, in place of what was configured: for a process that learns its ports late.
    pub fn set_addresses(&mut self, addresses: crate::app::Addresses) {
        self.app.addresses = addresses;
    }

    /// Serves, dispatches and sends until `shutdown`, then gives leases back and closes the database.
    ///
    /// # Errors
    /// An executor's address is none, or the listener broke.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), EndError> {
        let Self { listener, address, config, mut app, outbound, local } = self;
        // Anew: an address may have become known since.
        let fleet = fleet(&config, &app.store)?;
        app.executors = AllExecutors::new(Reachable(fleet.clone()));
        let watching = tokio::spawn(fleet.clone().run(shutdown.child_token()));
        let owner = owner();
        let patience = statuses::Patience::default();
        let teller =
            StatusTeller::new(app.clone(), outbound.clone(), &owner, patience, shutdown.child_token());
        let telling = tokio::spawn(teller.run());
        let dispatcher = Dispatcher::new(
            app.store.clone(),
            app.inputs(),
            app.clock.clone(),
            owner,
            fleet.clone(),
            Patience::default(),
            shutdown.child_token(),
        );
        let dispatching = tokio::spawn(dispatcher.run());
        let sending = tokio::spawn(sender(&app, outbound, shutdown.child_token()).run());
        let retention = Upkeep::new(
            app.store.clone(),
            app.clock.clone(),
            fleet,
            config.retention,
            Pace::default(),
            shutdown.child_token(),
        );
        let pruning = tokio::spawn(retention.run());
        let listening = tokio::spawn(app.store.clone().listen(Hearing::default(), shutdown.child_token()));
        let upkeep = tokio::spawn(app.store.clone().keep_log_short(shutdown.child_token()));
        let setting_clock =
            tokio::spawn(keep_time(app.clone(), config.database_url.clone(), shutdown.child_token()));
        let routes = routes(&app, config.gateway_key.clone(), shutdown.child_token());
        let routes = grpc::with_health_and_reflection(routes, DESCRIPTORS, &PUBLIC)
            .await
            .map_err(|error| EndError::Address(error.to_string()))?;
        local.serve(routes.clone());
        tracing::info!(%address, "the hooks service listens");
        let served = grpc::serve(
            listener,
            config.tls.as_ref().map(|tls| (tls, Peers::Anybody)),
            routes,
            shutdown.clone(),
        )
        .await;
        shutdown.cancel();
        if let Err(error) = dispatching.await {
            tracing::error!(%error, "the dispatcher broke");
        }
        if let Err(error) = watching.await {
            tracing::error!(%error, "the watching of executors broke");
        }
        if let Err(error) = telling.await {
            tracing::error!(%error, "the telling of commit statuses broke");
        }
        if let Err(error) = sending.await {
            tracing::error!(%error, "the sending of events broke");
        }
        if let Err(error) = pruning.await {
            tracing::error!(%error, "the removal of what is old broke");
        }
        if let Err(error) = listening.await {
            tracing::error!(%error, "the listening to other processes broke");
        }
        if let Err(error) = upkeep.await {
            tracing::error!(%error, "the upkeep of the database broke");
        }
        if let Err(error) = setting_clock.await {
            tracing::error!(%error, "the setting of the clock broke");
        }
        if let Err(error) = app.store.close().await {
            tracing::warn!(%error, "the database cannot be closed");
        }
        served
    }
}

/// Prepares to watch the executors.
fn fleet(config: &HooksConfig, store: &Store) -> Result<Fleet, EndError> {
    let connect = Connect {
        key: config.executor_key.clone(),
        tls: config.tls.clone(),
        resolve_within: config.resolve_within,
        silence: Patience::default().silence,
    };
    Fleet::new(config.executors.clone(), connect, store.wakeups.clone())
}

/// Opens the keys of secrets. A new key would open nothing of what is there, so it is only made where nothing is.
async fn sealer(config: &HooksConfig, store: &Store) -> Result<Sealer, StartError> {
    let in_use = store.sealing_keys_in_use().await?;
    let make = !config.secret_key_file_is_given && in_use.is_empty();
    let sealer = Sealer::open(config.secret_key_file.clone(), make)?;
    let known = sealer.key_ids();
    // Whoever puts a key above the others wants it to seal. A file that lacks the key that seals is not up to date.
    match store.sealing_key().await? {
        Some(key) if !known.contains(&key) => {}
        _ => store.seal_under(&sealer.current()).await?,
    }
    for key in in_use.iter().filter(|key| !known.contains(key)) {
        tracing::error!(
            key,
            file = %config.secret_key_file.display(),
            "secrets are sealed under a key that is not in the secret key file; builds that need them fail"
        );
    }
    Ok(sealer)
}

/// Sets the process's clock by the database's, which all processes share: what one stores another compares, and ids sort by
/// time. SQLite's is the machine's; where that is set back, time goes on, since what waits would wait for as long again.
async fn set_clock(clock: &Clock, store: &Store) -> Result<(), StoreError> {
    let (ours, now) = (clock.now(), store.time().await?);
    clock.follow(if store.is_shared() { now } else { now.max(ours) });
    Ok(())
}

/// Sets the clock again and again. It is also what says, once, that the database is away, and why, and that it is back.
async fn keep_time(app: App, url: String, stopping: CancellationToken) {
    let mut away = false;
    while stopping.run_until_cancelled(tokio::time::sleep(SET_CLOCK_EVERY)).await.is_some() {
        match set_clock(&app.clock, &app.store).await {
            Ok(()) if away => {
                away = false;
                tracing::info!("the database answers again");
            }
            Ok(()) => {}
            Err(error) if !away => {
                away = true;
                let why = why_away(&url).await.unwrap_or_default();
                tracing::error!(%error, why, "the database cannot be used; callers are told to come back");
            }
            Err(error) => tracing::debug!(%error, "the database is still away"),
        }
    }
}

/// Makes what sends events.
fn sender(app: &App, client: HttpClient, stopping: CancellationToken) -> Sender {
    let addresses = app.addresses.clone();
    let needs = events::Needs {
        store: app.store.clone(),
        sealer: app.sealer.clone(),
        client,
        clock: app.clock.clone(),
        render: Arc::new(move |kind, at, facts| events::body(kind, at, facts, &|id| addresses.site_url(id))),
    };
    Sender::new(needs, &owner(), events::Pace::default(), stopping)
}

/// A name that no other process has, nor this one at its next start.
fn owner() -> String {
    format!("{}-{:08x}", std::process::id(), rand::rng().random::<u32>())
}
