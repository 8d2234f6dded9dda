//! A search box: each query of a user replaces the one before it, and no other user's. Run it:
//! `cargo run --example replace`

use std::time::Duration;

use futures::future::join_all;
use tokio::time::sleep;
use tower::{ServiceBuilder, ServiceExt, service_fn};
use tower_keep::{BoxError, CancelLayer, CancelReason, cancel::Cancelled, find};

#[derive(Clone, Copy)]
struct Query {
    user: &'static str,
    words: &'static str,
}

async fn search(query: Query) -> Result<String, BoxError> {
    sleep(Duration::from_millis(200)).await; // the work, dropped where it stands
    Ok(format!("pages about {}", query.words))
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let searches = ServiceBuilder::new()
        .layer(CancelLayer::new().replace(|query: &Query| Some(query.user)))
        .service(service_fn(search));

    // Typed faster than the search answers.
    let typed = [
        ("ann", "tow"),
        ("bob", "keep"),
        ("ann", "towe"),
        ("ann", "tower"),
    ];
    let calls = typed.map(|(user, words)| searches.clone().oneshot(Query { user, words }));

    let mut answered = Vec::new();
    for ((user, words), result) in typed.into_iter().zip(join_all(calls).await) {
        match result {
            Ok(pages) => {
                println!("{user} typed {words:?}: {pages}");
                answered.push(words);
            }
            Err(error) => {
                println!("{user} typed {words:?}: {error}");
                let reason = find::<Cancelled>(&*error).map(Cancelled::reason);
                assert_eq!(reason, Some(&CancelReason::Replaced));
            }
        }
    }
    assert_eq!(answered, ["keep", "tower"]);
    Ok(())
}
