//! All faults, in both versions, one after the other on one origin.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};
use tower_keep_test::{
    http::{ErrorCode, Origin, Reply},
    ms, secs,
};

use crate::h2_client::Client;

/// Each reply, and whether the client waits for ever.
fn replies() -> Vec<(Reply, bool)> {
    let body = || Reply::status(200).body(vec![b'x'; 100_000]);
    vec![
        (Reply::status(503), false),
        (Reply::close(), false),
        (Reply::reset(), false),
        (Reply::hang(), true),
        (Reply::garbage(), false),
        (Reply::refused_stream(), false),
        (Reply::rst_stream(ErrorCode::CANCEL), false),
        (Reply::go_away(ErrorCode::NO_ERROR), false),
        (Reply::go_away_processed(ErrorCode::NO_ERROR), false),
        (body().close_after_head_bytes(9), false),
        (body().informational(103).trailer("a", "b"), false),
        (body().truncate_after(5_000), false),
        (body().stall_after(5_000), true),
        (body().reset_after(5_000), false),
        (body().close_after(5_000), false),
        (body().rst_stream_after(0, ErrorCode::CANCEL), false),
        (body().content_length(100_001), false),
        (body().content_length(99_999), false),
        (
            body().trickle(30_000, ms(5)).pause_after(40_000, secs(1)),
            false,
        ),
        (body().close_connection(), false),
        (body().close_idle_after(secs(1)), false),
        (body().close_delimited(), false),
    ]
}

#[tokio::test(start_paused = true)]
async fn no_exchange_disturbs_another() {
    let origin = Origin::in_memory();
    let mut requests = 0;
    for round in 0..50 {
        for (reply, hangs) in replies() {
            let reply = match round % 3 {
                0 => reply,
                1 => reply.early(),
                _ => reply.after(ms(10)),
            };
            origin.push(reply.clone());
            let mut client = Client::connect(&origin).await;
            let ended = timeout(secs(60), client.get()).await.is_ok();
            assert_eq!(ended, !hangs, "HTTP/2: {reply:?}");

            origin.push(reply.clone());
            let mut client = origin.connect().unwrap();
            client
                .write_all(b"GET / HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n")
                .await
                .unwrap();
            let mut answer = Vec::new();
            let ended = timeout(secs(60), client.read_to_end(&mut answer))
                .await
                .is_ok();
            assert_eq!(ended, !hangs, "HTTP/1.1: {reply:?}");
            requests += 2;
            assert_eq!(origin.count(), requests);
        }
    }
    assert!(origin.received().iter().all(|received| received.complete));
    assert_eq!(origin.connections(), requests);
    origin.assert_finished();
}
