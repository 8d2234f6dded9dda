//! Writing HTTP/1.1: answers and their faults.

use std::fmt::Write as _;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode};
use tokio::io::AsyncWriteExt;

use super::{Connection, Next, Stop, read::Head};
use crate::http::answer::{Afterwards, Answer, CutHow, Framing, Piece};

impl Connection {
    pub(super) async fn write(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        let writing = async {
            self.socket.write_all(bytes).await?;
            self.socket.flush().await
        };
        writing.await.map_err(|_| Stop::Gone)
    }

    pub(super) async fn bad_request(&mut self) -> Result<(), Stop> {
        self.write(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            .await
    }

    pub(super) async fn send_upgrade(
        &mut self,
        protocol: &HeaderValue,
        bytes: &Bytes,
    ) -> Result<(), Stop> {
        let mut message = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\n".to_vec();
        message.extend_from_slice(b"upgrade: ");
        message.extend_from_slice(protocol.as_bytes());
        message.extend_from_slice(b"\r\n\r\n");
        message.extend_from_slice(bytes);
        self.write(&message).await
    }

    /// Sends an answer, up to its fault.
    pub(super) async fn send(&mut self, answer: &Answer, request: &Head) -> Result<Next, Stop> {
        for status in &answer.informational {
            let reason = reason(*status);
            self.write(format!("HTTP/1.1 {status} {reason}\r\n\r\n").as_bytes())
                .await?;
        }
        let head = head(answer, request);
        if let Some(bytes) = answer.head_cut {
            self.write(&head[..bytes.min(head.len() - 1)]).await?;
            return Ok(Next::Close);
        }
        self.write(&head).await?;
        let next = if answer.has_body(&request.method) {
            self.send_body(answer).await?
        } else {
            Next::from(answer.afterwards)
        };
        Ok(match next {
            Next::KeepAlive if request.closes => Next::Close,
            next => next,
        })
    }

    async fn send_body(&mut self, answer: &Answer) -> Result<Next, Stop> {
        for piece in answer.pieces() {
            match piece {
                Piece::Data(data) if answer.framing == Framing::Chunked => {
                    let mut chunk = format!("{:x}\r\n", data.len()).into_bytes();
                    chunk.extend_from_slice(&data);
                    chunk.extend_from_slice(b"\r\n");
                    self.write(&chunk).await?;
                }
                Piece::Data(data) => self.write(&data).await?,
                Piece::Wait(delay) => self.pause(delay).await?,
            }
        }
        match answer.cut.map(|cut| cut.how) {
            None => {}
            Some(CutHow::Truncate | CutHow::Close | CutHow::RstStream(_)) => {
                return Ok(Next::Close);
            }
            Some(CutHow::Reset) => return Ok(Next::Reset),
            Some(CutHow::Stall) => return self.until_gone().await,
        }
        match answer.framing {
            Framing::Chunked => {
                let mut end = b"0\r\n".to_vec();
                fields(&mut end, answer.trailers.as_ref());
                end.extend_from_slice(b"\r\n");
                self.write(&end).await?;
            }
            Framing::CloseDelimited => return Ok(Next::Close),
            // Only the end of the connection shows the client that nothing follows.
            Framing::Length(Some(length)) if length > answer.body.len() as u64 => {
                return Ok(Next::Close);
            }
            Framing::Length(_) => {}
        }
        Ok(Next::from(answer.afterwards))
    }
}

fn head(answer: &Answer, request: &Head) -> Vec<u8> {
    let status = answer.status.as_u16();
    let mut head = format!("HTTP/1.1 {status} {}\r\n", reason(status));
    if let Some(length) = answer.length() {
        let _ = write!(head, "content-length: {length}\r\n");
    }
    if answer.framing == Framing::Chunked {
        head.push_str("transfer-encoding: chunked\r\n");
    }
    let closes = answer.framing == Framing::CloseDelimited
        || answer.afterwards == Afterwards::AnnouncedClose
        || request.closes;
    if closes {
        head.push_str("connection: close\r\n");
    }
    let mut head = head.into_bytes();
    fields(&mut head, Some(&answer.headers));
    head.extend_from_slice(b"\r\n");
    head
}

fn fields(message: &mut Vec<u8>, headers: Option<&HeaderMap>) {
    for (name, value) in headers.into_iter().flatten() {
        message.extend_from_slice(name.as_str().as_bytes());
        message.extend_from_slice(b": ");
        message.extend_from_slice(value.as_bytes());
        message.extend_from_slice(b"\r\n");
    }
}

fn reason(status: u16) -> &'static str {
    StatusCode::from_u16(status)
        .ok()
        .and_then(|status| status.canonical_reason())
        .unwrap_or("")
}
