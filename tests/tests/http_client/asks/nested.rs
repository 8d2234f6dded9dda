//! Nested retries, and the number of attempts in the error: asks 15 and 16.

use http::{Request, Response};
use hyper::body::Incoming;
use tower::{Layer, ServiceBuilder, ServiceExt, service_fn};
use tower_keep::{BoxError, GiveUpReason, JobLayer, LogLayer, Rejection, RetryLayer, SendThrough};
use tower_keep_test::http::{Origin, Reply};
use tower_keep_tests::*;

use super::{VERSIONS, arrivals, get, in_memory, reqwest_client};

fn unavailable() -> Origin {
    Origin::in_memory().then(Reply::status(503)).repeat_last()
}

/// R80 Ask 15: two retries around one client do not multiply: 4 attempts, not 16.
#[tokio::test(start_paused = true)]
async fn nested_layers_do_not_multiply() {
    for version in VERSIONS {
        let origin = unavailable();
        let client = ServiceBuilder::new()
            .layer(RetryLayer::http())
            .layer(RetryLayer::http().stop_outer_retries())
            .service(in_memory(&origin, version));
        assert_eq!(client.oneshot(get(&origin)).await.unwrap().status(), 503);
        assert_eq!(arrivals(&origin, version).len(), 4);

        // Both are asked to multiply.
        let origin = unavailable();
        let client = ServiceBuilder::new()
            .layer(RetryLayer::http())
            .layer(RetryLayer::http())
            .service(in_memory(&origin, version));
        client.oneshot(get(&origin)).await.unwrap();
        assert_eq!(arrivals(&origin, version).len(), 16);
    }
}

/// R80 Ask 15: a job that is retried, whose code uses a client that retries. The job is not repeated
/// if the client has given up.
#[tokio::test(start_paused = true)]
async fn a_client_inside_a_retried_job_does_not_multiply() {
    for version in VERSIONS {
        for (client, expected) in [
            (RetryLayer::http().stop_outer_retries(), 4),
            (RetryLayer::http(), 16),
        ] {
            let origin = unavailable();
            let client = client.layer(in_memory(&origin, version));
            let page = get(&origin);
            let sync = service_fn(move |(): ()| {
                let call = client.clone().oneshot(page.clone());
                async move {
                    match call.await?.status().is_success() {
                        true => Ok(()),
                        false => Err(BoxError::from("no page")),
                    }
                }
            });
            let job = ServiceBuilder::new()
                .layer(JobLayer::new("sync"))
                .layer(RetryLayer::new())
                .service(sync);
            assert_eq!(job.oneshot(()).await.unwrap_err().to_string(), "no page");
            assert_eq!(arrivals(&origin, version).len(), expected);
        }
    }
}

/// The text of an error with those of its sources.
fn chain(error: &BoxError) -> String {
    let first: &(dyn std::error::Error + 'static) = &**error;
    let all = std::iter::successors(Some(first), |error| error.source());
    all.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// R80 R75 Ask 16: the error says how many attempts there were, why no other follows, and what
/// failed last. The log says it too, without the query of the URL.
#[tokio::test]
async fn the_error_says_how_many_attempts() -> Result<(), BoxError> {
    for version in VERSIONS {
        let origin = Origin::start().await?.then(Reply::close()).repeat_last();
        let (lines, _guard) = Lines::listen();
        let client = reqwest_client(version)?;
        let api = ServiceBuilder::new()
            .layer(LogLayer::http())
            .layer(RetryLayer::http().base_delay(ms(1)).on_give_up(
                |outcome: Result<reqwest::Response, BoxError>, why| {
                    outcome.map_err(|error| why.caused_by(error).into())
                },
            ))
            .map_err(BoxError::from)
            .service(client.clone());
        let url = origin.url("/page?token=hunter2");
        let error = client.get(&url).send_through(&api).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "gave up after 4 attempts: no retries left"
        );
        let expected = Rejection::GaveUp {
            attempts: 4,
            reason: GiveUpReason::Exhausted,
        };
        assert_eq!(Rejection::of(&*error), Some(expected));
        assert!(tower_keep::find::<reqwest::Error>(&*error).is_some());
        assert!(
            chain(&error)
                .starts_with("gave up after 4 attempts: no retries left: error sending request")
        );
        assert_eq!(arrivals(&origin, version).len(), 4);

        // A POST is not retried, and its error says so.
        let error = client
            .post(&url)
            .body("order")
            .send_through(&api)
            .await
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "gave up after 1 attempt: the error is not retried"
        );

        let fields = lines.fields();
        let failed = fields.last().unwrap();
        assert!(
            failed.contains("gave up after 1 attempt: the error is not retried: error sending"),
            "{failed}"
        );
        for line in &fields {
            assert!(!line.contains("hunter2"), "{line}");
        }
    }
    Ok(())
}

/// R80 Ask 16: a response keeps its type. The number of attempts goes into an extension.
#[tokio::test(start_paused = true)]
async fn the_response_says_how_many_attempts() {
    #[derive(Clone)]
    struct Attempts(u32);

    type Outcome = Result<Response<Incoming>, hyper_util::client::legacy::Error>;

    for version in VERSIONS {
        let origin = unavailable();
        let retry = RetryLayer::http().on_give_up(|mut outcome: Outcome, why| {
            if let Ok(response) = &mut outcome {
                response.extensions_mut().insert(Attempts(why.attempts()));
            }
            outcome
        });
        let api = retry.layer(in_memory(&origin, version));
        let request: Request<_> = get(&origin);
        let response = api.oneshot(request).await.unwrap();
        assert_eq!(response.status(), 503);
        assert_eq!(response.extensions().get::<Attempts>().unwrap().0, 4);
        assert_eq!(arrivals(&origin, version).len(), 4);
    }
}
