//! With other layers, settings and types.

use http::{Request, Response};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_keep::{
    BoxError, DedupLayer, Dispatcher, Pipeline, Rejection, ReplayLayer, RetryLayer,
    dedup::Duplicate,
    find,
    http::shared_get::{GetBody, HttpGetLayer},
};
use tower_keep_test::secs;
use tower_keep_tests::begin;

use super::{Site, answer, get, text, texts};

/// R88 The layer goes into the slot of a pipeline for HTTP clients: retries, limits and circuit work
/// on the one exchange.
#[tokio::test(start_paused = true)]
async fn in_a_pipeline() {
    let site = Site::default();
    let dedup = DedupLayer::http_get();
    let handle = dedup.handle();
    let mut client = Pipeline::http_client()
        .dedup(dedup)
        .build()
        .unwrap()
        .layer(site.client(|number, _| {
            let status = if number == 0 { 503 } else { 200 };
            answer(status, &[]).body(number.to_string()).unwrap()
        }));
    let bodies = texts(&mut client, (0..100).map(|_| get("/"))).await;
    assert_eq!(bodies, vec!["1"; 100]);
    assert_eq!(site.exchanges(), 2, "one retry");
    assert_eq!(handle.counts().joined, 99);
}

/// R88 The layer has a name, to keep it in a struct, and clones share their exchanges.
#[tokio::test(start_paused = true)]
async fn in_a_struct() {
    struct Api {
        dedup: HttpGetLayer,
    }
    let site = Site::default();
    let api = Api {
        dedup: DedupLayer::http_get().max_body(100),
    };
    let inner = site.numbered(200, &[]);
    let (mut one, mut other) = (
        api.dedup.layer(inner.clone()),
        api.dedup.clone().layer(inner).clone(),
    );
    let calls = [
        begin(&mut one, get("/")).await,
        begin(&mut other, get("/")).await,
    ];
    for response in futures::future::join_all(calls).await {
        assert_eq!(text(response.unwrap()).await, "0");
    }
}

/// R88 Dispatched jobs share, too.
#[tokio::test(start_paused = true)]
async fn under_a_dispatcher() {
    for (cache_control, exchanges) in [("public", 1), ("private", 3)] {
        let site = Site::default();
        let client = DedupLayer::http_get().layer(site.client(move |number, _| {
            answer(200, &[("cache-control", cache_control)])
                .body(number.to_string())
                .unwrap()
        }));
        let dispatcher = Dispatcher::new(client);
        let jobs = [get("/"), get("/"), get("/")].map(|request| dispatcher.dispatch(request));
        for job in jobs {
            text(job.await.unwrap()).await;
        }
        assert_eq!(site.exchanges(), exchanges);
    }
}

/// R88 A layer inside another one: the outer one shares, and its own requests share inside.
#[tokio::test(start_paused = true)]
async fn nested() {
    for (cache_control, exchanges) in [("public", 1), ("private", 4)] {
        let site = Site::default();
        let mut client = ServiceBuilder::new()
            .layer(DedupLayer::http_get())
            .layer(DedupLayer::http_get())
            .service(site.client(move |number, _| {
                answer(200, &[("cache-control", cache_control)])
                    .body(number.to_string())
                    .unwrap()
            }));
        texts(&mut client, (0..4).map(|_| get("/"))).await;
        assert_eq!(site.exchanges(), exchanges);
    }
}

