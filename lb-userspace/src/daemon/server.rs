//! The daemon's HTTP interface; see [`crate::api`] for what is said over it.

use std::net::Ipv4Addr;

use axum::{
    Json, Router,
    body::Bytes,
    extract::{Path, State as Shared},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, patch, post},
};
use serde::{Serialize, de::DeserializeOwned};
use tokio::sync::{mpsc, oneshot};

use super::{DaemonError, chain, order::Order};
use crate::{
    api::{Changes, Failure, NewServer, NewService, ServerPatch, ServicePatch, State, Stats, Text},
    config::{
        Change, ChangeError, ConfigError, Scheduler, SchedulerFlag, SchedulerName, ServiceAddress,
        unicast,
    },
    store::StoreError,
};

/// Where the answer to a request goes.
pub(super) type Reply<T> = oneshot::Sender<Result<T, DaemonError>>;

/// What the daemon is asked for.
pub(super) enum Request {
    State(Reply<State>),
    Stats(Reply<Stats>),
    Plan(Option<Text>, Reply<Changes>),
    Order(Order, Reply<Changes>),
    Detach(Reply<Changes>),
}

type Daemon = mpsc::Sender<Request>;

/// The routes, answered by whoever receives the requests.
pub(super) fn router(daemon: Daemon) -> Router {
    let service = "/v1/services/{service}";
    let servers = "/v1/services/{service}/servers";
    let server = "/v1/services/{service}/servers/{server}";
    Router::new()
        .route("/v1/state", get(state))
        .route("/v1/stats", get(stats))
        .route("/v1/plan", get(plan_file).post(plan))
        .route("/v1/apply", post(apply))
        .route("/v1/detach", post(detach))
        .route("/v1/services", post(add_service))
        .route(service, patch(edit_service).delete(delete_service))
        .route(servers, post(add_server))
        .route(server, patch(edit_server).delete(delete_server))
        .fallback(async || failure(StatusCode::NOT_FOUND, "no such path; see docs"))
        .with_state(daemon)
}

async fn state(Shared(daemon): Shared<Daemon>) -> Response {
    ask(&daemon, Request::State).await
}

async fn stats(Shared(daemon): Shared<Daemon>) -> Response {
    ask(&daemon, Request::Stats).await
}

async fn plan_file(Shared(daemon): Shared<Daemon>) -> Response {
    ask(&daemon, |reply| Request::Plan(None, reply)).await
}

async fn plan(Shared(daemon): Shared<Daemon>, body: Bytes) -> Response {
    match optional(&body) {
        Ok(text) => ask(&daemon, |reply| Request::Plan(text, reply)).await,
        Err(response) => *response,
    }
}

async fn apply(Shared(daemon): Shared<Daemon>, body: Bytes) -> Response {
    match optional(&body) {
        Ok(text) => ask(&daemon, |reply| Request::Order(Order::Apply(text), reply)).await,
        Err(response) => *response,
    }
}

async fn detach(Shared(daemon): Shared<Daemon>) -> Response {
    ask(&daemon, Request::Detach).await
}

async fn add_service(Shared(daemon): Shared<Daemon>, body: Bytes) -> Response {
    change(&daemon, || {
        let NewService { address: service, scheduler, scheduler_flags, table_size } =
            required(&body)?;
        let scheduler = self::scheduler(scheduler, &scheduler_flags, table_size)?;
        Ok(Change::AddService { service, scheduler })
    })
    .await
}

async fn edit_service(
    Shared(daemon): Shared<Daemon>,
    Path(service): Path<String>,
    body: Bytes,
) -> Response {
    change(&daemon, || {
        let ServicePatch { scheduler, scheduler_flags, table_size } = required(&body)?;
        let scheduler = self::scheduler(scheduler, &scheduler_flags, table_size)?;
        Ok(Change::EditService { service: named(&service)?, scheduler })
    })
    .await
}

async fn delete_service(Shared(daemon): Shared<Daemon>, Path(service): Path<String>) -> Response {
    change(&daemon, || Ok(Change::DeleteService { service: named(&service)? })).await
}

