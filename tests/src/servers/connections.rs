//! Clients of one connection each, which the tests close when they like.

use std::{net::SocketAddr, sync::Arc};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{net::TcpStream, task::JoinHandle};

use super::{Background, Server};

/// What came back.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The body.
    pub text: String,
}

impl Answer {
    async fn read(response: Response<Incoming>) -> hyper::Result<Self> {
        let (head, body) = response.into_parts();
        let body = body.collect().await?.to_bytes();
        Ok(Self {
            status: head.status,
            text: String::from_utf8(body.to_vec()).unwrap(),
        })
    }
}

/// One TCP connection of its own, with HTTP/1. Dropping it closes the socket.
#[derive(Debug)]
pub struct Connection {
    sender: hyper::client::conn::http1::SendRequest<Full<Bytes>>,
    _task: Background,
}

/// A GET request.
pub fn get(path: &str) -> Request<Full<Bytes>> {
    Request::get(path)
        .header(header::HOST, "localhost")
        .body(Full::default())
        .unwrap()
}

/// A GET request with this header.
pub fn get_with(path: &str, name: &'static str, value: &str) -> Request<Full<Bytes>> {
    let mut request = get(path);
    request.headers_mut().insert(name, value.parse().unwrap());
    request
}

/// A POST request.
pub fn post(path: &str) -> Request<Full<Bytes>> {
    let mut request = get(path);
    *request.method_mut() = Method::POST;
    request
}

/// A DELETE request.
pub fn delete(path: &str) -> Request<Full<Bytes>> {
    let mut request = get(path);
    *request.method_mut() = Method::DELETE;
    request
}

impl Connection {
    /// Connects to the server.
    pub async fn open(server: &Server) -> Self {
        Self::to(server.addr).await
    }

    /// Connects to this address.
    pub async fn to(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).await.unwrap();
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .unwrap();
        let task = Background::spawn(async move {
            let _ = connection.await;
        });
        Self {
            sender,
            _task: task,
        }
    }

    /// Sends the request and reads the answer.
    pub async fn try_send(&mut self, request: Request<Full<Bytes>>) -> hyper::Result<Answer> {
        self.sender.ready().await?;
        Answer::read(self.sender.send_request(request).await?).await
    }

    /// As [`try_send`](Self::try_send), where no error is expected.
    pub async fn send(&mut self, request: Request<Full<Bytes>>) -> Answer {
        self.try_send(request).await.unwrap()
    }

    /// Sends a GET request, where no error is expected.
    pub async fn get(&mut self, path: &str) -> Answer {
        self.send(get(path)).await
    }

    /// Sends the request from a task of its own; aborting it closes the connection.
    pub fn spawn(mut self, request: Request<Full<Bytes>>) -> JoinHandle<Answer> {
        tokio::spawn(async move { self.send(request).await })
    }
}

/// One TCP connection with HTTP/2, by prior knowledge. Clones are handles to the same connection.
#[derive(Clone, Debug)]
pub struct Multiplexed {
    sender: hyper::client::conn::http2::SendRequest<Full<Bytes>>,
    addr: SocketAddr,
    _task: Arc<Background>,
}

impl Multiplexed {
    /// Connects to the server.
    pub async fn open(server: &Server) -> Self {
        let stream = TcpStream::connect(server.addr).await.unwrap();
        let (sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
                .await
                .unwrap();
        let task = Background::spawn(async move {
            let _ = connection.await;
        });
        Self {
            sender,
            addr: server.addr,
            _task: Arc::new(task),
        }
    }

    /// Sends a GET request and reads the answer.
    pub async fn try_get(&mut self, path: &str) -> hyper::Result<Answer> {
        self.sender.ready().await?;
        let request = Request::get(format!("http://{}{path}", self.addr))
            .body(Full::default())
            .unwrap();
        Answer::read(self.sender.send_request(request).await?).await
    }

    /// As [`try_get`](Self::try_get), where no error is expected.
    pub async fn get(&mut self, path: &str) -> Answer {
        self.try_get(path).await.unwrap()
    }
}
