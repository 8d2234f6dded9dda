//! Exchanges over sockets, in real time.

use std::sync::Arc;

use http::Uri;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};

use super::{
    client::Client,
    plan::{Settings, Transport},
    record::World,
    totals::Totals,
    wire::accept,
};

/// The worlds that run at the same time. Each has about 80 exchanges.
const WORLDS: u64 = 14;

/// Runs worlds over sockets, all at the same time. Returns what happened.
async fn run(transport: Transport, first: u64) -> Totals {
    let worlds = (first..first + WORLDS).map(|seed| async move {
        let mut listeners = Vec::new();
        for _ in 0..2 {
            listeners.push(TcpListener::bind("127.0.0.1:0").await.unwrap());
        }
        let authority = |at: usize| listeners[at].local_addr().unwrap().to_string();
        let authorities = [authority(0), authority(1)];
        let world = World::new(Settings::of(seed, transport, None), authorities);
        let accepting = listeners.into_iter().map(|listener| {
            let world: Arc<World> = world.clone();
            tokio::spawn(accept(world, listener))
        });
        let accepting: Vec<_> = accepting.collect();
        let client = match transport {
            Transport::Reqwest => Client::reqwest(&world),
            Transport::Memory | Transport::Sockets => {
                let connect = tower::service_fn(|uri: Uri| {
                    Box::pin(async move {
                        let address = uri.authority().unwrap().as_str().to_owned();
                        TcpStream::connect(address).await.map(TokioIo::new)
                    })
                });
                Client::hyper(&world, connect)
            }
        };
        let done = super::run(world, client).await;
        for task in accepting {
            task.abort();
        }
        done
    });
    let mut totals = Totals::default();
    for done in futures::future::join_all(worlds).await {
        done.assert_no_violation();
        totals.add(&done);
    }
    println!("{totals:#?}");
    totals
}

/// R80 R81 R82 hyper-util's client over sockets obeys the rules.
#[tokio::test]
async fn hyper_over_sockets() {
    let totals = run(Transport::Sockets, 10_000_000).await;
    assert!(
        totals.attempts > 1000 && totals.retries > 100,
        "{totals:#?}"
    );
}

/// R80 R81 R82 reqwest over sockets obeys the rules.
#[tokio::test]
async fn reqwest_over_sockets() {
    let totals = run(Transport::Reqwest, 20_000_000).await;
    assert!(
        totals.attempts > 1000 && totals.retries > 100,
        "{totals:#?}"
    );
}
