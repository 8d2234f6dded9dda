//! What events, records and views say of a failure: its causes, or what a classifier says of it.

use std::{borrow::Cow, sync::Arc};

use tower::{Layer, ServiceBuilder, ServiceExt};
use tower_keep::{
    BoxError, CancelLayer, CircuitBreakerLayer, Classify, DedupLayer, EventKind, JobLayer,
    LogLayer, Outcome, Pipeline, ProgressLayer, RetryLayer, TimeoutLayer, describe_error,
};
use tower_keep_test::{Recorder, Scripted};
use tower_keep_tests::*;

#[derive(Debug, thiserror::Error)]
#[error("error sending request for url (http://me:secret@host/x?token=secret)")]
struct Sending(#[source] Connecting);

#[derive(Debug, thiserror::Error)]
#[error("client error (Connect)")]
struct Connecting(#[source] std::io::Error);

fn refused() -> Sending {
    Sending(Connecting(std::io::Error::from(
        std::io::ErrorKind::ConnectionRefused,
    )))
}

const REFUSED: &str =
    "error sending request for url (http://host/x): client error (Connect): connection refused";

/// A service that nobody can reach.
fn unreachable() -> Scripted<u32, u32, BoxError> {
    Scripted::always(|_: u32| Err(refused().into()))
}

/// The texts of all failures: of attempts and of jobs.
fn texts(recorder: &Recorder) -> Vec<Arc<str>> {
    recorder
        .kinds()
        .into_iter()
        .filter_map(|kind| match kind {
            EventKind::RetryScheduled { error, .. } | EventKind::Failed { error, .. } => {
                Some(error)
            }
            _ => None,
        })
        .collect()
}

/// R75 The causes of an error are in the events of its attempts and of its job, and on the board.
#[tokio::test(start_paused = true)]
async fn causes_are_reported() {
    let (log, recorder) = recording();
    let layers = Pipeline::new()
        .log(log)
        .retry(RetryLayer::new().max_retries(1))
        .build()
        .unwrap();
    let board = layers.progress().handle();
    layers.layer(unreachable()).oneshot(0).await.unwrap_err();
    assert_eq!(
        texts(&recorder)
            .iter()
            .map(|text| &**text)
            .collect::<Vec<_>>(),
        [REFUSED; 2]
    );
    let view = board.find(recorder.job()).unwrap();
    assert_eq!(view.error.as_deref(), Some(REFUSED));
}

/// R75 The causes are reported in each order of the layers, as soon as one layer inside fails with
/// a `BoxError`: the layer that begins the job need not know the type.
#[tokio::test(start_paused = true)]
async fn causes_are_reported_by_any_layer() {
    macro_rules! told {
        ($($layer:expr),+) => {{
            let (log, recorder) = recording();
            let stack = ServiceBuilder::new().layer(log)$(.layer($layer))+.service(unreachable());
            stack.oneshot(0).await.unwrap_err();
            let texts = texts(&recorder);
            assert_eq!(&**texts.last().unwrap(), REFUSED, "{}", stringify!($($layer),+));
        }};
    }
    let key = |request: &u32| Some(*request);
    told!(TimeoutLayer::new(secs(1)));
    told!(TimeoutLayer::new(secs(1)).grace(secs(1)));
    told!(TimeoutLayer::new(secs(1)).idle());
    told!(CircuitBreakerLayer::new());
    told!(CancelLayer::new());
    told!(CancelLayer::new().detached());
    told!(DedupLayer::new(key));
    told!(DedupLayer::new(key).join());
    told!(DedupLayer::new(key).latest());
    told!(DedupLayer::new(key).debounce(ms(1)));
    told!(JobLayer::new("x"), TimeoutLayer::new(secs(1)));
    told!(
        ProgressLayer::new(),
        RetryLayer::new(),
        TimeoutLayer::new(secs(1)).per_attempt()
    );
    // A layer that begins the job inside the layer that knows the type.
    let (log, recorder) = recording();
    let stack = ServiceBuilder::new()
        .layer(TimeoutLayer::new(secs(1)))
        .layer(log)
        .service(unreachable());
    stack.oneshot(0).await.unwrap_err();
    assert_eq!(&*texts(&recorder)[0], REFUSED);
}

/// R75 A caller that joined an execution tells the causes as its leader does.
#[tokio::test(start_paused = true)]
async fn a_follower_tells_the_causes() {
    let (log, recorder) = recording();
    let inner = Scripted::<u32, u32, BoxError>::new()
        .step(tower_keep_test::Step::error(refused().into()).after(secs(1)));
    let stack = ServiceBuilder::new()
        .layer(log)
        .layer(DedupLayer::new(|request: &u32| Some(*request)).join())
        .service(inner);
    let calls = [0; 3].map(|request| tokio::spawn(stack.clone().oneshot(request)));
    for call in calls {
        call.await.unwrap().unwrap_err();
    }
    assert_eq!(
        texts(&recorder)
            .iter()
            .map(|text| &**text)
            .collect::<Vec<_>>(),
        [REFUSED; 3]
    );
}

/// R75 An error that a layer in between made of another one keeps its own text.
#[tokio::test(start_paused = true)]
async fn another_error_has_other_causes() {
    let (log, recorder) = recording();
    let stack = ServiceBuilder::new()
        .layer(log)
        .map_err(|_: BoxError| "no fallback either")
        .layer(TimeoutLayer::new(secs(1)))
        .service(unreachable());
    stack.oneshot(0).await.unwrap_err();
    assert_eq!(&*texts(&recorder)[0], "no fallback either");
}

/// R75 Nothing of an error is left for a response that counts as a failure.
#[tokio::test(start_paused = true)]
async fn a_response_has_no_causes_of_an_error() {
    let recorder = Recorder::new();
    let log = LogLayer::to(recorder.clone()).classify(|_: &Result<u32, BoxError>| Outcome::Failure);
    let stack = ServiceBuilder::new()
        .layer(log)
        .map_result(|_: Result<u32, BoxError>| Ok::<u32, BoxError>(503))
        .layer(TimeoutLayer::new(secs(1)))
        .service(unreachable());
    assert_eq!(stack.oneshot(0).await.unwrap(), 503);
    assert_eq!(
        &*texts(&recorder)[0],
        "the response is classified as a failure"
    );
}

/// R75 URLs in an error's own text lose their secrets too, where no causes are known.
#[tokio::test(start_paused = true)]
async fn no_secrets_are_reported() {
    let (log, recorder) = recording();
    let inner = Scripted::<u32, u32, String>::always(|_: u32| Err(refused().to_string()));
    let stack = ServiceBuilder::new()
        .layer(log)
        .layer(RetryLayer::new().max_retries(1))
        .service(inner);
    stack.oneshot(0).await.unwrap_err();
    let expected = "error sending request for url (http://host/x)";
    assert_eq!(
        texts(&recorder)
            .iter()
            .map(|text| &**text)
            .collect::<Vec<_>>(),
        [expected; 2]
    );
}

/// One classifier for all three layers.
#[derive(Clone)]
struct Statuses;

impl Classify<u32, Arc<Sending>> for Statuses {
    fn classify(&self, result: &Result<u32, Arc<Sending>>) -> Outcome {
        match result {
            Ok(status) if *status < 500 => Outcome::Success,
            _ => Outcome::Failure,
        }
    }

    fn describe(&self, result: &Result<u32, Arc<Sending>>) -> Option<Cow<'static, str>> {
        Some(match result {
            Ok(status) => format!("the server answered {status}").into(),
            Err(error) => describe_error(&**error).into(),
        })
    }
}

/// R75 What a classifier says of a response or of an error of the user's own type is in the events:
/// by the retry of its attempts, and by the log of the job. The log need not have it where the
/// retry gives up on a response.
#[tokio::test(start_paused = true)]
async fn a_classifier_describes() {
    for (result, text) in [
        (Ok(503), "the server answered 503"),
        (Err(Arc::new(refused())), REFUSED),
    ] {
        for classified in [true, false] {
            let recorder = Recorder::new();
            let retry = RetryLayer::new().max_retries(1).classify(Statuses);
            let answer = result.clone();
            let inner = retry.layer(Scripted::<u32, u32, Arc<Sending>>::always(move |_| {
                answer.clone()
            }));
            let is_err = if classified {
                let log = LogLayer::to(recorder.clone()).classify(Statuses);
                log.layer(inner).oneshot(0).await.is_err()
            } else {
                LogLayer::to(recorder.clone())
                    .layer(inner)
                    .oneshot(0)
                    .await
                    .is_err()
            };
            let texts = texts(&recorder);
            assert_eq!(&*texts[0], text);
            let expected = if is_err && !classified {
                "error sending request for url (http://host/x)"
            } else {
                text
            };
            assert_eq!(&*texts[1], expected, "classified: {classified}");
        }
    }
}

/// R75 What a classifier says of a result is in the retry's event also where the layer has a
/// closure for how long the service asks to be left alone.
#[tokio::test(start_paused = true)]
async fn a_classifier_describes_next_to_a_wait() {
    let recorder = Recorder::new();
    let retry = RetryLayer::new()
        .max_retries(1)
        .classify(Statuses)
        .retry_after(|_| Some(secs(1)));
    let service = ServiceBuilder::new()
        .layer(LogLayer::to(recorder.clone()))
        .layer(retry)
        .service(Scripted::<u32, u32, Arc<Sending>>::always(|_| Ok(503)));
    service.oneshot(0).await.unwrap();
    let texts = texts(&recorder);
    assert_eq!(texts.len(), 2);
    assert!(
        texts
            .iter()
            .all(|text| &**text == "the server answered 503")
    );
}

/// R75 A description is bounded, as every text is.
#[tokio::test(start_paused = true)]
async fn a_description_is_bounded() {
    #[derive(Clone)]
    struct Endless;
    impl Classify<u32, BoxError> for Endless {
        fn classify(&self, _: &Result<u32, BoxError>) -> Outcome {
            Outcome::Failure
        }
        fn describe(&self, _: &Result<u32, BoxError>) -> Option<Cow<'static, str>> {
            Some("ä".repeat(10_000).into())
        }
    }
    let recorder = Recorder::new();
    let log = LogLayer::to(recorder.clone()).classify(Endless);
    log.layer(Scripted::<u32, u32, BoxError>::new().answer(1))
        .oneshot(0)
        .await
        .unwrap();
    assert_eq!(texts(&recorder)[0].len(), 1024);
}
