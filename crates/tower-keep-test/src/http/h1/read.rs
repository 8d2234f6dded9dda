//! Reading HTTP/1.1: heads and bodies of requests.

use bytes::{Buf, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, Version, header};
use tokio::io::AsyncReadExt;

use super::{Connection, Stop};
use crate::http::state::Ticket;

const MAX_HEADERS: usize = 256;
const MAX_HEAD: usize = 256 * 1024;

pub(super) struct Head {
    pub(super) method: Method,
    pub(super) uri: Uri,
    pub(super) version: Version,
    pub(super) headers: HeaderMap,
    pub(super) expects_continue: bool,
    /// Whether the client wants the connection closed after the answer.
    pub(super) closes: bool,
}

/// The part of the request's body that has not been read.
pub(super) enum Body {
    Length(u64),
    Chunked,
    Done,
}

fn malformed(what: impl ToString) -> Stop {
    Stop::Malformed(format!("a request is not HTTP/1.1: {}", what.to_string()))
}

impl Body {
    pub(super) fn of(head: &Head) -> Result<Self, Stop> {
        if let Some(coding) = head.headers.get(header::TRANSFER_ENCODING) {
            let coding = String::from_utf8_lossy(coding.as_bytes()).to_ascii_lowercase();
            if !coding.ends_with("chunked") {
                return Err(malformed("a transfer coding without chunks"));
            }
            return Ok(Self::Chunked);
        }
        match head.headers.get(header::CONTENT_LENGTH) {
            None => Ok(Self::Done),
            Some(length) if length == "0" => Ok(Self::Done),
            Some(length) => length
                .to_str()
                .ok()
                .and_then(|length| length.parse().ok())
                .map(Self::Length)
                .ok_or_else(|| malformed("an invalid content-length")),
        }
    }

    pub(super) fn is_done(&self) -> bool {
        matches!(self, Self::Done)
    }
}

impl Connection {
    /// Reads more bytes.
    pub(super) async fn fill(&mut self) -> Result<(), Stop> {
        match self.socket.read_buf(&mut self.buffer).await {
            Ok(0) | Err(_) => Err(Stop::Gone),
            Ok(_) => Ok(()),
        }
    }

    /// Reads the head of the next request.
    pub(super) async fn head(&mut self) -> Result<Head, Stop> {
        loop {
            if let Some((head, length)) = parse_head(&self.buffer)? {
                self.buffer.advance(length);
                return Ok(head);
            }
            if self.buffer.len() > MAX_HEAD {
                return Err(malformed("its head is too long"));
            }
            self.fill().await?;
        }
    }

    /// Reads the rest of a body into the record.
    pub(super) async fn read_body(&mut self, body: &mut Body, ticket: &Ticket) -> Result<(), Stop> {
        match *body {
            Body::Length(length) => {
                self.read_bytes(length, ticket).await?;
                ticket.complete(None);
            }
            Body::Chunked => {
                let trailers = self.read_chunks(ticket).await?;
                ticket.complete(trailers);
            }
            Body::Done => {}
        }
        *body = Body::Done;
        Ok(())
    }

    async fn read_bytes(&mut self, mut length: u64, ticket: &Ticket) -> Result<(), Stop> {
        while length > 0 {
            if self.buffer.is_empty() {
                self.fill().await?;
            }
            let here = usize::try_from(length)
                .map_or(self.buffer.len(), |length| length.min(self.buffer.len()));
            ticket.data(&self.buffer[..here]);
            self.buffer.advance(here);
            length -= here as u64;
        }
        Ok(())
    }

    async fn read_chunks(&mut self, ticket: &Ticket) -> Result<Option<HeaderMap>, Stop> {
        loop {
            let size = loop {
                match httparse::parse_chunk_size(&self.buffer) {
                    Ok(httparse::Status::Complete((line, size))) => {
                        self.buffer.advance(line);
                        break size;
                    }
                    Ok(httparse::Status::Partial) => self.fill().await?,
                    Err(_) => return Err(malformed("an invalid size of a chunk")),
                }
            };
            if size == 0 {
                return self.read_trailers().await;
            }
            self.read_bytes(size, ticket).await?;
            while self.buffer.len() < 2 {
                self.fill().await?;
            }
            if !self.buffer.starts_with(b"\r\n") {
                return Err(malformed("a chunk without its end"));
            }
            self.buffer.advance(2);
        }
    }

    async fn read_trailers(&mut self) -> Result<Option<HeaderMap>, Stop> {
        loop {
            let mut fields = vec![httparse::EMPTY_HEADER; MAX_HEADERS];
            match httparse::parse_headers(&self.buffer, &mut fields) {
                Ok(httparse::Status::Complete((length, fields))) => {
                    let trailers = headers(fields)?;
                    self.buffer.advance(length);
                    return Ok(Some(trailers).filter(|trailers| !trailers.is_empty()));
                }
                Ok(httparse::Status::Partial) => self.fill().await?,
                Err(error) => return Err(malformed(error)),
            }
        }
    }

    /// Reads and forgets everything, until the client closes the connection.
    pub(super) async fn discard_all(&mut self) {
        loop {
            self.buffer.clear();
            if self.fill().await.is_err() {
                return;
            }
        }
    }

    /// Waits for the first byte of a next request. The rest stays unread.
    pub(super) async fn until_next_request(&mut self) {
        if self.buffer.is_empty() {
            let mut first = [0];
            // An error ends the wait too: the client closed the connection.
            let _ = self.socket.read(&mut first).await;
        }
    }
}

fn parse_head(buffer: &BytesMut) -> Result<Option<(Head, usize)>, Stop> {
    let mut fields = vec![httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut fields);
    let length = match request.parse(buffer).map_err(malformed)? {
        httparse::Status::Complete(length) => length,
        httparse::Status::Partial => return Ok(None),
    };
    let headers = headers(request.headers)?;
    let version = match request.version {
        Some(0) => Version::HTTP_10,
        _ => Version::HTTP_11,
    };
    let has = |name: HeaderName, token: &str| {
        headers.get_all(name).iter().any(|value| {
            let value = String::from_utf8_lossy(value.as_bytes()).to_ascii_lowercase();
            value.split(',').any(|part| part.trim() == token)
        })
    };
    let head = Head {
        method: request
            .method
            .unwrap_or_default()
            .parse()
            .map_err(malformed)?,
        uri: request
            .path
            .unwrap_or_default()
            .parse()
            .map_err(malformed)?,
        version,
        expects_continue: has(header::EXPECT, "100-continue"),
        closes: version == Version::HTTP_10 || has(header::CONNECTION, "close"),
        headers,
    };
    Ok(Some((head, length)))
}

fn headers(fields: &[httparse::Header<'_>]) -> Result<HeaderMap, Stop> {
    let mut headers = HeaderMap::with_capacity(fields.len());
    for field in fields {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(malformed)?;
        let value = HeaderValue::from_bytes(field.value).map_err(malformed)?;
        headers.append(name, value);
    }
    Ok(headers)
}
