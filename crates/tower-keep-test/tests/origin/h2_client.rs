//! A client of HTTP/2 that shows each error as it is.

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use http::{HeaderMap, Request, StatusCode};
use tokio::task::JoinHandle;
use tower_keep_test::http::{ErrorCode, Origin};

/// One connection.
pub(crate) struct Client {
    pub(crate) requests: SendRequest<Bytes>,
    /// How the connection ends.
    pub(crate) connection: JoinHandle<Result<(), h2::Error>>,
}

/// A response as far as it arrived.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Option<HeaderMap>,
    /// The error of the body.
    pub(crate) error: Option<h2::Error>,
}

impl Client {
    pub(crate) async fn connect(origin: &Origin) -> Self {
        let stream = origin.connect().unwrap();
        let (requests, connection) = h2::client::handshake(stream).await.unwrap();
        Self {
            requests,
            connection: tokio::spawn(connection),
        }
    }

    /// Sends a request without a body.
    pub(crate) async fn send(&mut self, method: &str) -> ResponseFuture {
        let mut requests = self.requests.clone().ready().await.unwrap();
        let request = Request::builder()
            .method(method)
            .uri("http://origin.test/a?b=c")
            .body(())
            .unwrap();
        requests.send_request(request, true).unwrap().0
    }

    /// Sends a request and reads the answer.
    pub(crate) async fn get(&mut self) -> Result<Answer, h2::Error> {
        read(self.send("GET").await).await
    }
}

/// Reads an answer.
pub(crate) async fn read(response: ResponseFuture) -> Result<Answer, h2::Error> {
    let (head, mut body) = response.await?.into_parts();
    let mut answer = Answer {
        status: head.status,
        headers: head.headers,
        body: Vec::new(),
        trailers: None,
        error: None,
    };
    while let Some(data) = body.data().await {
        match data {
            Ok(data) => {
                let _ = body.flow_control().release_capacity(data.len());
                answer.body.extend(data);
            }
            Err(error) => {
                answer.error = Some(error);
                return Ok(answer);
            }
        }
    }
    match body.trailers().await {
        Ok(trailers) => answer.trailers = trailers,
        Err(error) => answer.error = Some(error),
    }
    Ok(answer)
}

/// The code that the origin sent in a RST_STREAM.
pub(crate) fn reset_code(error: &h2::Error) -> Option<ErrorCode> {
    let sent = error.is_reset() && error.is_remote();
    Some(ErrorCode(error.reason()?.into())).filter(|_| sent)
}

/// The code that the origin sent in a GOAWAY.
pub(crate) fn go_away_code(error: &h2::Error) -> Option<ErrorCode> {
    let sent = error.is_go_away() && error.is_remote();
    Some(ErrorCode(error.reason()?.into())).filter(|_| sent)
}
