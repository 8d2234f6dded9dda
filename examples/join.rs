//! Equal requests at the same time share one execution, and its result is cached for the requests
//! after it. Run it: `cargo run --example join`

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use tokio::{join, time::sleep};
use tower::{ServiceBuilder, ServiceExt, service_fn};
use tower_keep::{BoxError, DedupLayer};

static EXECUTIONS: AtomicU32 = AtomicU32::new(0);

async fn load(user: u32) -> Result<String, BoxError> {
    EXECUTIONS.fetch_add(1, Relaxed);
    sleep(Duration::from_millis(200)).await; // a slow database
    Ok(format!("user {user}"))
}

#[track_caller]
fn assert_executions(expected: u32, after: &str) {
    println!("Executions after {after}: {}", EXECUTIONS.load(Relaxed));
    assert_eq!(EXECUTIONS.load(Relaxed), expected);
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    // Whatever decides the answer belongs in the key.
    let dedup = DedupLayer::new(|user: &u32| Some(*user))
        .join()
        .cache(Duration::from_secs(60));
    let cache = dedup.handle();
    let stack = ServiceBuilder::new().layer(dedup).service(service_fn(load));
    let call = |user| stack.clone().oneshot(user);

    let (first, second, other) = join!(call(7), call(7), call(8));
    assert_eq!([first?, second?, other?], ["user 7", "user 7", "user 8"]);
    assert_executions(2, "three calls for two users");

    call(7).await?;
    assert_executions(2, "a call that the cache answers");

    cache.invalidate(&7); // the user has changed
    call(7).await?;
    assert_executions(3, "a call that the cache cannot answer any more");
    Ok(())
}
