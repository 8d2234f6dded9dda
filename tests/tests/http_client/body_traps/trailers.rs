//! Trailers come through all layers, and end the call.

use http_body_util::BodyExt;
use tower_keep::{BoxError, http::body::BodyEnd::Complete};
use tower_keep_test::http::{Origin, Reply};

use super::{Client, Stack, VERSIONS};

/// R84 The reader gets the trailers, and the call ends with them: a reader that polls no further
/// keeps no job running.
#[tokio::test]
async fn trailers_end_the_call() -> Result<(), BoxError> {
    for version in VERSIONS {
        for client in Client::both(version) {
            let what = format!("{} {version:?}", client.name());
            let reply = Reply::status(200)
                .body("page")
                .trailer("x-sum", "4")
                .trailer("x-kind", "page");
            let origin = Origin::start().await?.then(reply);
            let stack = Stack::new();
            let mut body = client.get(&stack, &origin.url("/")).await?.into_body();
            let data = body.frame().await.expect("data")?;
            assert_eq!(data.into_data().unwrap(), "page", "{what}");
            assert!(stack.runs(), "{what}");
            let trailers = body.frame().await.expect("trailers")?;
            let trailers = trailers.into_trailers().unwrap();
            assert_eq!(trailers["x-sum"], "4", "{what}");
            assert_eq!(trailers["x-kind"], "page", "{what}");
            stack.assert_ended(Some(Complete), &what);
            assert!(body.frame().await.is_none(), "{what}");
            drop(body);
            stack.recorder.assert_one_terminal_each();
        }
    }
    Ok(())
}
