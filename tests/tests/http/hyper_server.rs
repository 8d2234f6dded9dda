//! hyper's own server with the layers in front of a service, for HTTP/1 and HTTP/2.

use std::{convert::Infallible, future::pending};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Either, Empty, Full};
use hyper::body::Incoming;
use tower::{ServiceBuilder, service_fn};
use tower_keep::{
    BoxError, CancelLayer, CancelReason, CircuitBreakerLayer, DedupLayer, EventKind, FailureCause,
    Job, LogLayer, TimeoutLayer, circuit_breaker::State,
};
use tower_keep_test::Recorder;
use tower_keep_tests::running_ids;
use tower_keep_tests::servers::{
    Connection, Count, Held, Multiplexed, SHORT, Server, all_ended, bounded, cause, ended, get,
    held, parent, post, reason,
};

use crate::layers::{AppError, Keep, answering_layers, assert_four_answers, failing_layers};

/// The request's body, or that of a rebuilt request.
type ReqBody = Either<Incoming, Empty<Bytes>>;
type Reply = Response<Full<Bytes>>;

fn reply(status: StatusCode, text: impl ToString) -> Reply {
    let mut response = Response::new(Full::from(text.to_string()));
    *response.status_mut() = status;
    response
}

/// Another GET request like this one; hyper's body can be streamed once only.
fn repeat_get(request: &Request<ReqBody>) -> Option<Request<ReqBody>> {
    (request.method() == Method::GET).then(|| {
        let mut again = Request::new(Either::Right(Empty::new()));
        *again.uri_mut() = request.uri().clone();
        *again.headers_mut() = request.headers().clone();
        again
    })
}

/// The routes of these tests.
#[derive(Clone)]
struct App {
    held: Held,
    flaky: Count,
}

impl App {
    async fn run(self, request: Request<ReqBody>) -> Result<Reply, Infallible> {
        Ok(match request.uri().path() {
            "/pending" => pending().await,
            "/held" => reply(StatusCode::OK, self.held.run().await),
            "/flaky" if self.flaky.next() < 3 => reply(StatusCode::SERVICE_UNAVAILABLE, "busy"),
            "/flaky" => reply(StatusCode::OK, Job::current().attempt()),
            "/bad" => reply(StatusCode::INTERNAL_SERVER_ERROR, "bad"),
            "/echo" => match request.into_body().collect().await {
                Ok(body) => reply(StatusCode::OK, body.to_bytes().len()),
                Err(_) => reply(StatusCode::BAD_REQUEST, "cut off"),
            },
            _ => reply(StatusCode::NOT_FOUND, "unknown"),
        })
    }
}

/// The layers in front of the app. They are applied again for each connection, so that all they
/// share has to be in them.
macro_rules! serve_behind {
    ($layers:expr, $held:expr) => {{
        let layers = ServiceBuilder::new()
            .map_request(|request: Request<Incoming>| request.map(Either::Left))
            .layer($layers);
        let app = App {
            held: $held,
            flaky: Count::default(),
        };
        let make = move || {
            let app = app.clone();
            layers.service(service_fn(move |request| app.clone().run(request)))
        };
        Server::hyper(make).await
    }};
}

/// Every layer, answering by itself.
async fn serve(held: Held) -> (Server, Keep) {
    let (layers, keep) = answering_layers!(reply, repeat_get);
    (serve_behind!(layers, held), keep)
}

/// Each layer's answer is an ordinary response: 504, 409, 503, 503; and a call through all of them
/// is one job.
#[tokio::test]
async fn every_layer_answers_by_itself() {
    bounded(async {
        let (held, entries) = held();
        let (server, keep) = serve(held.clone()).await;
        assert_four_answers(server, keep, held, entries).await;
    })
    .await;
}

/// A GET that fails is repeated within its job; a POST, whose body streams, reaches the service
/// once and whole.
#[tokio::test]
async fn a_get_is_repeated_and_a_post_is_not() {
    bounded(async {
        let (server, keep) = serve(held().0).await;
        let mut connection = Connection::open(&server).await;
        let answer = connection.get("/flaky").await;
        assert_eq!((answer.status, &*answer.text), (StatusCode::OK, "3"));
        keep.seen.assert_names([
            "dispatched",
            "started",
            "attempt_ended",
            "retry_scheduled",
            "retrying",
            "attempt_ended",
            "retry_scheduled",
            "retrying",
            "attempt_ended",
            "succeeded",
        ]);

        let mut request = post("/echo");
        *request.body_mut() = Full::from("12345");
        assert_eq!(connection.send(request).await.text, "5");
        let answer = connection.send(post("/bad")).await;
        assert_eq!(answer.status, StatusCode::INTERNAL_SERVER_ERROR);
        all_ended(&keep.seen, 3).await;
        assert_eq!(keep.seen.count("retrying"), 2);
    })
    .await;
}

