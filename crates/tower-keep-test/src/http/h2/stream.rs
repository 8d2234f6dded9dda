//! One request of HTTP/2 and its reply.

use std::{future::poll_fn, sync::Arc, task::Poll};

use bytes::Bytes;
use h2::{RecvStream, SendStream, server::SendResponse};
use http::{HeaderValue, Method, header};
use tokio::time::sleep;

use super::{
    frame,
    wire::{Control, End},
};
use crate::http::{
    ErrorCode, Reply,
    answer::{Afterwards, Answer, CutHow, Piece},
    reply::Act,
    state::Ticket,
};

pub(super) type Response = SendResponse<Bytes>;

pub(super) struct Stream {
    response: Response,
    id: u32,
    method: Method,
    control: Arc<Control>,
}

/// The client reset the stream or closed the connection.
#[derive(Debug)]
struct Gone;

impl From<h2::Error> for Gone {
    fn from(_: h2::Error) -> Self {
        Self
    }
}

impl Stream {
    pub(super) fn new(response: Response, method: Method, control: Arc<Control>) -> Self {
        Self {
            id: response.stream_id().as_u32(),
            response,
            method,
            control,
        }
    }

    /// Serves the request. Returns the response if nothing may be said with it any more.
    pub(super) async fn serve(mut self, mut ticket: Ticket, body: RecvStream) -> Option<Response> {
        match self.exchange(&mut ticket, body).await {
            Ok(()) => {}
            Err(Gone) => ticket.abandoned(),
        }
        self.control.is_draining().then_some(self.response)
    }

    async fn exchange(&mut self, ticket: &mut Ticket, mut body: RecvStream) -> Result<(), Gone> {
        if body.is_end_stream() {
            ticket.complete(None);
        }
        match ticket.reply_at_head() {
            Some(reply) if reply.early => {
                let ticket = &*ticket;
                // The rest of a request after its answer may fail: that is the client's choice.
                let rest = async {
                    let _ = read(&mut body, ticket).await;
                };
                let (result, ()) = tokio::join!(self.reply(&reply, ticket), rest);
                result
            }
            reply => {
                read(&mut body, ticket).await?;
                let reply = reply.unwrap_or_else(|| ticket.reply_when_complete());
                self.reply(&reply, ticket).await
            }
        }
    }

    async fn reply(&mut self, reply: &Reply, ticket: &Ticket) -> Result<(), Gone> {
        if let Some(gate) = &reply.gate {
            self.unless_gone(gate.opened()).await?;
        }
        if !reply.delay.is_zero() {
            self.unless_gone(sleep(reply.delay)).await?;
        }
        match &reply.act {
            Act::Answer(answer) => self.send(answer, ticket).await?,
            Act::Close => self.control.end(End::Close),
            Act::Reset => self.control.end(End::Reset),
            Act::Hang => self.unless_gone(std::future::pending()).await?,
            Act::Garbage => {
                self.control.add(frame::GARBAGE).await;
                self.control.end(End::Close);
            }
            Act::Upgrade { .. } => self.reset(ErrorCode::HTTP_1_1_REQUIRED).await,
            Act::RstStream(code) => self.reset(*code).await,
            Act::GoAway { code, processed } => {
                // Clients use odd numbers, so the stream before this one is two below.
                let last = if *processed {
                    self.id
                } else {
                    self.id.saturating_sub(2)
                };
                self.control.drain();
                self.control.add(&frame::go_away(last, *code)).await;
            }
        }
        Ok(())
    }

    async fn reset(&mut self, code: ErrorCode) {
        self.response.send_reset(code.reason());
        self.control
            .written(self.id, |progress| progress.ended)
            .await;
    }

    /// Whether the client gave up before the answer.
    async fn is_reset(&mut self) -> bool {
        poll_fn(|cx| Poll::Ready(self.response.poll_reset(cx).is_ready())).await
    }

    /// Waits for something before the answer, unless the client gives up first.
    async fn unless_gone(&mut self, wait: impl Future<Output = ()>) -> Result<(), Gone> {
        tokio::select! {
            biased;
            () = wait => Ok(()),
            _ = poll_fn(|cx| self.response.poll_reset(cx)) => Err(Gone),
        }
    }

