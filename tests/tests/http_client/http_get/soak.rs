//! Many tasks, and few places inside.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use http::{Request, Response};
use tower::{Layer, ServiceBuilder, service_fn};
use tower_keep::{BoxError, DedupLayer};
use tower_keep_test::{ms, secs};
use tower_keep_tests::{begin, servers::bounded};

use super::{Site, answer, are_distinct, get, text, texts};

/// R88 One place inside is enough: neither a caller that waits nor an answer that is collected keeps
/// it from the others.
#[tokio::test(start_paused = true)]
async fn one_place_inside() {
    for (cache_control, exchanges) in [("public", 1), ("private", 10)] {
        let site = Site::default();
        let mut client = ServiceBuilder::new()
            .layer(DedupLayer::http_get())
            .concurrency_limit(1)
            .service(site.client(move |number, _| {
                answer(200, &[("cache-control", cache_control)])
                    .body(number.to_string())
                    .unwrap()
            }));
        let start = tokio::time::Instant::now();
        let bodies = texts(&mut client, (0..10).map(|_| get("/"))).await;
        assert_eq!(site.exchanges(), exchanges);
        assert_eq!(are_distinct(&bodies), cache_control == "private");
        assert_eq!(start.elapsed(), secs(exchanges as u64));
    }
}

/// R88 Many tasks on several threads, which leave at random: each that stays gets an answer that it
/// may have. Nothing is left at the end.
#[test]
fn many_tasks_come_and_go() {
    const TASKS: usize = 2000;
    const PATHS: usize = 20;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .enable_time()
        .build()
        .unwrap();
    let exchanges = Arc::new(AtomicUsize::new(0));
    let dedup = DedupLayer::http_get();
    let handle = dedup.handle();
    let client = {
        let exchanges = Arc::clone(&exchanges);
        dedup.layer(service_fn(move |request: Request<String>| {
            let number = exchanges.fetch_add(1, Ordering::SeqCst);
            async move {
                for _ in 0..number % 4 {
                    tokio::task::yield_now().await;
                }
                let path = request.uri().path().to_owned();
                let page: usize = path[1..].parse()?;
                let cache_control = ["private", "public"][page % 2];
                let answer = answer(200, &[("cache-control", cache_control)]);
                Ok::<Response<String>, BoxError>(answer.body(format!("{path} {number}"))?)
            }
        }))
    };
    let got = runtime.block_on(bounded(async {
        let mut tasks = Vec::new();
        for number in 0..TASKS {
            let path = format!("/{}", number % PATHS);
            let call = begin(&mut client.clone(), get(&path)).await;
            tasks.push(tokio::spawn(async move {
                let read = async {
                    let body = text(call.await.unwrap()).await;
                    (path, body)
                };
                match number % 5 {
                    // Leaves before it is polled, or soon.
                    0 => {
                        drop(read);
                        None
                    }
                    1 => tokio::time::timeout(ms(number as u64 % 2), read).await.ok(),
                    _ => Some(read.await),
                }
            }));
        }
        let mut got = Vec::new();
        for task in tasks {
            got.extend(task.await.unwrap());
        }
        got
    }));
    let stayed = TASKS * 3 / 5;
    assert!(got.len() >= stayed, "{}", got.len());
    let mut private = Vec::new();
    for (path, body) in got {
        let (of, number) = body.split_once(' ').unwrap();
        assert_eq!(of, path, "an answer of another request");
        if path[1..].parse::<usize>().unwrap() % 2 == 0 {
            private.push(number.to_owned());
        }
    }
    assert!(are_distinct(&private), "a private answer was shared");
    assert_eq!(dedup.in_flight(), 0);
    assert!(handle.in_flight().is_empty());
}
