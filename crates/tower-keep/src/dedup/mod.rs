//! One execution for identical concurrent requests.
//!
//! The key is marked before the work starts and free again when the job ends, in whichever way: with a result, by a
//! limit, a cancellation, a panic or a drop. Requests without a key (`None`) are not deduplicated.
//!
//! | mode | a second call with the same key | |
//! |---|---|---|
//! | reject, the default | fails with [`Duplicate`], which says which job has the key | |
//! | [`join`](DedupLayer::join) | waits for the first one's result | the response has to be `Clone + Send + Sync`, the rest `Send` |
//! | `join` and [`keep`](DedupLayer::keep) | waits for the first one's result, and gets it for some time after its end | as `join` |
//! | [`latest`](DedupLayer::latest) | takes the place of the first one, which is cancelled, and runs at once | |
//! | [`debounce`](DedupLayer::debounce) | waits for quiet, and for the one that runs; the last that waits runs | needs tokio's timer |
//!
//! In the first three the key says what is asked for, and one answer will do. In the last two it names a place that one
//! call can have at a time, such as a search box, and the calls ask for different things. So no results are kept there:
//! a kept one would answer another question. Where both are wanted, as in a box whose queries are also to be shared and
//! kept, the layer that replaces goes around one that joins: [`latest`](DedupLayer::latest) or
//! [`CancelLayer::replace`](crate::CancelLayer::replace), which does the same by the job, tracks what it replaces and can
//! give it a grace period.
//!
//! The clones of a layer share their keys, around whatever services they are: a key has to say which service is meant
//! where there are several, such as the routes of a server. Calls of clones with different modes do not see each other,
//! nor do joined ones whose responses differ in type.
//!
//! # Joined executions
//!
//! A joined execution belongs to all its callers. Any of them may leave at any moment, the first one too: the work goes
//! on for the others, and stops when the last one leaves. To let it run on even then, put a
//! [detached](crate::CancelLayer::detached) Cancel layer around this one, or make each call with a
//! [`Dispatcher`](crate::dispatch). While the work of the last one that left is being dropped, the next may begin.
//!
//! Responses are cloned only for those that joined, and once to be kept. An error need not be `Clone`: whoever shares it
//! gets a [`SharedError`] around it. So look for it with [`find`](crate::find), which finds it there too:
//! a `downcast_ref` that works for a lone caller fails as soon as there are two.
//!
//! ```
//! use std::sync::atomic::{AtomicU32, Ordering};
//! use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
//! use tower_keep::{BoxError, DedupLayer};
//!
//! static EXECUTIONS: AtomicU32 = AtomicU32::new(0);
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap().block_on(async {
//! let mut service = ServiceBuilder::new()
//!     .layer(DedupLayer::new(|user: &u64| Some(*user)).join())
//!     .service(service_fn(|user: u64| async move {
//!         EXECUTIONS.fetch_add(1, Ordering::Relaxed);
//!         tokio::time::sleep(std::time::Duration::from_secs(1)).await;
//!         Ok::<_, BoxError>(format!("user {user}"))
//!     }));
//! let first = service.ready().await.unwrap().call(7);
//! let second = service.ready().await.unwrap().call(7);
//! let (first, second) = tokio::join!(first, second);
//! assert_eq!(first.unwrap(), second.unwrap());
//! assert_eq!(EXECUTIONS.load(Ordering::Relaxed), 1);
//! # });
//! ```
//!
//! # What a caller sees of the work
//!
//! The execution runs in the first caller's job, where a layer around this one tracks that. What it reports there
//! ([`Progress`](crate::EventKind::Progress) and [`StepStarted`](crate::EventKind::StepStarted)) is told to the job of
//! each caller that joined too, from the moment it joins, and the last report of each kind at once. That goes on when
//! the first caller has left and its job has ended. Such a job says [`Duplicate`](crate::EventKind::Duplicate) and then
//! what is reported, but never that it started, and a progress board shows it as joined. Its future is not woken for a
//! report. A report is told to all followers before the code that reports goes on, unless another thread is just telling
//! them: then that one goes on with it. A job that failed with the work does not say in which step that was.
//!
//! Nothing is told where the followers' or the first caller's job is unknown here: if nobody tracks it, or a layer
//! inside this one begins it. Nor is what an execution reports that renews a kept result, or whose first caller had been
//! told to stop before it called: such an execution is in nobody's job.
//!
//! The execution runs in the tracing span of the caller that began it, whichever caller polls it, and keeps that span
//! open until it is over; where that caller had no span, in the span of the caller that polls. A renewal runs in the span
//! of the call that was answered with the stale result. Task-locals belong to the task that polls, which may be any
//! caller's: an execution is not to rely on them. Timers, connections and tasks belong to the runtime in which
//! the execution made them. If callers of several runtimes share an execution, that runtime must outlive it.
//!
//! # Kept results
//!
//! Unless the layer is told to [`keep`](DedupLayer::keep), nothing is kept once the execution is over. With it, a
//! success answers the requests that come later: nothing is executed, and the inner service is not asked whether it is
//! ready. This is what becomes of a detached job's result whose caller went away.
//!
//! ```
//! use std::sync::atomic::{AtomicU32, Ordering};
//! use std::time::Duration;
//! use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
//! use tower_keep::{BoxError, DedupLayer};
//!
//! static EXECUTIONS: AtomicU32 = AtomicU32::new(0);
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap().block_on(async {
//! let users = DedupLayer::new(|user: &u64| Some(*user))
//!     .join()
//!     .keep(Duration::from_secs(60));
//! let handle = users.handle();
//! let mut service = ServiceBuilder::new()
//!     .layer(users)
//!     .service(service_fn(|user: u64| async move {
//!         EXECUTIONS.fetch_add(1, Ordering::Relaxed);
//!         Ok::<_, BoxError>(format!("user {user}"))
//!     }));
//! service.ready().await.unwrap().call(7).await.unwrap();
//! service.ready().await.unwrap().call(7).await.unwrap();
//! assert_eq!(EXECUTIONS.load(Ordering::Relaxed), 1);
//!
//! // The user changed.
//! handle.invalidate(&7);
//! service.ready().await.unwrap().call(7).await.unwrap();
//! assert_eq!(EXECUTIONS.load(Ordering::Relaxed), 2);
//! # });
//! ```
//!
//! | | |
//! |---|---|
//! | time to live | [`keep`](DedupLayer::keep), on tokio's clock, from the end of the execution |
//! | after that | [`stale_while_revalidate`](DedupLayer::stale_while_revalidate): answered at once, while one execution renews it |
//! | count | [`keep_at_most`](DedupLayer::keep_at_most), 1000 by default; the one that was asked for the longest time ago goes first |
//! | what is kept | what is a success to [`classify`](DedupLayer::classify), each `Ok` by default |
//! | what is never kept | errors; what a layer inside answered in the service's place; what a layer inside calls a failure; what a cancelled job handed out |
//! | removal | [`DedupHandle::invalidate`], [`DedupHandle::invalidate_all`]: see [below](self#invalidation) |
//! | event | [`AnsweredFromKept`](crate::EventKind::AnsweredFromKept); the job succeeds without having started |
//!
//! A result that is too old takes its place until its key is asked for again, or until it is pushed out. Its key says
//! whom a result is for: where users may not see each other's results, the user belongs into the key.
//!
//! # Invalidation
//!
//! After [`DedupHandle::invalidate`] or [`DedupHandle::invalidate_all`], a call neither gets nor waits for work that
//! began before. In every mode the older execution goes on for the callers that it has, and its result is not kept:
//!
//! | mode | the next call with the key |
//! |---|---|
//! | reject | is executed, also where the older execution hangs |
//! | [`join`](DedupLayer::join), with [`keep`](DedupLayer::keep) or without | begins an execution of its own, which later calls join |
//! | [`latest`](DedupLayer::latest) | runs, and the older one is not cancelled |
//! | [`debounce`](DedupLayer::debounce) | waits for quiet, but not for the older one; so does a call that waited already |
//!
//! A key has more than one execution until the older one is over. A job that must not run twice at once therefore needs
//! a lock of its own, or no invalidation.
//!
//! # The latest
//!
//! ```
//! use std::time::Duration;
//! use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
//! use tower_keep::{BoxError, CancelReason, DedupLayer, cancel::Cancelled, dedup::Duplicate, find};
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap().block_on(async {
//! // One search box: each query replaces the one before it.
//! let mut search = ServiceBuilder::new()
//!     .layer(DedupLayer::new(|_query: &&str| Some("box 1")).latest())
//!     .service(service_fn(|query: &'static str| async move {
//!         tokio::time::sleep(Duration::from_secs(1)).await;
//!         Ok::<_, BoxError>(format!("results for {query}"))
//!     }));
//! let first = search.ready().await.unwrap().call("tow");
//! let second = search.ready().await.unwrap().call("tower");
//! let (first, second) = tokio::join!(first, second);
//!
//! assert_eq!(second.unwrap(), "results for tower");
//! let error = first.unwrap_err();
//! assert!(find::<Duplicate>(&*error).is_some_and(|why| why.replaced().is_some()));
//! assert_eq!(find::<Cancelled>(&*error).unwrap().reason(), &CancelReason::Replaced);
//! # });
//! ```
//!
//! # Waiting for quiet
//!
//! ```
//! use std::time::Duration;
//! use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
//! use tower_keep::{BoxError, DedupLayer};
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap().block_on(async {
//! // A document is saved after a second without a change, and while they go on, every ten seconds.
//! let second = Duration::from_secs(1);
//! let mut save = ServiceBuilder::new()
//!     .layer(
//!         DedupLayer::new(|(document, _): &(u32, &str)| Some(*document))
//!             .debounce(second)
//!             .max_wait(10 * second),
//!     )
//!     .service(service_fn(|(_, text): (u32, &'static str)| async move {
//!         Ok::<_, BoxError>(text.len())
//!     }));
//! let first = save.ready().await.unwrap().call((7, "Dear"));
//! let second = save.ready().await.unwrap().call((7, "Dear all"));
//! let (first, second) = tokio::join!(first, second);
//! assert!(first.is_err());
//! assert_eq!(second.unwrap(), 8);
//! # });
//! ```
//!
//! # When a newer call comes
//!
//! | | [`latest`](DedupLayer::latest) | [`debounce`](DedupLayer::debounce) |
//! |---|---|---|
//! | the one that runs | is cancelled, woken, and its work dropped when it is polled | goes on |
//! | the one that waits | none does | is replaced; it never starts |
//! | what the replaced one's caller gets | [`Duplicate`], [`replaced`](Duplicate::replaced); of a Cancel layer outside, its [`Cancelled`](crate::job::Cancelled) | as there |
//! | the replaced one's job | is cancelled as [`Replaced`](crate::CancelReason::Replaced), with its token and its children | as there |
//! | a result that the older one has not been polled for | is lost | is there |
//! | the one that runs leaves, fails or panics | the key is free | the one that waits goes on |
//! | the one that waits leaves | | the key is free; those it replaced do not come back, and the next call begins a burst of its own |
//! | a retry inside | keeps its place; a wait for the next attempt ends too | keeps its place |
//! | a retry outside | does not try a replaced call again, nor does a circuit count it | as there; each attempt waits for quiet |
//! | a retry outside comes back while a newer job has the place, or waits for it | it is the older job that is replaced | as there |
//! | a retry outside that is not ours | would take the place back: let it leave this error alone | would wait once more: as there |
//! | grace of a Cancel layer outside | is given, while the newer one runs already | never starts, so needs none |
//! | grace of a Cancel layer inside | is not given: the layer is dropped with the work | |
//! | a time limit outside | | spans the wait too |
//! | both are calls of one job, as by a hedge | the older call ends, the job goes on | as there |
//! | the running job's own code calls with its key | replaces itself | waits for itself |
//!
//! # Elsewhere it is called
//!
//! | there | here | what differs |
//! |---|---|---|
//! | BullMQ, simple mode | the default | the caller is told, with the job's id |
//! | BullMQ, throttle mode (`ttl`) | `join` and `keep` | callers have the result; the time counts from the end of the execution, and a failure is not kept |
//! | BullMQ, debounce mode (`ttl`, `extend`, `replace`, `delay`) | `debounce` | |
//! | BullMQ, `keepLastIfActive` | `debounce(Duration::ZERO)` | |
//! | Temporal, conflict policy `Fail`, `UseExisting`, `TerminateExisting` | the default, `join`, `latest` | the newer one does not wait until the older one has ended |
//! | Sidekiq `unique_for`, Oban `unique` | the default | a key lasts as long as its job, and holds within one process |
//! | RxJS `exhaustMap`, `switchMap`, `debounceTime` | the default, `latest`, `debounce` | for each key |
//! | lodash `debounce`, `maxWait` | `debounce`, `max_wait` | those that are put off are told, rather than answered with the result before |
//!
//! # Watching it
//!
//! [`handle`](DedupLayer::handle) gives the keys in flight, each with its job, its followers and its beginning, and
//! counts executions, joined, rejected and replaced calls, and hits. Keys are shown only if they were marked after the
//! first handle was made: before, nobody pays for it.
//!
//! # Its place in the order
//!
//! Outside the circuit breaker and the retry: a duplicate is asked for first, and a job's retries keep its key. Inside
//! Cancel, which then ends a wait at once.
//!
//! Inside [`Cancel`](crate::cancel), where calls join: cancelling a job takes its caller out, and the work goes on for
//! the others. A grace period is for a first caller that has the execution to itself: its work is told and may clean up,
//! and who calls meanwhile begins another. Of several, each leaves at once. A Cancel inside this layer has the work in
//! hand instead, under the first caller's id: cancelling that ends it for all, also once the first caller has left, and
//! the jobs that joined are unknown there.
//!
//! # Readiness
//!
//! This layer is always ready: the key is unknown until the request comes, and a call that joins must not reserve what
//! it will not use. An execution drives the instance that was called to readiness within its future, and a clone takes
//! that one's place.
//!
//! # Errors
//!
//! [`Duplicate`], as a [`BoxError`](crate::BoxError); or what [`fail_with`](DedupLayer::fail_with) or
//! [`respond_with`](DedupLayer::respond_with) makes of it. With those two, a joined execution's error has to be `Clone`.
//! If an execution that can be joined panics, its callers get a [`Duplicate`] that says so and what the panic said, also
//! where there is only one. A call that was replaced counts as cancelled, and [`find`](crate::find) finds [`Cancelled`](crate::job::Cancelled) in its error.
//!
//! # Cancel safety
//!
//! Dropping a call frees its key, or leaves the joined execution to the others, or the place to the one that waits.
//!
//! Every caller of a joined execution can drive it. A call may be set aside, in a `select!`, in a `Vec` or in a buffer of
//! futures, polled once or never: the others have their result all the same. Each wake of the execution wakes every caller
//! that waits. In between nobody is polled, and of the callers that are woken one polls the execution. A call that holds
//! its key alone, in the modes that reject or replace, keeps it until it is over, dropped, or replaced by a newer one.
//!
//! # Calls inside an execution
//!
//! A call that the code of a joined execution makes must not wait for that execution, not even through others: they would
//! wait for each other without end. Such a call fails at once, with a [`Duplicate`] that names the keys, and the jobs where
//! they are tracked ([`Duplicate::cycle`]). That holds across layers and with jobs or without. A call counts as waiting
//! until it ends, under a time limit or in a `select!` too, so that of calls that want each other's result at least one
//! fails; also where the execution's code hands the call to a task and goes on without it. What the execution's code
//! spawns or dispatches is no part of the execution, so that a circle through such work is not seen: it needs a limit.
//!
//! # Under axum
//!
//! With `respond_with` it goes into `Router::layer` as it is. All routes share the keys, so the method and the path belong
//! into them. Joining needs a response that is `Clone`, which one with axum's body is not: collect it first. The other
//! modes need none.

mod counts;
mod error;
mod execution;
mod flight;
mod future;
mod handle;
mod in_flight;
mod join;
mod kept;
mod keys;
mod layer;
mod mode;
mod place;
mod places;
mod replace;
mod service;
mod share;
mod wait_graph;
mod watch;

pub use self::{
    counts::DedupCounts,
    error::{Duplicate, SharedError},
    future::ResponseFuture,
    handle::DedupHandle,
    in_flight::InFlight,
    join::JoinFuture,
    keys::Keys,
    layer::{DedupKey, DedupLayer, KeyBy, Keyed},
    mode::{Debounce, Join, JoinMode, Keep, KeepMode, Keeping, Latest, Reject},
    replace::ReplaceFuture,
    service::Dedup,
    share::ShareError,
};
