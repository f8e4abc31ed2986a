//! Commands that ask the director.

use std::path::PathBuf;

use hyper::Method;
use serde::Serialize;

use super::{
    CliError,
    args::{FileArgs, RequestArgs, SchedulerOptions, ServerCommand, ServiceCommand, StatsArgs},
    output,
};
use crate::{
    api::{Changes, NewServer, NewService, ServerPatch, ServicePatch, State, Stats, Text},
    client::Client,
};

impl RequestArgs {
    /// The director to ask.
    pub(super) fn client(&self) -> Client {
        Client::new(&self.socket)
    }
}

pub(super) async fn service(command: ServiceCommand) -> Result<(), CliError> {
    match command {
        ServiceCommand::Add { service, scheduler, options, request } => {
            let SchedulerOptions { scheduler_flags, table_size } = options;
            let body = NewService { address: service, scheduler, scheduler_flags, table_size };
            change(&request, Method::POST, "/v1/services", Some(&body)).await
        }
        ServiceCommand::Edit { service, scheduler, options, request } => {
            let path = format!("/v1/services/{service}");
            let SchedulerOptions { scheduler_flags, table_size } = options;
            let body = ServicePatch { scheduler, scheduler_flags, table_size };
            change(&request, Method::PATCH, &path, Some(&body)).await
        }
        ServiceCommand::Delete { service, request } => {
            let path = format!("/v1/services/{service}");
            change(&request, Method::DELETE, &path, None::<&()>).await
        }
    }
}

pub(super) async fn server(command: ServerCommand) -> Result<(), CliError> {
    match command {
        ServerCommand::Add { service, server, weight, request } => {
            let path = format!("/v1/services/{service}/servers");
            let body = NewServer { address: server, weight };
            change(&request, Method::POST, &path, Some(&body)).await
        }
        ServerCommand::Edit { service, server, weight, request } => {
            let path = format!("/v1/services/{service}/servers/{server}");
            change(&request, Method::PATCH, &path, Some(&ServerPatch { weight })).await
        }
        ServerCommand::Delete { service, server, request } => {
            let path = format!("/v1/services/{service}/servers/{server}");
            change(&request, Method::DELETE, &path, None::<&()>).await
        }
    }
}

pub(super) async fn list(request: &RequestArgs) -> Result<(), CliError> {
    output::state(&request.client().get::<State>("/v1/state").await?, request.json)
}

pub(super) async fn stats(args: &StatsArgs) -> Result<(), CliError> {
    let StatsArgs { all, request } = args;
    output::stats(&request.client().get::<Stats>("/v1/stats").await?, *all, request.json)
}

pub(super) async fn plan(args: FileArgs) -> Result<(), CliError> {
    let FileArgs { file, request } = args;
    let text = file.map(read).transpose()?;
    change(&request, Method::POST, "/v1/plan", text.as_ref()).await
}

pub(super) async fn apply(args: FileArgs) -> Result<(), CliError> {
    let FileArgs { file, request } = args;
    let text = file.map(read).transpose()?;
    change(&request, Method::POST, "/v1/apply", text.as_ref()).await
}

/// Asks for something that is answered with what changes.
async fn change<B: Serialize>(
    request: &RequestArgs,
    method: Method,
    path: &str,
    body: Option<&B>,
) -> Result<(), CliError> {
    let changes: Changes = request.client().request(method, path, body).await?;
    output::changes(&changes, request.json)
}

fn read(path: PathBuf) -> Result<Text, CliError> {
    let name = path.display().to_string();
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(Text { name, text }),
        Err(source) => Err(CliError::File { path, source }),
    }
}
