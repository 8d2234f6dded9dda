//! A JSON client of 53 lines, error type included, and what it does when its server fails. Run it:
//! `cargo run --example json_client`

#[allow(unreachable_pub, reason = "a program has no users")]
mod api;

use futures::future::try_join_all;
use serde::Deserialize;
use tower_keep::{BoxError, describe_error};
use tower_keep_test::http::{Origin, Reply};

use self::api::{Api, ApiError};

#[derive(Debug, Deserialize)]
struct User {
    name: String,
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let api = Api::new()?;
    let ada = || Reply::status(200).body(r#"{"name":"Ada"}"#);

    // The server is busy at first. Twenty callers want the same user at the same time.
    let server = Origin::start().await?.then(Reply::status(503)).then(ada());
    let url = server.url("/users/7");
    let users: Vec<User> = try_join_all((0..20).map(|_| api.json(api.client.get(&url)))).await?;
    let requests = server.received().len();
    println!("{} users, requests made: {requests}", users.len());
    assert!(users.iter().all(|user| user.name == "Ada"));
    assert_eq!((users.len(), requests), (20, 2));

    // An answer that no retry changes.
    let server = Origin::start().await?.then(Reply::status(404));
    let error = api
        .json::<User>(api.client.get(server.url("/users/8")))
        .await;
    println!("{error:?}, requests made: {}", server.received().len());
    assert!(matches!(error, Err(ApiError::Status(status)) if status == 404));

    // A server that is down: after six failures, the circuit rejects calls.
    let down = Origin::start()
        .await?
        .script((0..6).map(|_| Reply::close()));
    let add = || api.client.post(down.url("/users")).json(&["Grace"]);
    for _ in 0..6 {
        let error = api.json::<User>(add()).await.unwrap_err();
        assert!(matches!(error, ApiError::Failed(_)));
    }
    let error = api.json::<User>(add()).await.unwrap_err();
    println!(
        "{}, requests made: {}",
        describe_error(&error),
        down.received().len()
    );
    assert!(matches!(error, ApiError::Down(_)));
    Ok(())
}