    /// Sends an answer, up to its fault.
    async fn send(&mut self, answer: &Answer, ticket: &Ticket) -> Result<(), Gone> {
        for status in &answer.informational {
            self.control.add(&frame::status(self.id, *status)).await;
        }
        if let Some(bytes) = answer.head_cut {
            let head = frame::status(self.id, answer.status.as_u16());
            self.control.add(&head[..bytes.min(head.len() - 1)]).await;
            self.control.end(End::Close);
            return Ok(());
        }
        if answer.afterwards == Afterwards::AnnouncedClose {
            self.control.drain();
            let last = frame::go_away(self.id, ErrorCode::NO_ERROR);
            self.control.add(&last).await;
        }
        let mut head = http::Response::new(());
        *head.status_mut() = answer.status;
        *head.headers_mut() = answer.headers.clone();
        if let Some(length) = answer.length() {
            head.headers_mut()
                .insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        }
        let has_body = answer.has_body(&self.method);
        let sending = self.response.send_response(head, !has_body);
        let mut stream = match sending {
            Ok(stream) => stream,
            Err(_) if self.is_reset().await => return Err(Gone),
            Err(error) => {
                ticket.problem(format!("an answer cannot be sent in HTTP/2: {error}"));
                return Ok(());
            }
        };
        if has_body {
            self.send_body(&mut stream, answer).await
        } else {
            self.afterwards(&mut stream, answer.afterwards).await
        }
    }

    async fn send_body(
        &mut self,
        stream: &mut SendStream<Bytes>,
        answer: &Answer,
    ) -> Result<(), Gone> {
        for piece in answer.pieces() {
            match piece {
                Piece::Data(data) => stream.send_data(data, false)?,
                Piece::Wait(delay) => unless_reset(stream, sleep(delay)).await?,
            }
        }
        let Some(cut) = answer.cut else {
            match &answer.trailers {
                Some(trailers) => stream.send_trailers(trailers.clone())?,
                None => stream.send_data(Bytes::new(), true)?,
            }
            return self.afterwards(stream, answer.afterwards).await;
        };
        // A reset drops what waits to be written.
        let length = answer.sent_length();
        let sent = self
            .control
            .written(self.id, |progress| progress.head && progress.data >= length);
        unless_reset(stream, sent).await?;
        match cut.how {
            CutHow::Truncate => self.reset(ErrorCode::INTERNAL_ERROR).await,
            CutHow::RstStream(code) => self.reset(code).await,
            CutHow::Close => self.control.end(End::Close),
            CutHow::Reset => self.control.end(End::Reset),
            CutHow::Stall => unless_reset(stream, std::future::pending()).await?,
        }
        Ok(())
    }

    async fn afterwards(
        &self,
        stream: &mut SendStream<Bytes>,
        afterwards: Afterwards,
    ) -> Result<(), Gone> {
        let ended = self.control.written(self.id, |progress| progress.ended);
        unless_reset(stream, ended).await?;
        match afterwards {
            // The connection closes itself when its last stream ends.
            Afterwards::KeepAlive | Afterwards::AnnouncedClose => {}
            Afterwards::CloseOnReuse => self.control.close_on_reuse(),
            Afterwards::IdleClose(idle) => {
                sleep(idle).await;
                self.control.end(End::Abandon);
            }
        }
        Ok(())
    }
}

/// Waits for something during the answer, unless the client gives up first.
async fn unless_reset(
    stream: &mut SendStream<Bytes>,
    wait: impl Future<Output = ()>,
) -> Result<(), Gone> {
    tokio::select! {
        biased;
        () = wait => Ok(()),
        _ = poll_fn(|cx| stream.poll_reset(cx)) => Err(Gone),
    }
}

/// Reads the body of a request into its record.
async fn read(body: &mut RecvStream, ticket: &Ticket) -> Result<(), Gone> {
    while let Some(data) = body.data().await {
        let data = data?;
        ticket.data(&data);
        body.flow_control().release_capacity(data.len())?;
    }
    let trailers = body.trailers().await?;
    ticket.complete(trailers);
    Ok(())
}
