//! The hyper recipe.

use http::StatusCode;
use tower_keep_tests::servers::{Background, Connection, bounded, listen};

use super::code::hyper_recipe;

/// The hyper recipe answers.
#[tokio::test]
async fn hyper() {
    bounded(async {
        let (listener, addr) = listen().await;
        let _server = Background::spawn(async move {
            hyper_recipe::serve(listener).await.unwrap();
        });
        let answer = Connection::to(addr).await.get("/path").await;
        assert_eq!((answer.status, &*answer.text), (StatusCode::OK, "/path"));
    })
    .await;
}
