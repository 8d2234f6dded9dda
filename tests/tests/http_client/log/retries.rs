//! The exchange of a job with several attempts.

use tower::{ServiceBuilder, ServiceExt};
use tower_keep::{
    BoxError, CircuitBreakerLayer, JobLayer, LogLayer, Outcome, RetryLayer, TimeoutLayer,
};
use tower_keep_test::Recorder;
use tower_keep_tests::*;

use super::{Request, answer, boxed_server, failure, get, server, statuses};

fn once() -> RetryLayer {
    RetryLayer::new().max_retries(1)
}

fn failures<B, E>(result: &Result<http::Response<B>, E>) -> Outcome {
    match result {
        Ok(response) if response.status().is_server_error() => Outcome::Failure,
        Ok(_) => Outcome::Success,
        Err(_) => Outcome::Failure,
    }
}

/// R44 The number of resends is a field from the second attempt on. The status is the last one.
#[tokio::test(start_paused = true)]
async fn resends_are_counted() {
    let (lines, _guard) = Lines::listen();
    let inner = server()
        .answer(answer(503))
        .answer(answer(502))
        .answer(answer(200));
    let service = ServiceBuilder::new()
        .layer(LogLayer::http())
        .layer(RetryLayer::new().classify(failures::<_, &'static str>))
        .service(inner.strict());
    service.oneshot(get("http://example.com")).await.unwrap();
    let mut seen = Vec::new();
    for (record, fields) in lines.records().iter().zip(lines.fields()) {
        let of = |name: &str| {
            let rest = fields.split_once(name).map(|(_, rest)| rest);
            rest.map(|rest| rest.split(' ').next().unwrap().to_owned())
        };
        seen.push((
            record.clone(),
            of("http.request.resend_count="),
            of("http.response.status_code="),
        ));
    }
    let expected = [
        ("INFO dispatched", None, None),
        ("DEBUG started", None, None),
        ("DEBUG attempt ended", None, None),
        ("WARN retry scheduled", None, None),
        ("DEBUG retrying", Some("1"), None),
        ("DEBUG attempt ended", Some("1"), None),
        ("WARN retry scheduled", Some("1"), None),
        ("DEBUG retrying", Some("2"), None),
        ("DEBUG attempt ended", Some("2"), None),
        ("INFO succeeded", Some("2"), Some("200")),
    ];
    let expected = expected.map(|(record, resends, status)| {
        let text = |text: Option<&str>| text.map(str::to_owned);
        (record.to_owned(), text(resends), text(status))
    });
    assert_eq!(seen, expected);
}

/// R44 A log inside Retry sees the status of each attempt.
#[tokio::test(start_paused = true)]
async fn a_log_inside_retry_sees_each_status() {
    let recorder = Recorder::new();
    let inner = server()
        .answer(answer(503))
        .error("reset")
        .answer(answer(200));
    let service = ServiceBuilder::new()
        .layer(RetryLayer::new().classify(failures::<_, &'static str>))
        .layer(LogLayer::http_to(recorder.clone()))
        .service(inner.strict());
    service.oneshot(get("http://example.com")).await.unwrap();
    assert_eq!(
        statuses(&recorder, recorder.job()),
        [
            ("dispatched", 0),
            ("started", 0),
            ("attempt_ended", 503),
            ("retry_scheduled", 503),
            ("retrying", 0),
            ("attempt_ended", 0),
            ("retry_scheduled", 0),
            ("retrying", 0),
            ("attempt_ended", 200),
            ("succeeded", 200),
        ]
    );
}

/// R43 If the last attempt ends without a response, the job's end has no status of an earlier one:
/// with the log outside and inside Retry, after an error, a time limit, or a rejection.
#[tokio::test(start_paused = true)]
async fn no_status_is_stale() {
    let inner = || boxed_server().answer(answer(503));
    let log = LogLayer::http_to;
    let limit = || TimeoutLayer::new(secs(1)).per_attempt();
    macro_rules! breaker {
        () => {{
            // It opens by the first response.
            let breaker = CircuitBreakerLayer::new().failure_threshold(0);
            breaker.classify(failures::<_, BoxError>)
        }};
    }
    macro_rules! check {
        ($what:literal, $recorder:ident, $service:expr) => {{
            let $recorder = Recorder::new();
            $service
                .oneshot(get("http://example.com"))
                .await
                .unwrap_err();
            assert!(failure(&$recorder).is_some());
            let all = statuses(&$recorder, $recorder.job());
            assert!(all.contains(&("retrying", 0)), "{}: {all:?}", $what);
            assert_eq!(*all.last().unwrap(), ("failed", 0), $what);
        }};
    }
    macro_rules! retry {
        () => {
            once().classify(failures::<_, BoxError>)
        };
    }
    let stack = ServiceBuilder::new;
    check!("outside, error", recorder, {
        let inner = inner().error("reset".into()).strict();
        stack()
            .layer(log(recorder.clone()))
            .layer(retry!())
            .service(inner)
    });
    check!("inside, error", recorder, {
        let inner = inner().error("reset".into()).strict();
        stack()
            .layer(retry!())
            .layer(log(recorder.clone()))
            .service(inner)
    });
    check!("inside, limit", recorder, {
        let inner = inner().never().strict();
        let stack = stack().layer(retry!()).layer(log(recorder.clone()));
        stack.layer(limit()).service(inner)
    });
    check!("inside, limit around it", recorder, {
        let inner = inner().never().strict();
        let stack = stack().layer(retry!()).layer(limit());
        stack.layer(log(recorder.clone())).service(inner)
    });
    check!("inside a circuit", recorder, {
        let inner = inner().strict();
        let stack = stack().layer(retry!()).layer(breaker!());
        stack.layer(log(recorder.clone())).service(inner)
    });
    check!("both", recorder, {
        let inner = inner().strict();
        let stack = stack()
            .layer(log(recorder.clone()))
            .layer(retry!())
            .layer(breaker!());
        stack.layer(LogLayer::http()).service(inner)
    });
}

/// R43 R44 A foreign retry outside the log makes attempts of one job, or jobs of their own. No end
/// has a status of an earlier attempt.
#[tokio::test(start_paused = true)]
async fn a_foreign_retry_makes_exchanges() {
    #[derive(Clone)]
    struct Again;

    impl<B> tower::retry::Policy<Request, http::Response<B>, &'static str> for Again {
        type Future = std::future::Ready<()>;

        fn retry(
            &mut self,
            _: &mut Request,
            result: &mut Result<http::Response<B>, &'static str>,
        ) -> Option<Self::Future> {
            let is_busy = result
                .as_ref()
                .is_ok_and(|response| response.status() == 503);
            is_busy.then(|| std::future::ready(()))
        }

        fn clone_request(&mut self, request: &Request) -> Option<Request> {
            Some(request.clone())
        }
    }

    let recorder = Recorder::new();
    let stack = ServiceBuilder::new()
        .retry(Again)
        .layer(LogLayer::http_to(recorder.clone()))
        .service(server().answer(answer(503)).error("reset").strict());
    stack.oneshot(get("http://example.com")).await.unwrap_err();
    let [first, second] = recorder.jobs()[..] else {
        panic!("two jobs")
    };
    assert_eq!(*statuses(&recorder, first).last().unwrap(), ("failed", 503));
    assert_eq!(*statuses(&recorder, second).last().unwrap(), ("failed", 0));

    recorder.clear();
    let stack = ServiceBuilder::new()
        .layer(JobLayer::new("fetch"))
        .retry(Again)
        .layer(LogLayer::http_to(recorder.clone()))
        .service(server().answer(answer(503)).error("reset").strict());
    stack.oneshot(get("http://example.com")).await.unwrap_err();
    let all = statuses(&recorder, recorder.job());
    assert_eq!(*all.last().unwrap(), ("failed", 0), "{all:?}");
}
