//! Calls made while a thread ends, by the `Drop` of what a user keeps in the thread.

use std::{
    cell::RefCell,
    future::pending,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::mpsc,
    thread,
};

use tower::{Layer, ServiceBuilder, ServiceExt};
use tower_keep::{
    BoxError, CancelLayer, CircuitBreakerLayer, DedupLayer, Job, JobLayer, LogLayer, ProgressLayer,
    RetryLayer, TimeoutLayer,
};
use tower_keep_test::{Polled, Recorder};
use tower_keep_tests::*;

/// Runs its code when it is dropped.
struct AtTheEnd(Option<Box<dyn FnOnce()>>);

impl Drop for AtTheEnd {
    fn drop(&mut self) {
        self.0.take().into_iter().for_each(|code| code());
    }
}

thread_local! {
    static AT_THE_END: RefCell<AtTheEnd> = const { RefCell::new(AtTheEnd(None)) };
}

#[derive(Clone, Copy, Debug)]
enum Order {
    /// What the thread used first goes last.
    LibraryFirst,
    UserFirst,
}

const BOTH: [Order; 2] = [Order::LibraryFirst, Order::UserFirst];

/// Runs `last` as a thread of its own ends, after that has run `used`, which gives it something.
/// What panics there is a failure here, and does not abort the process.
fn as_the_thread_ends<T, R>(
    order: Order,
    used: impl FnOnce() -> T + Send + 'static,
    last: impl FnOnce(T) -> R + Send + 'static,
) -> R
where
    T: 'static,
    R: Send + 'static,
{
    let (ended, end) = mpsc::channel();
    let thread = thread::spawn(move || {
        // What the runtime keeps in the thread is the oldest, so it is still there.
        assert!(tokio::runtime::Handle::try_current().is_err());
        let touch = || AT_THE_END.with_borrow(|last| assert!(last.0.is_none()));
        if matches!(order, Order::UserFirst) {
            touch();
        }
        let given = used();
        AT_THE_END.with_borrow_mut(|slot| {
            slot.0 = Some(Box::new(move || {
                let run = AssertUnwindSafe(|| last(given));
                ended.send(catch_unwind(run)).expect("the test waits");
            }));
        });
    });
    thread.join().expect("the thread did not panic");
    match end.recv().expect("it ran as the thread ended") {
        Ok(result) => result,
        Err(_) => panic!("a call panicked as the thread ended: {order:?}"),
    }
}

/// Works in a step of its job.
fn work()
-> impl tower::Service<u32, Response = u32, Error = BoxError, Future = Work> + Clone + Send + Sync {
    code(|job, request| async move {
        assert!(job.id().is_some());
        let id = job.id();
        let step = job.step("work", async move {
            assert_eq!(Job::current().id(), id);
            Ok::<_, BoxError>(request + 1)
        });
        step.await
    })
}

/// All seven layers, around which a job is named.
fn seven(recorder: &Recorder) -> Stack {
    let stack = ServiceBuilder::new()
        .layer(JobLayer::new("last"))
        .layer(LogLayer::to(recorder.clone()))
        .layer(ProgressLayer::new())
        .layer(CancelLayer::new())
        .layer(DedupLayer::new(|request: &u32| Some(*request)).join())
        .layer(CircuitBreakerLayer::new())
        .layer(TimeoutLayer::new(secs(60)).grace(secs(1)))
        .layer(RetryLayer::new())
        .layer(TimeoutLayer::new(secs(10)).per_attempt())
        .service(work());
    Stack::new(stack)
}

fn call(stack: Stack, request: u32) -> Result<u32, String> {
    let mut call = Polled::new(stack.oneshot(request));
    call.assert_ready().map_err(|error| error.to_string())
}

/// R61, R63: a call through all seven layers as the thread ends does what it does elsewhere,
/// whether the thread used the library first or the value whose `Drop` calls.
#[test]
fn a_stack_is_called_as_its_thread_ends() {
    let names = [
        "dispatched",
        "started",
        "step_started",
        "step_succeeded",
        "attempt_ended",
        "succeeded",
    ];
    for order in BOTH {
        let recorder = Recorder::new();
        let first = seven(&recorder);
        let (answered, answer) = as_the_thread_ends(
            order,
            move || (call(first.clone(), 1), first),
            |(answered, stack)| (answered, call(stack, 6)),
        );
        assert_eq!((answered, answer), (Ok(2), Ok(7)), "{order:?}");
        assert_eq!(recorder.jobs().len(), 2);
        recorder.assert_one_terminal_each();
        for job in recorder.jobs() {
            assert_eq!(recorder.names_of(job), names, "{order:?}");
        }
    }
}

/// R61: a stack that nobody called before is called as the thread ends, each layer alone too.
#[test]
fn each_layer_is_called_as_its_thread_ends() {
    let answers = || code(|_, request| async move { Ok(request + 1) });
    let recorder = Recorder::new();
    let alone = || -> Vec<Stack> {
        vec![
            Stack::new(LogLayer::to(recorder.clone()).layer(answers())),
            Stack::new(ProgressLayer::new().layer(answers())),
            Stack::new(CancelLayer::new().layer(answers())),
            Stack::new(DedupLayer::new(|request: &u32| Some(*request)).layer(answers())),
            Stack::new(
                DedupLayer::new(|request: &u32| Some(*request))
                    .latest()
                    .layer(answers()),
            ),
            Stack::new(CircuitBreakerLayer::new().layer(answers())),
            Stack::new(TimeoutLayer::new(secs(1)).layer(answers())),
            Stack::new(TimeoutLayer::new(secs(1)).idle().layer(answers())),
            Stack::new(RetryLayer::new().layer(answers())),
        ]
    };
    for order in BOTH {
        let used = seven(&Recorder::new());
        let stacks = alone();
        let results = as_the_thread_ends(
            order,
            move || call(used, 1),
            move |_| -> Vec<_> { stacks.into_iter().map(|stack| call(stack, 1)).collect() },
        );
        assert_eq!(results, vec![Ok(2); 9], "{order:?}");
    }
}

/// R52, R63: calls that still wait are dropped as the thread ends: their jobs end as cancelled.
#[test]
fn a_call_is_dropped_as_its_thread_ends() {
    for order in BOTH {
        let recorder = Recorder::new();
        let dedup = DedupLayer::new(|request: &u32| Some(*request)).join();
        let keys = dedup.clone();
        let stack = ServiceBuilder::new()
            .layer(LogLayer::to(recorder.clone()))
            .layer(ProgressLayer::new())
            .layer(CancelLayer::new())
            .layer(dedup)
            .layer(CircuitBreakerLayer::new())
            .layer(RetryLayer::new())
            .service(code(|job, _| async move {
                let _looks = OnDrop(job);
                pending().await
            }));
        let stack = Stack::new(stack);
        as_the_thread_ends(
            order,
            move || {
                let mut waiting = Polled::new(stack.clone().oneshot(1));
                waiting.assert_pending();
                (waiting, stack)
            },
            |(waiting, stack)| {
                let mut joined = Polled::new(stack.oneshot(1));
                joined.assert_pending();
                drop(waiting);
                joined.assert_pending();
                drop(joined);
            },
        );
        assert_eq!(keys.in_flight(), 0);
        assert_eq!(recorder.jobs().len(), 2);
        recorder.assert_one_terminal_each();
    }
}

/// Looks at its job when it is dropped.
struct OnDrop(Job);

impl Drop for OnDrop {
    fn drop(&mut self) {
        let current = Job::current().id();
        assert!(current.is_none() || current == self.0.id());
    }
}
