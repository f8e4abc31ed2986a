//! Commands that ask the director.

use std::path::{Path, PathBuf};

use hyper::Method;

use super::{
    CliError,
    args::{FileArgs, OutputArgs, ServerCommand, ServiceCommand, StatsArgs},
    output,
};
use crate::{
    api::{Changes, NewServer, NewService, ServerPatch, ServicePatch, State, Stats, Text},
    client::Client,
};

pub(super) async fn service(client: &Client, command: ServiceCommand) -> Result<(), CliError> {
    let (changes, output): (Changes, _) = match command {
        ServiceCommand::Add { service, scheduler, output } => {
            let body = NewService { address: service, scheduler };
            (client.request(Method::POST, "/v1/services", Some(&body)).await?, output)
        }
        ServiceCommand::Edit { service, scheduler, output } => {
            let path = format!("/v1/services/{service}");
            let body = ServicePatch { scheduler };
            (client.request(Method::PATCH, &path, Some(&body)).await?, output)
        }
        ServiceCommand::Delete { service, output } => {
            let path = format!("/v1/services/{service}");
            (client.request(Method::DELETE, &path, None::<&()>).await?, output)
        }
    };
    output::changes(&changes, output)
}

pub(super) async fn server(client: &Client, command: ServerCommand) -> Result<(), CliError> {
    let (changes, output): (Changes, _) = match command {
        ServerCommand::Add { service, server, weight, output } => {
            let path = format!("/v1/services/{service}/servers");
            let body = NewServer { address: server, weight };
            (client.request(Method::POST, &path, Some(&body)).await?, output)
        }
        ServerCommand::Edit { service, server, weight, output } => {
            let path = format!("/v1/services/{service}/servers/{server}");
            let body = ServerPatch { weight };
            (client.request(Method::PATCH, &path, Some(&body)).await?, output)
        }
        ServerCommand::Delete { service, server, output } => {
            let path = format!("/v1/services/{service}/servers/{server}");
            (client.request(Method::DELETE, &path, None::<&()>).await?, output)
        }
    };
    output::changes(&changes, output)
}

pub(super) async fn list(client: &Client, output: OutputArgs) -> Result<(), CliError> {
    output::state(&client.get::<State>("/v1/state").await?, output)
}

pub(super) async fn stats(client: &Client, args: StatsArgs) -> Result<(), CliError> {
    output::stats(&client.get::<Stats>("/v1/stats").await?, args)
}

pub(super) async fn plan(client: &Client, args: FileArgs) -> Result<(), CliError> {
    let text = args.file.map(read).transpose()?;
    let changes: Changes = client.request(Method::POST, "/v1/plan", text.as_ref()).await?;
    output::changes(&changes, args.output)
}

pub(super) async fn apply(client: &Client, args: FileArgs) -> Result<(), CliError> {
    let text = args.file.map(read).transpose()?;
    let changes: Changes = client.request(Method::POST, "/v1/apply", text.as_ref()).await?;
    output::changes(&changes, args.output)
}

fn read(path: PathBuf) -> Result<Text, CliError> {
    let name = path.display().to_string();
    let read = |path: &Path| std::fs::read_to_string(path);
    let text = read(&path).map_err(|source| CliError::File { path, source })?;
    Ok(Text { name, text })
}
