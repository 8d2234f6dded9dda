//! HTTP/2: the server of the `h2` library, with frames of the origin between.

mod frame;
mod stream;
mod wire;

use std::sync::Arc;

use bytes::Bytes;
use tokio::task::JoinSet;

use self::{
    stream::{Response, Stream},
    wire::{Control, End, Wire},
};
use super::{Received, socket::Socket, state::State};

pub(super) async fn serve(state: Arc<State>, socket: Socket, number: usize) {
    let control = Arc::new(Control::default());
    let wire = Wire::new(socket, control.clone(), state.clone());
    let handshake = h2::server::Builder::new().handshake::<_, Bytes>(wire);
    let mut connection = match handshake.await {
        Ok(connection) => connection,
        Err(error) if error.is_io() => return,
        Err(error) => return state.problem(format!("a connection is not HTTP/2: {error}")),
    };
    let mut streams: JoinSet<Option<Response>> = JoinSet::new();
    // A response that is dropped resets its stream. These never say anything.
    let mut silent = Vec::new();
    let mut index = 0;
    let ended = loop {
        tokio::select! {
            biased;
            _ = control.ended() => break true,
            Some(done) = streams.join_next() => {
                silent.extend(done.ok().flatten());
            }
            accepted = connection.accept() => {
                let Some(Ok((request, response))) = accepted else {
                    break false;
                };
                if control.closes_on_reuse() {
                    control.end(End::Abandon);
                    silent.push(response);
                    continue;
                }
                let (head, body) = request.into_parts();
                let method = head.method.clone();
                let target = (head.method, head.uri, head.version);
                let ticket = state.begin(Received::new(target, head.headers, number, index));
                index += 1;
                if control.is_draining() {
                    ticket.unprocessed();
                    silent.push(response);
                    continue;
                }
                let stream = Stream::new(response, method, control.clone());
                streams.spawn(stream.serve(ticket, body));
            }
        }
        if control.is_draining() && streams.is_empty() {
            control.end(End::Close);
        }
    };
    drop(connection);
    drop(silent);
    // If the client left, its streams note it. Streams that the origin cut off end here.
    if !ended {
        while streams.join_next().await.is_some() {}
    }
}
