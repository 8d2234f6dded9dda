//! In which tracing span work runs that outlives the poll of its caller.

use std::{
    fmt,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::time::sleep;
use tower::{Layer, Service, ServiceBuilder};
use tower_keep::{BoxError, CancelLayer, DedupLayer, Dispatcher, LogLayer};
use tower_keep_test::Polled;
use tower_keep_tests::*;
use tracing::{
    Dispatch, Event, Instrument, Span, Subscriber,
    field::{Field, Visit},
    info, info_span,
    subscriber::{NoSubscriber, set_default},
};
use tracing_subscriber::{layer::Context, prelude::*, registry, registry::LookupSpan};

/// The message of each event, and the spans around it.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<(String, String)>>>);

impl Seen {
    fn here() -> (Self, impl Sized) {
        let seen = Self::default();
        // With one subscriber in the program, tracing decides on a call site by the thread that is
        // there first, which may be that of a test without any.
        let second = Dispatch::new(NoSubscriber::new());
        let guard = set_default(registry().with(seen.clone()));
        (seen, (guard, second))
    }

    /// All of these messages came, as often as they are here, and each of them in this span.
    #[track_caller]
    fn assert_all_in(&self, span: &str, messages: &[&str]) {
        let seen = self.0.lock().unwrap();
        let expected: Vec<_> = messages.iter().map(|message| (*message, span)).collect();
        let found: Vec<_> = seen
            .iter()
            .filter(|(message, _)| messages.contains(&&**message))
            .map(|(message, spans)| (&**message, &**spans))
            .collect();
        assert_eq!(found, expected, "{seen:?}");
    }
}

#[derive(Default)]
struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        }
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> tracing_subscriber::Layer<S> for Seen {
    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut message = Message::default();
        event.record(&mut message);
        let spans = context.event_scope(event).into_iter().flatten();
        let spans: Vec<_> = spans.map(|span| span.name()).collect();
        self.0.lock().unwrap().push((message.0, spans.join(" in ")));
    }
}

/// Logs when it is dropped.
struct Dropped;

impl Drop for Dropped {
    fn drop(&mut self) {
        info!("work dropped");
    }
}

/// Logs when it begins, ends and is dropped, unless it has nothing to do.
fn work(
    takes: Duration,
) -> impl Service<u32, Response = u32, Error = BoxError, Future = Work> + Clone + Send + Sync + 'static
{
    code(move |_, request| async move {
        if request == 0 {
            return Ok(0);
        }
        let _dropped = Dropped;
        info!("work begun");
        sleep(takes).await;
        info!("work over");
        Ok(request)
    })
}

const ALL: [&str; 3] = ["work begun", "work over", "work dropped"];

/// R77: a dispatched job runs in the span in which it was dispatched, though its caller has left
/// that and another one waits; so does what the Log layer in the stack writes.
#[tokio::test(start_paused = true)]
async fn a_dispatched_job() {
    let (seen, _guard) = Seen::here();
    let jobs = Dispatcher::new(LogLayer::new().layer(work(secs(5))));
    let handle = info_span!("first").in_scope(|| jobs.dispatch(1));
    assert_eq!(handle.instrument(info_span!("second")).await.unwrap(), 1);
    seen.assert_all_in("first", &ALL);
    seen.assert_all_in("first", &["dispatched", "started", "succeeded"]);
}

/// R77: a detached job runs in its caller's span, waited for or not, and so does what is logged of
/// it.
#[tokio::test(start_paused = true)]
async fn a_detached_job() {
    for left in [false, true] {
        let (seen, _guard) = Seen::here();
        let mut service = ServiceBuilder::new()
            .layer(LogLayer::new())
            .layer(CancelLayer::new().detached())
            .service(work(secs(5)));
        let call = info_span!("first").in_scope(|| service.call(1));
        if left {
            drop(call);
            sleep(secs(10)).await;
            seen.assert_all_in("first", &["dispatched", "started", "succeeded"]);
        } else {
            call.instrument(info_span!("second")).await.unwrap();
        }
        seen.assert_all_in("first", &ALL);
    }
}

/// R77: work that is dropped with its runtime is dropped in the span too.
#[test]
fn what_goes_with_its_runtime() {
    let (seen, _guard) = Seen::here();
    let home = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let jobs = Dispatcher::new(work(secs(500)));
    let mut detached = CancelLayer::new().detached().layer(work(secs(500)));
    home.block_on(async {
        info_span!("first").in_scope(|| {
            drop(jobs.dispatch(1));
            drop(detached.call(2));
        });
        tokio::task::yield_now().await;
    });
    info_span!("second").in_scope(|| drop(home));
    seen.assert_all_in(
        "first",
        &["work begun", "work begun", "work dropped", "work dropped"],
    );
}

/// R77: a cached result is revalidated in the span of the call that it was too old for, also where
/// the revalidation takes too long and is dropped.
#[tokio::test(start_paused = true)]
async fn a_revalidation() {
    for (takes, said) in [
        (secs(5), &ALL[..]),
        (secs(500), &["work begun", "work dropped"]),
    ] {
        let (seen, _guard) = Seen::here();
        let dedup = DedupLayer::new(|_: &u32| Some(())).join().cache(secs(1));
        let mut service = dedup.stale_while_revalidate(secs(100)).layer(work(takes));
        service.call(0).await.unwrap();
        sleep(secs(2)).await;
        let call = info_span!("first").in_scope(|| service.call(1));
        assert_eq!(call.instrument(info_span!("second")).await.unwrap(), 0);
        sleep(secs(1000)).await;
        seen.assert_all_in("first", said);
    }
}

/// R77: a joined execution runs in the span of the caller that began it, whichever caller polls it
/// or leaves it last; so does what a Log layer inside writes.
#[tokio::test(start_paused = true)]
async fn a_joined_execution() {
    for left in [false, true] {
        let (seen, _guard) = Seen::here();
        let service = ServiceBuilder::new()
            .layer(DedupLayer::new(|_: &u32| Some(())).join())
            .layer(LogLayer::new())
            .service(work(secs(5)));
        let call = |name: Span| {
            let call = name.in_scope(|| service.clone().call(1));
            Polled::new(call.instrument(name))
        };
        let mut first = call(info_span!("first"));
        let mut second = call(info_span!("second"));
        // The second caller has the first one's execution to itself before it is polled at all.
        second.assert_pending();
        if left {
            drop(first);
            second.assert_pending();
            drop(second);
            seen.assert_all_in("first", &["work begun", "work dropped"]);
            seen.assert_all_in("first", &["dispatched", "started", "cancelled"]);
        } else {
            first.assert_pending();
            drop(first);
            sleep(secs(6)).await;
            second.assert_ready().unwrap();
            seen.assert_all_in("first", &ALL);
            seen.assert_all_in("first", &["dispatched", "started", "succeeded"]);
        }
    }
}

/// R77: what runs in no caller's span runs in none, and a caller without a span needs no
/// subscriber.
#[tokio::test(start_paused = true)]
async fn a_caller_without_a_span() {
    let (seen, _guard) = Seen::here();
    let jobs = Dispatcher::new(work(secs(5)));
    let handle = jobs.dispatch(1);
    handle.instrument(info_span!("second")).await.unwrap();
    seen.assert_all_in("", &ALL);
}