async fn add_server(
    Shared(daemon): Shared<Daemon>,
    Path(service): Path<String>,
    body: Bytes,
) -> Response {
    change(&daemon, || {
        let NewServer { address, weight } = required(&body)?;
        // The text of the configuration is checked again with the change in it.
        Ok(Change::AddServer { service: named(&service)?, server: address, weight })
    })
    .await
}

async fn edit_server(
    Shared(daemon): Shared<Daemon>,
    Path((service, server)): Path<(String, String)>,
    body: Bytes,
) -> Response {
    change(&daemon, || {
        let ServerPatch { weight } = required(&body)?;
        Ok(Change::EditServer { service: named(&service)?, server: address(&server)?, weight })
    })
    .await
}

async fn delete_server(
    Shared(daemon): Shared<Daemon>,
    Path((service, server)): Path<(String, String)>,
) -> Response {
    change(&daemon, || {
        Ok(Change::DeleteServer { service: named(&service)?, server: address(&server)? })
    })
    .await
}

async fn change(
    daemon: &Daemon,
    change: impl FnOnce() -> Result<Change, Box<Response>>,
) -> Response {
    match change() {
        Ok(change) => ask(daemon, |reply| Request::Order(Order::Change(change), reply)).await,
        Err(response) => *response,
    }
}

/// Puts a request to the daemon and makes its answer a response.
async fn ask<T: Serialize>(daemon: &Daemon, request: impl FnOnce(Reply<T>) -> Request) -> Response {
    let (reply, answer) = oneshot::channel();
    let sent = daemon.send(request(reply)).await;
    let answer = match sent {
        Ok(()) => answer.await.unwrap_or(Err(DaemonError::Stopping)),
        Err(_) => Err(DaemonError::Stopping),
    };
    match answer {
        Ok(value) => Json(value).into_response(),
        Err(error) => failure(status(&error), &chain(&error)),
    }
}

fn status(error: &DaemonError) -> StatusCode {
    match error {
        DaemonError::Config(ConfigError::Change(change)) => match change {
            ChangeError::NoService(_) | ChangeError::NoServer { .. } => StatusCode::NOT_FOUND,
            ChangeError::ServiceExists(_) | ChangeError::ServerExists { .. } => {
                StatusCode::CONFLICT
            }
        },
        DaemonError::Config(ConfigError::Edited { .. }) => StatusCode::CONFLICT,
        DaemonError::Config(ConfigError::Invalid { .. } | ConfigError::Unfit(_))
        | DaemonError::Fixed { .. }
        | DaemonError::NoInterface { .. } => StatusCode::UNPROCESSABLE_ENTITY,
        DaemonError::Store(StoreError::Full { .. } | StoreError::NoStretch { .. }) => {
            StatusCode::UNPROCESSABLE_ENTITY
        }
        DaemonError::Stopping => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

fn failure(status: StatusCode, error: &str) -> Response {
    (status, Json(Failure { error: error.into() })).into_response()
}

fn bad(error: &dyn std::fmt::Display) -> Box<Response> {
    Box::new(failure(StatusCode::BAD_REQUEST, &error.to_string()))
}

fn required<T: DeserializeOwned>(body: &[u8]) -> Result<T, Box<Response>> {
    serde_json::from_slice(body).map_err(|error| bad(&error))
}

fn optional<T: DeserializeOwned>(body: &[u8]) -> Result<Option<T>, Box<Response>> {
    if body.is_empty() { Ok(None) } else { required(body).map(Some) }
}

fn named(service: &str) -> Result<ServiceAddress, Box<Response>> {
    service.parse().map_err(|error: crate::config::NameError| bad(&error))
}

fn scheduler(
    name: SchedulerName,
    flags: &[SchedulerFlag],
    table_size: Option<i64>,
) -> Result<Scheduler, Box<Response>> {
    Scheduler::new(name, flags, table_size).map_err(|error| bad(&error))
}

fn address(server: &str) -> Result<Ipv4Addr, Box<Response>> {
    unicast(server).map_err(|error| bad(&error))
}
