//! Talks to the daemon over its socket.

use std::{
    io,
    path::{Path, PathBuf},
};

use http_body_util::{BodyExt as _, Full};
use hyper::{
    Method, StatusCode,
    body::Bytes,
    header::{CONTENT_TYPE, HOST},
};
use hyper_util::rt::TokioIo;
use serde::{Serialize, de::DeserializeOwned};
use tokio::net::UnixStream;

use crate::api::Failure;

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens.
    #[error("no director listens on {}; start it with `tunlb director`", socket.display())]
    NoDaemon {
        /// The socket.
        socket: PathBuf,
    },
    /// The socket is not for this user.
    #[error("not allowed to connect to {}; run as root", socket.display())]
    NotAllowed {
        /// The socket.
        socket: PathBuf,
    },
    /// The socket fails otherwise.
    #[error("cannot talk to the director on {}", socket.display())]
    Socket {
        /// The socket.
        socket: PathBuf,
        /// What went wrong.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The daemon refused.
    #[error("{0}")]
    Refused(String),
}

/// A daemon's socket.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
}

impl Client {
    /// A client for this socket; connects for each request.
    pub fn new(socket: &Path) -> Self {
        Self { socket: socket.into() }
    }

    /// Asks for something.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.request::<(), T>(Method::GET, path, None).await
    }

    /// Sends a request and reads the answer.
    ///
    /// # Errors
    ///
    /// [`ClientError::Refused`] carries what the daemon says; after any other error it is not
    /// known whether the request was carried out, unless nobody listened.
    pub async fn request<B: Serialize, T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&B>,
    ) -> Result<T, ClientError> {
        let stream = UnixStream::connect(&self.socket).await.map_err(|error| {
            let socket = self.socket.clone();
            match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                    ClientError::NoDaemon { socket }
                }
                io::ErrorKind::PermissionDenied => ClientError::NotAllowed { socket },
                _ => self.failed(error),
            }
        })?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| self.failed(error))?;
        let connection = tokio::spawn(connection);
        let body = body.map(serde_json::to_vec).transpose().map_err(|error| self.failed(error))?;
        let request = hyper::Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, "tunlb")
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body.unwrap_or_default())))
            .map_err(|error| self.failed(error))?;
        let response = sender.send_request(request).await.map_err(|error| self.failed(error))?;
        let status = response.status();
        let bytes = response.into_body().collect().await.map_err(|error| self.failed(error))?;
        connection.abort();
        let bytes = bytes.to_bytes();
        if status == StatusCode::OK {
            return serde_json::from_slice(&bytes).map_err(|error| self.failed(error));
        }
        let text = || String::from_utf8_lossy(&bytes).into_owned();
        let failure = serde_json::from_slice::<Failure>(&bytes);
        Err(ClientError::Refused(failure.map_or_else(|_| text(), |failure| failure.error)))
    }

    fn failed(&self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> ClientError {
        ClientError::Socket { socket: self.socket.clone(), source: source.into() }
    }
}
