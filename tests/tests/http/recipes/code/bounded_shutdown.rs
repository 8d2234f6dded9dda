//! README: a bound on a graceful shutdown.

use std::{future::IntoFuture, io, time::Duration};

use axum::Router;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Serves until `stopping` fires, and waits this long for responses that still stream.
pub(crate) async fn serve_within(
    listener: TcpListener,
    app: Router,
    stopping: CancellationToken,
    within: Duration,
) -> io::Result<()> {
    let server =
        axum::serve(listener, app).with_graceful_shutdown(stopping.clone().cancelled_owned());
    let time_is_over = async {
        stopping.cancelled().await;
        tokio::time::sleep(within).await;
    };
    tokio::select! {
        ended = server.into_future() => ended,
        () = time_is_over => Ok(()),
    }
}
