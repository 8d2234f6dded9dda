//! A circuit for each host: ask 29.

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use tower::{Layer, ServiceBuilder, ServiceExt};
use tower_keep::{
    BoxError, CircuitBreakerLayer, LogLayer, Pipeline, Rejection, circuit_breaker::State,
};
use tower_keep_test::http::{Origin, Reply};
use tower_keep_tests::*;

use super::{VERSIONS, arrivals, in_memory};

fn to(host: &str) -> Request<Full<Bytes>> {
    let url = format!("http://me:hunter2@{host}/page?token=hunter2");
    Request::post(url).body(Full::default()).unwrap()
}

/// The host `down` fails, all others answer.
fn origin(failure: Reply) -> Origin {
    Origin::in_memory().answer_with(move |received| match received.authority() {
        // HTTP/2 has the user information in it.
        Some(authority) if authority.ends_with("down.test") => failure.clone(),
        _ => Reply::status(200),
    })
}

/// R81 Ask 29: the circuit of a host opens, and its server gets no more requests. The other hosts
/// are not affected. Each failure counts: a status, a lost connection.
#[tokio::test(start_paused = true)]
async fn each_host_has_a_circuit() -> Result<(), BoxError> {
    for version in VERSIONS {
        for failure in [Reply::status(500), Reply::close()] {
            let origin = origin(failure);
            let (lines, _guard) = Lines::listen();
            let circuits = CircuitBreakerLayer::http();
            let handle = circuits.handle();
            let api = Pipeline::http_client().circuit_breaker(circuits).build()?;
            let api = api.layer(in_memory(&origin, version));
            for _ in 0..6 {
                let _ = api.clone().oneshot(to("down.test")).await;
                assert_eq!(api.clone().oneshot(to("up.test")).await?.status(), 200);
            }
            let before = arrivals(&origin, version).len();
            assert_eq!(before, 12);
            let error = api.clone().oneshot(to("down.test")).await.unwrap_err();
            assert_eq!(Rejection::of(&*error), Some(Rejection::CircuitOpen));
            assert!(error.to_string().contains("down.test:80"), "{error}");
            assert!(!error.to_string().contains("hunter2"), "{error}");
            assert_eq!(origin.received().len(), before);
            assert_eq!(api.oneshot(to("up.test")).await?.status(), 200);
            let state = |host: &str| handle.get(&host.parse().unwrap()).unwrap().state();
            assert_eq!(state("down.test:80"), State::Open);
            assert_eq!(state("up.test:80"), State::Closed);

            let opened = lines
                .records()
                .iter()
                .position(|record| record == "WARN circuit opened");
            let fields = lines.fields();
            let opened = &fields[opened.expect("a record")];
            assert!(opened.contains("down.test:80"), "{opened}");
            assert!(!format!("{fields:?}").contains("hunter2"), "{fields:#?}");
        }
    }
    Ok(())
}

/// R81 R82 Ask 29: a rate limit or a wrong request does not open a circuit. A 503 that says when to
/// come back sets the cooldown, and then the circuit recovers.
#[tokio::test(start_paused = true)]
async fn a_circuit_knows_what_speaks_against_its_server() -> Result<(), BoxError> {
    for version in VERSIONS {
        let origin = Origin::in_memory();
        let circuits = CircuitBreakerLayer::http().failure_threshold(1);
        let circuit = circuits.handle();
        let api = ServiceBuilder::new()
            .layer(LogLayer::http())
            .layer(circuits)
            .service(in_memory(&origin, version));
        for status in [429, 404, 400, 501] {
            for _ in 0..5 {
                origin.push(Reply::status(status));
                let response = api.clone().oneshot(to("down.test")).await?;
                assert_eq!(response.status(), status);
            }
        }
        let before = arrivals(&origin, version).len();
        for _ in 0..2 {
            origin.push(Reply::status(503).header("retry-after", "45"));
            api.clone().oneshot(to("down.test")).await?;
        }
        let circuit = circuit.get(&"down.test:80".parse()?).unwrap();
        assert_eq!(circuit.state(), State::Open);
        assert_eq!(circuit.snapshot().time_until_probe, Some(secs(45)));
        tokio::time::advance(secs(44)).await;
        api.clone().oneshot(to("down.test")).await.unwrap_err();
        assert_eq!(origin.received().len(), before + 2);
        tokio::time::advance(secs(1)).await;
        origin.push(Reply::status(200));
        assert_eq!(api.clone().oneshot(to("down.test")).await?.status(), 200);
        assert_eq!(circuit.state(), State::Closed);
        origin.assert_finished();
    }
    Ok(())
}
