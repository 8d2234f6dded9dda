//! The key of a call: on which requests, in which form, and the same in each attempt.

use std::{
    collections::HashSet,
    future::ready,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_keep::{
    BoxError, IdempotencyKeyLayer, RetryLayer,
    http::{HttpRequest, idempotency_key::IdempotencyKey},
    retry::{Attempt, Decision},
};
use tower_keep_test::Scripted;
use tower_keep_tests::servers::{Server, bounded, reqwest_client};

const KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// A service that answers with the header of the request.
fn answers<R: HttpRequest>(
    name: HeaderName,
) -> impl Service<R, Response = Option<String>, Error = BoxError> {
    service_fn(move |request: R| {
        let mut values = request.headers().get_all(&name).iter();
        let value = values
            .next()
            .map(|value| value.to_str().unwrap().to_owned());
        assert!(values.next().is_none(), "one value only");
        ready(Ok(value))
    })
}

fn request(method: Method) -> Request<()> {
    let request = Request::builder()
        .method(method)
        .uri("https://example.com/");
    request.body(()).unwrap()
}

async fn key_of<K>(layer: IdempotencyKeyLayer<K>, request: Request<()>) -> Option<String>
where
    K: tower_keep::http::idempotency_key::KeySource<Request<()>> + Clone,
{
    layer.layer(answers(KEY)).oneshot(request).await.unwrap()
}

/// A retry as the one for HTTP: it repeats idempotent requests, and such with a key.
macro_rules! retry {
    ($request:ty, $response:ty, $error:ty) => {
        RetryLayer::new()
            .base_delay(std::time::Duration::from_millis(1))
            .decide_with_request(
                |request: &$request| {
                    HttpRequest::method(request).is_idempotent()
                        || HttpRequest::headers(request).contains_key(KEY)
                },
                |may_repeat: &bool, outcome: &Result<$response, $error>, _: &Attempt<'_>| {
                    match outcome {
                        Ok(response) if response.status().is_success() => Decision::Stop,
                        _ if *may_repeat => Decision::Retry,
                        _ => Decision::Stop,
                    }
                },
            )
    };
}

/// R83 Only methods that are neither safe nor idempotent get a key, each call another.
#[tokio::test]
async fn methods_that_are_not_idempotent_get_a_key() {
    let layer = IdempotencyKeyLayer::new();
    for method in ["GET", "HEAD", "OPTIONS", "TRACE", "QUERY", "PUT", "DELETE"] {
        let method = method.parse().unwrap();
        assert_eq!(key_of(layer.clone(), request(method)).await, None);
    }
    let mut keys = HashSet::new();
    for method in ["POST", "PATCH", "CONNECT", "MERGE"].repeat(50) {
        let key = key_of(layer.clone(), request(method.parse().unwrap()))
            .await
            .unwrap();
        // `"8e03978e-40d5-43e8-bc93-6894a57f9324"`
        assert_eq!((key.len(), &key[..1], &key[37..]), (38, "\"", "\""));
        assert!(
            key[1..37]
                .bytes()
                .all(|byte| byte == b'-' || byte.is_ascii_hexdigit())
        );
        assert_eq!(key.as_bytes()[15], b'4');
        assert!(keys.insert(key));
    }
}

/// R83 A request that has the header keeps it, whatever its value.
#[tokio::test]
async fn a_key_that_is_there_stays() {
    for value in ["\"mine\"", "bare", ""] {
        let mut request = request(Method::POST);
        request
            .headers_mut()
            .insert(KEY, HeaderValue::from_static(value));
        let layer = IdempotencyKeyLayer::new()
            .key_with(|_: &Request<()>| -> Option<IdempotencyKey> { panic!("not asked") });
        assert_eq!(key_of(layer, request).await.as_deref(), Some(value));
    }
}

