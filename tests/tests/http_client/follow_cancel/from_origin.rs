//! Bodies of an origin that stalls, with reqwest and hyper-util, over HTTP/1.1 and HTTP/2.

use http::{Request, Version};
use http_body_util::{BodyExt, Full};
use tower::{Layer, ServiceExt};
use tower_keep::{BoxError, CancelLayer, Rejection, SendThrough};
use tower_keep_test::http::{Origin, Reply};

use super::super::origin::clients;

/// R84 A cancellation ends a body that stalls, in both clients and versions.
#[tokio::test]
async fn a_stalled_body() -> Result<(), BoxError> {
    for version in [Version::HTTP_11, Version::HTTP_2] {
        for client in ["hyper", "reqwest"] {
            let reply = Reply::status(200).body("0123456789").stall_after(4);
            let origin = Origin::start().await?.then(reply);
            let cancel = CancelLayer::http();
            let handle = cancel.handle();
            let reader = if client == "hyper" {
                let api = cancel.layer(clients::hyper(version));
                let request = Request::get(origin.url("/")).body(Full::default())?;
                let mut body = api.oneshot(request).await?.into_body();
                body.frame().await.expect("a frame")?;
                tokio::spawn(async move { body.collect().await.map(drop) })
            } else {
                let client = clients::reqwest(version);
                let api = cancel.layer(client.clone());
                let mut response = client.get(origin.url("/")).send_through(&api).await?;
                response.chunk().await?.expect("a frame");
                tokio::spawn(async move { response.bytes().await.map(drop).map_err(Into::into) })
            };
            tokio::task::yield_now().await;
            assert!(handle.cancel(handle.jobs()[0].job));
            let error = reader.await?.unwrap_err();
            let rejection = Rejection::of(&*error);
            assert_eq!(
                rejection,
                Some(Rejection::Cancelled),
                "{client} {version:?}"
            );
            assert!(handle.jobs().is_empty());
        }
    }
    Ok(())
}