#[derive(Debug, thiserror::Error)]
enum ApiError {
    #[error("duplicate")]
    Duplicate(#[source] Duplicate),
    #[error("other")]
    Other(#[source] BoxError),
}

impl From<BoxError> for ApiError {
    fn from(error: BoxError) -> Self {
        Self::Other(error)
    }
}

/// R88 With an error of the user's own, which need not be `Clone`; and with a response instead.
#[tokio::test(start_paused = true)]
async fn with_own_errors() {
    let broken = service_fn(|request: Request<String>| async move {
        tokio::time::sleep(secs(1)).await;
        assert_ne!(request.uri().path(), "/panic", "broken");
        Err::<Response<String>, BoxError>("refused".into())
    });
    let mut client = DedupLayer::http_get()
        .fail_with(ApiError::Duplicate)
        .layer(broken);
    for path in ["/panic", "/error"] {
        let calls = [
            begin(&mut client, get(path)).await,
            begin(&mut client, get(path)).await,
        ];
        for result in futures::future::join_all(calls).await {
            match result.unwrap_err() {
                ApiError::Duplicate(duplicate) => {
                    assert!(duplicate.execution_panicked());
                    assert_eq!(path, "/panic");
                }
                ApiError::Other(error) => {
                    assert_eq!(error.to_string(), "refused");
                    assert_eq!(path, "/error");
                }
            }
        }
    }

    let mut client = DedupLayer::http_get()
        .respond_with(|_| answer(502, &[]).body(GetBody::default()).unwrap())
        .layer(broken);
    let response = begin(&mut client, get("/panic")).await.await.unwrap();
    assert_eq!(response.status(), 502);
    assert_eq!(text(response).await, "");
}

/// R88 A GET in the code of its own exchange would wait for itself. It fails at once, and its error
/// shows no secret.
#[tokio::test(start_paused = true)]
async fn a_get_does_not_wait_for_itself() {
    let dedup = DedupLayer::http_get();
    let again = dedup.clone();
    let client = dedup.layer(service_fn(move |request: Request<String>| {
        // The layer is always ready.
        let call = again
            .layer(service_fn(|_: Request<String>| async {
                Ok::<_, BoxError>(Response::new(String::new()))
            }))
            .call(request);
        async move {
            let error = call.await.map(drop).unwrap_err();
            Err::<Response<String>, _>(error)
        }
    }));
    let request = super::with("GET", "/page?token=hidden", &[("authorization", "hidden")]);
    let error = client.oneshot(request).await.map(drop).unwrap_err();
    assert_eq!(Rejection::of(&*error), Some(Rejection::Duplicate));
    let cycle = find::<Duplicate>(&*error)
        .unwrap()
        .cycle()
        .unwrap()
        .to_owned();
    assert!(cycle.contains("GET example.com/page"), "{cycle}");
    assert!(!format!("{error} {error:?}").contains("hidden"));
}

/// R88 The handle lists each exchange by method, server and path, and forgets it on request.
#[tokio::test(start_paused = true)]
async fn the_handle_shows_no_secret() {
    let site = Site::default();
    let dedup = DedupLayer::http_get();
    let handle = dedup.handle();
    let mut client = dedup.layer(site.numbered(200, &[]));
    let request = || super::with("GET", "/a?token=hidden", &[("cookie", "hidden")]);
    let calls = [
        begin(&mut client, request()).await,
        begin(&mut client, request()).await,
    ];
    let in_flight = handle.in_flight();
    assert_eq!(in_flight.len(), 1);
    let key = in_flight[0].key();
    assert_eq!((key.method().as_str(), key.path()), ("GET", "/a"));
    assert_eq!(key.authority().unwrap().host(), "example.com");
    assert_eq!(in_flight[0].followers(), 1);
    let shown = format!("{in_flight:?} {handle:?} {dedup:?}");
    assert!(!shown.contains("hidden"), "{shown}");

    handle.invalidate(key);
    let newer = begin(&mut client, request()).await;
    for (response, number) in futures::future::join_all(calls.into_iter().chain([newer]))
        .await
        .into_iter()
        .zip(["0", "0", "1"])
    {
        assert_eq!(text(response.unwrap()).await, number);
    }
}

/// R88 A body that is not `Clone` becomes so by a `ReplayLayer` outside. Each request that needs a
/// retry of its own has one.
#[tokio::test(start_paused = true)]
async fn under_a_replay_layer() {
    let site = Site::default();
    let inner = site.client(|number, _| {
        answer(200, &[("cache-control", "private")])
            .body(number.to_string())
            .unwrap()
    });
    let inner = ServiceBuilder::new()
        .layer(ReplayLayer::new())
        .layer(DedupLayer::http_get())
        .layer(RetryLayer::http())
        .map_request(
            |request: Request<tower_keep::http::replay::ReplayBody<String>>| {
                request.map(|_| String::new())
            },
        )
        .service(inner);
    let mut client = inner;
    let bodies = texts(&mut client, [get("/"), get("/"), get("/")]).await;
    assert!(super::are_distinct(&bodies));
}
