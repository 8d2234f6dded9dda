//! Readers that are stopped by their own limits.

use http::{Request, Response};
use http_body_util::BodyExt;
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_keep::{
    BoxError, CancelLayer, CircuitBreakerLayer, JobLayer, LogLayer, ProgressLayer, TimeoutLayer,
};
use tower_keep_test::Recorder;
use tower_keep_tests::*;

use super::{
    Step::{Data, Pends},
    Steps, end, get, server,
};

/// A job that reads a page of this client.
fn reader<C, B>(client: C) -> impl Service<(), Response = (), Error = BoxError, Future: Send>
where
    C: Service<Request<String>, Response = Response<B>, Error = BoxError, Future: Send> + Send,
    B: hyper::body::Body<Error = BoxError, Data: Send> + Send,
{
    let mut client = Some(client);
    service_fn(move |()| {
        let client = client.take().expect("one call");
        async move {
            let response = client.oneshot(get()).await?;
            response.into_body().collect().await?;
            Ok(())
        }
    })
}

/// R84 If a limit of the reader's own job stops it, the reader drops the body. Whichever layer ends
/// the call's job, it ends as dropped and not as stalled, and the circuit counts no failure: the
/// reader may have used up the time.
#[tokio::test(start_paused = true)]
async fn a_reader_that_is_out_of_time() {
    macro_rules! check {
        ($limit:expr, $($layer:expr),*) => {{
            let recorder = Recorder::new();
            let breaker = CircuitBreakerLayer::http();
            let circuits = breaker.handle();
            let client = ServiceBuilder::new()
                $(.layer($layer))*
                .layer(LogLayer::http_to(recorder.clone()))
                .layer(breaker)
                .layer(TimeoutLayer::http_attempt(secs(10)))
                .service(server(200, Steps::new([Data("a "), Pends, Pends, Pends])));
            let job = $limit.layer(reader(client));
            job.oneshot(()).await.unwrap_err();
            let what = stringify!($limit $($layer),*);
            let dropped = Some(("succeeded".to_owned(), "dropped"));
            assert_eq!(end(&recorder), dropped, "{what}");
            let circuit = &circuits.circuits()[0].1;
            assert_eq!(circuit.snapshot().failures_in_a_row, 0, "{what}");
            recorder.assert_one_terminal_each();
        }};
    }
    macro_rules! check_all {
        ($limit:expr) => {
            check!($limit,);
            check!($limit, JobLayer::new("fetch").http());
            check!($limit, ProgressLayer::http());
            check!($limit, CancelLayer::http());
            check!($limit, TimeoutLayer::http(secs(60)));
            check!($limit, CircuitBreakerLayer::http());
            check!($limit, ProgressLayer::http(), CancelLayer::http());
        };
    }
    check_all!(TimeoutLayer::new(secs(3)));
    check_all!(TimeoutLayer::new(secs(3)).per_attempt());
}

/// R84 A reader that has the whole length of the body is complete, whatever stops it.
#[tokio::test(start_paused = true)]
async fn a_reader_that_has_it_all() {
    let recorder = Recorder::new();
    let client = LogLayer::http_to(recorder.clone()).layer(server(
        200,
        Steps::new([Data("a page"), Pends, Pends, Pends]).exact(),
    ));
    let job = TimeoutLayer::new(secs(3)).layer(reader(client));
    job.oneshot(()).await.unwrap_err();
    assert_eq!(end(&recorder), Some(("succeeded".to_owned(), "complete")));
}

/// R84 A limit of the same stack is no limit of the reader: the body stalled.
#[tokio::test(start_paused = true)]
async fn a_limit_of_the_stack() {
    let recorder = Recorder::new();
    let breaker = CircuitBreakerLayer::http();
    let circuits = breaker.handle();
    let client = ServiceBuilder::new()
        .layer(JobLayer::new("fetch").http())
        .layer(TimeoutLayer::http_attempt(secs(3)))
        .layer(LogLayer::http_to(recorder.clone()))
        .layer(breaker)
        .service(server(200, Steps::new([Data("a "), Pends, Pends])));
    let job = TimeoutLayer::new(secs(10)).layer(reader(client));
    job.oneshot(()).await.unwrap_err();
    let (how, body) = end(&recorder).unwrap();
    assert_eq!((how.contains("idle"), body), (true, "stalled"), "{how}");
    let circuit = &circuits.circuits()[0].1;
    assert_eq!(circuit.snapshot().failures_in_a_row, 1);
}