/// A service per connection, one state: failures on one connection open the circuit for another,
/// and one handle lists the jobs of all.
#[tokio::test]
async fn connections_share_the_state() {
    bounded(async {
        let (held, mut entries) = held();
        let (server, keep) = serve(held.clone()).await;
        let first = Connection::open(&server).await.spawn(get("/held"));
        let first_job = entries.job().await;
        let second = Connection::open(&server).await.spawn(get("/held"));
        let second_job = entries.job().await;
        assert_eq!(running_ids(&keep.cancel), [first_job, second_job]);
        assert_eq!(keep.progress.jobs().len(), 2);
        held.gate.open();
        assert_eq!(first.await.unwrap().text, first_job.to_string());
        assert_eq!(second.await.unwrap().text, second_job.to_string());

        for _ in 0..2 {
            let answer = Connection::open(&server).await.send(post("/bad")).await;
            assert_eq!(answer.status, StatusCode::INTERNAL_SERVER_ERROR);
        }
        assert_eq!(keep.circuit.state(), State::Open);
        let answer = Connection::open(&server).await.get("/held").await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
        all_ended(&keep.seen, 5).await;
    })
    .await;
}

/// A client that goes away, by closing an HTTP/1 connection or by resetting an HTTP/2 stream, ends
/// its job as `CallerGone`, and no other. Two streams of one connection are two jobs.
#[tokio::test]
async fn a_client_that_leaves_ends_its_job() {
    bounded(async {
        let (held, mut entries) = held();
        let (server, keep) = serve(held.clone()).await;
        let gone = Connection::open(&server).await.spawn(get("/held"));
        let closed = entries.job().await;
        let connection = Multiplexed::open(&server).await;
        let spawn = || {
            let mut connection = connection.clone();
            tokio::spawn(async move { connection.get("/held").await })
        };
        let first = spawn();
        let reset = entries.job().await;
        let second = spawn();
        let stays = entries.job().await;
        assert_eq!(running_ids(&keep.cancel), [closed, reset, stays]);

        gone.abort();
        assert_eq!(
            reason(ended(&keep.seen, closed).await),
            CancelReason::CallerGone
        );
        first.abort();
        assert_eq!(
            reason(ended(&keep.seen, reset).await),
            CancelReason::CallerGone
        );
        assert_eq!(running_ids(&keep.cancel), [stays]);
        held.gate.open();
        assert_eq!(second.await.unwrap().text, stays.to_string());
        all_ended(&keep.seen, 3).await;
        assert_eq!(keep.seen.count("cancelled"), 2);
        assert_eq!(parent(&keep.seen, stays), None);
    })
    .await;
}

/// In front of hyper itself a layer's error has nobody who turns it into a response: on HTTP/1 the
/// connection is closed without one, on HTTP/2 the stream is reset and the connection goes on. So a
/// server wants `respond_with`. The job ends as what it was all the same.
#[tokio::test]
async fn an_error_closes_the_connection() {
    bounded(async {
        let seen = Recorder::new();
        let layers = ServiceBuilder::new()
            .layer(LogLayer::to(seen.clone()))
            .layer(CancelLayer::new())
            .layer(DedupLayer::new(|request: &Request<Incoming>| {
                Some(request.uri().clone())
            }))
            .layer(CircuitBreakerLayer::new())
            .layer(
                TimeoutLayer::none().limit_by(|request: &Request<Incoming>| {
                    (request.uri().path() == "/pending").then_some(SHORT)
                }),
            );
        let server = Server::hyper(move || {
            layers.service(service_fn(|request: Request<Incoming>| async move {
                match request.uri().path() {
                    "/pending" => pending().await,
                    _ => Ok::<_, BoxError>(reply(StatusCode::OK, "well")),
                }
            }))
        })
        .await;

        let mut connection = Connection::open(&server).await;
        assert_eq!(connection.get("/").await.text, "well");
        let error = connection.try_send(get("/pending")).await.unwrap_err();
        assert!(error.is_incomplete_message(), "{error:?}");
        assert!(connection.try_send(get("/")).await.is_err());

        let mut connection = Multiplexed::open(&server).await;
        let error = connection.try_get("/pending").await.unwrap_err();
        assert!(!error.is_incomplete_message(), "{error:?}");
        assert_eq!(connection.get("/").await.text, "well");

        let endings = all_ended(&seen, 4).await;
        assert_eq!(cause(endings[1].clone()), FailureCause::TimedOut);
        assert_eq!(cause(endings[2].clone()), FailureCause::TimedOut);
        assert_eq!(endings[3], EventKind::Succeeded);
    })
    .await;
}

/// One flat enum of the user's own, which one function in front of hyper turns into responses.
#[tokio::test]
async fn a_flat_enum_becomes_a_response_in_one_place() {
    // It never fails; its error type is what tower's `then` asks for, which passes on errors of
    // `poll_ready`.
    async fn explain(result: Result<Reply, AppError>) -> Result<Reply, AppError> {
        Ok(result.unwrap_or_else(|error| reply(error.status(), error)))
    }

    bounded(async {
        let (held, entries) = held();
        let (layers, keep) = failing_layers!(repeat_get);
        let layers = ServiceBuilder::new().then(explain).layer(layers);
        let server = serve_behind!(layers, held.clone());
        assert_four_answers(server, keep, held, entries).await;
    })
    .await;
}
