//! The web server of a real server in the demo and in tests, and the client that asks it.

use std::{
    net::{SocketAddr, SocketAddrV4},
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::{Path, State},
    http::StatusCode,
    routing::get,
};
use http_body_util::{BodyExt, Full};
use hyper::{Request, body::Bytes};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};

/// The largest answer to `GET /bytes/N`, in bytes.
const MOST_BYTES: usize = 64 << 20;

/// What can go wrong with a request or the server.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No answer in time.
    #[error("no answer from {address} within {} ms", timeout.as_millis())]
    Timeout {
        /// Whom the client asked.
        address: SocketAddrV4,
        /// How long it waited.
        timeout: Duration,
    },
    /// The connection could not be opened or broke.
    #[error("cannot connect to {address}")]
    Connect {
        /// Whom the client asked.
        address: SocketAddrV4,
        /// What the kernel said.
        #[source]
        source: std::io::Error,
    },
    /// What came back was not HTTP.
    #[error("broken exchange with {address}")]
    Exchange {
        /// Whom the client asked.
        address: SocketAddrV4,
        /// What hyper said.
        #[source]
        source: hyper::Error,
    },
    /// The server cannot listen.
    #[error("cannot listen on {address}; is the address on an interface here, and the port free")]
    Listen {
        /// Where it wanted to listen.
        address: SocketAddr,
        /// What the kernel said.
        #[source]
        source: std::io::Error,
    },
}

/// What `tunlb demo-http` takes.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Address and port to listen on
    #[arg(long)]
    pub listen: SocketAddr,
    /// The answer to GET /, without its newline
    #[arg(long)]
    pub body: String,
}

/// Serves HTTP/1.1 until the process ends: `GET /` gives the body and a newline, `POST /` the
/// length of what was sent and a newline, `GET /bytes/N` N bytes.
///
/// # Errors
///
/// [`Error::Listen`].
pub async fn serve(args: Args) -> Result<(), Error> {
    let Args { listen, body } = args;
    let failed = |source| Error::Listen { address: listen, source };
    let listener = TcpListener::bind(listen).await.map_err(failed)?;
    axum::serve(listener, router(format!("{body}\n"))).await.map_err(failed)
}

fn router(answer: String) -> Router {
    Router::new()
        .route("/", get(|State(answer): State<Bytes>| async { answer }).post(count))
        .route("/bytes/{count}", get(bytes))
        .with_state(Bytes::from(answer))
}

/// Counts a body as it arrives, so that its size costs no memory.
async fn count(body: Body) -> Result<String, StatusCode> {
    let mut body = body;
    let mut length = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| StatusCode::BAD_REQUEST)?;
        length += frame.data_ref().map_or(0, Bytes::len);
    }
    Ok(format!("{length}\n"))
}

async fn bytes(Path(count): Path<usize>) -> Result<Vec<u8>, StatusCode> {
    if count > MOST_BYTES {
        return Err(StatusCode::PAYLOAD_TOO_LARGE);
    }
    // A pattern, so that a byte lost or doubled on the way is seen.
    Ok((0_u8..251).cycle().take(count).collect())
}

/// An answer to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The client's own address and port.
    pub client: SocketAddr,
    /// HTTP status code.
    pub status: u16,
    /// The body.
    pub body: Bytes,
}

impl Answer {
    /// The body as text, without whitespace around it.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).trim().to_owned()
    }
}

/// A client's connection, which can carry several requests one after the other.
#[derive(Debug)]
pub struct Connection {
    address: SocketAddrV4,
    client: SocketAddr,
    sender: hyper::client::conn::http1::SendRequest<Full<Bytes>>,
}

impl Connection {
    /// Connects from the current thread's network namespace.
    ///
    /// # Errors
    ///
    /// [`Error::Connect`], [`Error::Exchange`].
    pub async fn open(address: SocketAddrV4) -> Result<Self, Error> {
        let failed = |source| Error::Connect { address, source };
        let stream = TcpStream::connect(address).await.map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        let client = stream.local_addr().map_err(failed)?;
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|source| Error::Exchange { address, source })?;
        tokio::spawn(connection);
        Ok(Self { address, client, sender })
    }

    /// The client's own address and port.
    #[must_use]
    pub const fn client(&self) -> SocketAddr {
        self.client
    }

    /// Sends `GET path`, or `POST path` if there is a body, and reads the whole answer.
    ///
    /// # Errors
    ///
    /// [`Error::Exchange`].
    pub async fn request(&mut self, path: &str, body: Option<Bytes>) -> Result<Answer, Error> {
        let address = self.address;
        let failed = |source| Error::Exchange { address, source };
        let mut request = Request::new(Full::new(body.clone().unwrap_or_default()));
        if body.is_some() {
            *request.method_mut() = hyper::Method::POST;
        }
        // Every path that callers ask for is a constant of theirs; a bad one asks for `/` and shows
        // in the answer.
        *request.uri_mut() = path.parse().unwrap_or_default();
        if let Ok(host) = address.to_string().parse() {
            request.headers_mut().insert(hyper::header::HOST, host);
        }
        self.sender.ready().await.map_err(failed)?;
        let response = self.sender.send_request(request).await.map_err(failed)?;
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.map_err(failed)?.to_bytes();
        Ok(Answer { client: self.client, status, body })
    }
}

/// One `GET /` over a connection of its own.
///
/// # Errors
///
/// [`Error::Timeout`], [`Error::Connect`], [`Error::Exchange`].
pub async fn fetch(address: SocketAddrV4, timeout: Duration) -> Result<Answer, Error> {
    let exchange = async { Connection::open(address).await?.request("/", None).await };
    tokio::time::timeout(timeout, exchange)
        .await
        .unwrap_or(Err(Error::Timeout { address, timeout }))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn server() -> SocketAddrV4 {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("listens");
        let SocketAddr::V4(address) = listener.local_addr().expect("has an address") else {
            unreachable!("bound to IPv4");
        };
        tokio::spawn(async { axum::serve(listener, router("web1\n".to_owned())).await });
        address
    }

    #[tokio::test]
    async fn one_connection_carries_every_kind_of_request() {
        let address = server().await;
        let mut connection = Connection::open(address).await.expect("connects");
        let answer = connection.request("/", None).await.expect("answers");
        assert_eq!((answer.status, &answer.body[..]), (200, &b"web1\n"[..]));
        let megabyte = Bytes::from(vec![7; 1 << 20]);
        let counted = connection.request("/", Some(megabyte)).await.expect("counts");
        assert_eq!(counted.text(), "1048576");
        let large = connection.request("/bytes/1048576", None).await.expect("answers");
        assert_eq!(large.body.len(), 1 << 20);
        assert_eq!(large.client, connection.client());
        let missing = connection.request("/none", None).await.expect("answers");
        assert_eq!(missing.status, 404);
    }

    #[tokio::test]
    async fn silence_is_a_timeout() {
        // A listener whose backlog takes the connection and which never answers.
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("listens");
        let SocketAddr::V4(address) = listener.local_addr().expect("has an address") else {
            unreachable!("bound to IPv4");
        };
        let result = fetch(address, Duration::from_millis(50)).await;
        assert!(matches!(result, Err(Error::Timeout { .. })), "{result:?}");
    }
}
