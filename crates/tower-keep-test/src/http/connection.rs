//! One connection: finds out which version of HTTP the client speaks.

use std::{pin::pin, sync::Arc};

use bytes::BytesMut;
use tokio::{io::AsyncReadExt, sync::watch};

use super::{
    h1, h2,
    socket::Socket,
    state::{CutAll, State},
};

/// The first bytes of an HTTP/2 connection.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Serves a connection until either side ends it, or the test by `cuts`.
pub(super) async fn serve(
    state: Arc<State>,
    socket: Socket,
    number: usize,
    mut cuts: watch::Receiver<CutAll>,
) {
    let reset = socket.reset_switch();
    // The switch must be on before the socket is dropped.
    let mut serving = pin!(serve_version(state, socket, number));
    tokio::select! {
        biased;
        Ok(()) = cuts.changed() => {
            if *cuts.borrow() == CutAll::Reset {
                reset.turn_on();
            }
        }
        () = &mut serving => {}
    }
}

async fn serve_version(state: Arc<State>, mut socket: Socket, number: usize) {
    let mut first = BytesMut::new();
    while first.len() < PREFACE.len() && PREFACE.starts_with(&first) {
        match socket.read_buf(&mut first).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
    }
    if first.starts_with(PREFACE) {
        socket.unread(first);
        h2::serve(state, socket, number).await;
    } else {
        h1::serve(state, socket, first, number).await;
    }
}
