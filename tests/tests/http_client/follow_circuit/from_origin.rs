//! Bodies of a misbehaving origin, with reqwest and hyper-util, over HTTP/1.1 and HTTP/2.

use http::{Request, Version};
use http_body_util::{BodyExt, Full};
use tower::{Layer, ServiceExt};
use tower_keep::{
    BoxError, CircuitBreakerLayer, SendThrough, circuit_breaker::CircuitsHandle, http::Authority,
};
use tower_keep_test::http::{ErrorCode, Origin, Reply};

use super::super::origin::clients;

/// What the reader does with the body.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Reads {
    All,
    OneFrame,
    Nothing,
}

fn in_a_row(circuits: &CircuitsHandle<Authority>) -> u32 {
    let circuits = circuits.circuits();
    assert_eq!(circuits.len(), 1);
    circuits[0].1.snapshot().failures_in_a_row
}

/// R84 What the origin does with the body counts for the circuit, for each client and version.
#[tokio::test]
async fn the_body_counts() -> Result<(), BoxError> {
    let page = || Reply::status(200).body("0123456789");
    for version in [Version::HTTP_11, Version::HTTP_2] {
        let mut rows = vec![
            ("complete", page(), Reads::All, 0),
            ("chunked", page().chunked(), Reads::All, 0),
            (
                "trailers",
                page().chunked().trailer("x-sum", "45"),
                Reads::All,
                0,
            ),
            ("no content", Reply::status(204), Reads::Nothing, 0),
            ("reset", page().reset_after(4), Reads::All, 1),
            ("not read", page().stall_after(4), Reads::Nothing, 0),
            ("partly read", page().stall_after(4), Reads::OneFrame, 0),
            ("cut, not read", page().truncate_after(4), Reads::Nothing, 0),
        ];
        for at in [0, 1, 5, 9] {
            rows.push(("truncated", page().truncate_after(at), Reads::All, 1));
        }
        if version == Version::HTTP_2 {
            let reset = page().rst_stream_after(4, ErrorCode::INTERNAL_ERROR);
            rows.push(("stream reset", reset, Reads::All, 1));
        }
        for (what, reply, reads, failures) in rows {
            for client in ["hyper", "reqwest"] {
                let origin = Origin::start().await?.then(reply.clone());
                let breaker = CircuitBreakerLayer::http();
                let circuits = breaker.handle();
                if client == "hyper" {
                    let api = breaker.layer(clients::hyper(version));
                    let request = Request::get(origin.url("/")).body(Full::default())?;
                    let mut body = api.oneshot(request).await?.into_body();
                    match reads {
                        Reads::All => {
                            let read = body.collect().await;
                            assert_eq!(read.is_err(), failures == 1, "{what} {version:?}");
                        }
                        Reads::OneFrame => drop(body.frame().await.expect("a frame")?),
                        Reads::Nothing => {}
                    }
                } else {
                    let client = clients::reqwest(version);
                    let api = breaker.layer(client.clone());
                    let mut response = client.get(origin.url("/")).send_through(&api).await?;
                    match reads {
                        Reads::All => {
                            let read = response.bytes().await;
                            assert_eq!(read.is_err(), failures == 1, "{what} {version:?}");
                        }
                        Reads::OneFrame => drop(response.chunk().await?.expect("a frame")),
                        Reads::Nothing => {}
                    }
                }
                let row = format!("{client} {version:?} {what}");
                assert_eq!(in_a_row(&circuits), failures, "{row}");
            }
        }
    }
    Ok(())
}