/// R83 Bare keys, another header, keys of the user: in any combination.
#[tokio::test]
async fn form_header_and_source_are_settings() {
    let bare = key_of(IdempotencyKeyLayer::new().bare(), request(Method::POST))
        .await
        .unwrap();
    assert_eq!(bare.len(), 36);
    assert!(bare.parse::<IdempotencyKey>().is_ok());

    // A seeded sequence, as in a test.
    let next = Arc::new(AtomicU64::new(17));
    let seeded = IdempotencyKeyLayer::new().key_with(move |_: &Request<()>| {
        let number = next.fetch_add(1, Ordering::Relaxed);
        format!("order-{number}").try_into().ok()
    });
    assert_eq!(
        key_of(seeded.clone(), request(Method::POST)).await.unwrap(),
        "\"order-17\""
    );
    assert_eq!(
        key_of(seeded.clone().bare(), request(Method::POST))
            .await
            .unwrap(),
        "order-18"
    );
    assert_eq!(
        key_of(seeded.clone(), request(Method::PUT)).await,
        None,
        "not asked"
    );
    assert_eq!(
        key_of(seeded, request(Method::POST)).await.unwrap(),
        "\"order-19\""
    );

    let quotes = IdempotencyKeyLayer::new().key_with(|_: &Request<()>| r#"a"\b"#.parse().ok());
    assert_eq!(
        key_of(quotes, request(Method::POST)).await.unwrap(),
        r#""a\"\\b""#
    );

    let none = IdempotencyKeyLayer::new().key_with(|_: &Request<()>| None);
    assert_eq!(key_of(none, request(Method::POST)).await, None);

    let name = HeaderName::from_static("x-request-token");
    let named = IdempotencyKeyLayer::new().header(name.clone());
    let sent = named
        .layer(answers(name))
        .oneshot(request(Method::POST))
        .await
        .unwrap();
    assert!(sent.is_some());
    assert_eq!(key_of(named, request(Method::POST)).await, None);
}

/// R83 A panic of the closure reaches the caller, and the service is not called.
#[tokio::test]
async fn a_panic_of_the_closure_reaches_the_caller() {
    let layer = IdempotencyKeyLayer::new()
        .key_with(|_: &Request<()>| -> Option<IdempotencyKey> { panic!("no key") });
    let inner = Scripted::<Request<()>, ()>::new().answer(());
    let calls = inner.calls();
    let mut service = layer.layer(inner.strict());
    let call = async {
        service
            .ready()
            .await
            .unwrap()
            .call(request(Method::POST))
            .await
    };
    assert!(tower_keep_tests::panics(call).await);
    assert_eq!(calls.count(), 0);
}

/// Executes a request once per key. The first response of each key is lost.
#[derive(Clone, Debug, Default)]
struct Origin {
    executed: Arc<Mutex<HashSet<Option<HeaderValue>>>>,
    seen: Arc<Mutex<Vec<Option<HeaderValue>>>>,
}

impl Origin {
    fn handle<B>(&self, request: &Request<B>) -> StatusCode {
        let key = request.headers().get(KEY).cloned();
        self.seen.lock().unwrap().push(key.clone());
        match self.executed.lock().unwrap().insert(key) {
            true => StatusCode::SERVICE_UNAVAILABLE,
            false => StatusCode::OK,
        }
    }

    fn seen(&self) -> Vec<Option<HeaderValue>> {
        std::mem::take(&mut *self.seen.lock().unwrap())
    }
}

/// R83 Outside the retry, each attempt of a call carries the same key, so that a POST is retried;
/// the next call has another key. With `http` requests and with reqwest over a socket.
#[tokio::test]
async fn each_attempt_carries_the_same_key() {
    bounded(async {
        let origin = Origin::default();
        let service = {
            let origin = origin.clone();
            service_fn(move |request: Request<()>| {
                let status = origin.handle(&request);
                let response = Response::builder().status(status).body(()).unwrap();
                ready(Ok::<_, BoxError>(response))
            })
        };
        let client = ServiceBuilder::new()
            .layer(IdempotencyKeyLayer::new())
            .layer(retry!(Request<()>, Response<()>, BoxError))
            .service(service);
        let mut keys = HashSet::new();
        for _ in 0..3 {
            let response = client.clone().oneshot(request(Method::POST)).await.unwrap();
            assert_eq!(response.status(), StatusCode::OK);
            let seen = origin.seen();
            assert_eq!(seen.len(), 2);
            assert_eq!(seen[0], seen[1]);
            assert!(keys.insert(seen[0].clone().unwrap()));
        }

        let served = origin.clone();
        let app = axum::Router::new().fallback(move |request: axum::extract::Request| {
            let status = served.handle(&request);
            async move { status }
        });
        let server = Server::axum(app).await;
        let client = ServiceBuilder::new()
            .layer(IdempotencyKeyLayer::new())
            .layer(
                retry!(reqwest::Request, reqwest::Response, reqwest::Error)
                    .clone_with(reqwest::Request::try_clone),
            )
            .service(reqwest_client());
        let url = server.url("/").parse().unwrap();
        let response = client
            .oneshot(reqwest::Request::new(Method::POST, url))
            .await
            .unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        let seen = origin.seen();
        assert_eq!((seen.len(), &seen[0]), (2, &seen[1]));
        assert!(seen[0].is_some());
    })
    .await;
}

/// R83 Inside the retry, the layer does not make a POST repeatable: the retry decides from the
/// request that it sees, and no later attempt is made.
#[tokio::test(start_paused = true)]
async fn inside_the_retry_a_post_is_not_repeated() {
    let origin = Origin::default();
    let service = {
        let origin = origin.clone();
        service_fn(move |request: Request<()>| {
            let status = origin.handle(&request);
            let response = Response::builder().status(status).body(()).unwrap();
            ready(Ok::<_, BoxError>(response))
        })
    };
    let client = ServiceBuilder::new()
        .layer(retry!(Request<()>, Response<()>, BoxError))
        .layer(IdempotencyKeyLayer::new())
        .service(service);
    let response = client.oneshot(request(Method::POST)).await.unwrap();
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(origin.seen().len(), 1);
}
