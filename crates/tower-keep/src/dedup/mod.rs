//! One execution for identical concurrent requests, or the newest request in the place of an older one.
//!
//! The key is in flight before the work starts and free again when the job ends, in whichever way: with a result, by a
//! limit, a cancellation, a panic or a drop. Requests without a key (`None`) are not deduplicated: they wait for nobody,
//! nobody waits for them, and the cache is neither read nor written. So the key is where a request says that it wants an
//! execution of its own, by an extension or a header:
//!
//! ```
//! use http::Request;
//! use tower_keep::DedupLayer;
//!
//! #[derive(Clone, Copy)]
//! struct NoDedup;
//!
//! let dedup = DedupLayer::new(|request: &Request<String>| {
//!     let bypasses = request.extensions().get::<NoDedup>().is_some();
//!     (!bypasses).then(|| (request.method().clone(), request.uri().clone()))
//! });
//! # let _ = dedup;
//! ```
//!
//! | | mode | a second call with the same key | |
//! |---|---|---|---|
//! | coalescing | reject, the default | fails with [`Duplicate`], which says which job has the key | |
//! | | [`join`](DedupLayer::join) | waits for the first one's result | the response has to be `Clone + Send + Sync`, the rest `Send` |
//! | | `join` and [`cache`](DedupLayer::cache) | waits for the first one's result, and gets it from a cache for some time after its end | as `join` |
//! | superseding | [`latest`](DedupLayer::latest) | takes the place of the first one, which is cancelled, and runs at once | |
//! | | [`debounce`](DedupLayer::debounce) | waits for quiet, and for the running call; the last waiting call runs | needs tokio's timer |
//!
//! When coalescing, the key says what is asked for, and one answer will do. When superseding, it names a slot that one call
//! can have at a time, such as a search box, and the calls ask for different things. So superseding has no cache: a
//! cached result would answer another question. Where you want both, as in a box whose queries are also shared and cached,
//! put a layer that supersedes around a layer that joins.
//!
//! [`CancelLayer::replace`](crate::CancelLayer::replace) supersedes too, by the job:
//!
//! | | [`latest`](DedupLayer::latest) | [`CancelLayer::replace`](crate::CancelLayer::replace) |
//! |---|---|---|
//! | for | calls that can be dropped, with jobs or without | jobs that may have to clean up, or are to be listed |
//! | needs a job | no | the layer begins one |
//! | grace period | that of a Cancel layer outside | its own, [`grace`](crate::CancelLayer::grace) |
//! | the older caller gets | [`Duplicate`], with [`Cancelled`](crate::job::Cancelled) as its source | [`Cancelled`](crate::job::Cancelled) |
//! | the older one has its result in the same moment | it keeps the result, or the newer call has the slot: never both | a finished job keeps its result |
//!
//! The services of a layer and of its clones share their keys, around whatever services they are: a key has to say which
//! service is meant where there are several, such as the routes of a server. Joined calls whose responses differ in type do
//! not see each other. A layer of another mode is another layer, with keys of its own.
//!
//! # Configure first, then take handles
//!
//! A layer shares its keys with its clones, its handles and the services that it makes. A setter never
//! changes what others use: on a layer that is in use it gives another layer, with the same settings and keys of its own,
//! and a handle that was taken before does not see the calls of that layer.
//!
//! # Joined executions
//!
//! A joined execution belongs to all its callers: the leader, which began it, and its followers. Any of them may leave at
//! any moment, the leader too: the work goes on for the others, and stops when the last caller leaves. To let it run on
//! even then, put a [detached](crate::CancelLayer::detached) Cancel layer around this one, or make each call with a
//! [`Dispatcher`](crate::dispatch). While the work of the last caller that left is being dropped, the next may begin.
//!
//! Responses are cloned for followers, and once for the cache. An error need not be `Clone`: callers that share one each get
//! a wrapper whose source it is. So look for it with [`find`](crate::find), which finds it there too: a `downcast_ref` that
//! works for a lone caller fails as soon as there are two.
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
//! The execution runs in the leader's job, where a layer around this one tracks that. What it reports there
//! ([`Progress`](crate::EventKind::Progress) and [`StepStarted`](crate::EventKind::StepStarted)) reaches the job of each
//! follower too, from the moment it joins, and the last report of each kind at once. That goes on when the leader has left
//! and its job has ended. A follower's job says [`Duplicate`](crate::EventKind::Duplicate) and then what is reported, but
//! never that it started, and a progress board shows it as joined. Its future is not woken for a report. A report reaches
//! all followers before the code that reports goes on, unless another thread is delivering one: then that thread delivers
//! this one too. A job that failed with the work does not say in which step that was.
//!
//! A follower's job gets no reports where its own or the leader's job is unknown here: if no layer tracks it, or a layer
//! inside this one begins it. Background revalidations of cached results, and executions whose leader was already cancelled,
//! belong to no job and report nothing.
//!
//! The execution runs in the leader's tracing span, whichever caller polls it, and keeps that span open until it is over;
//! where the leader had no span, in the span of the caller that polls. A revalidation runs in the span of the call that got the
//! stale result. Task-locals belong to the task that polls, which may be any caller's: an execution must not rely on them.
//! Timers, connections and tasks belong to the runtime in which the execution made them. If callers of several runtimes
//! share an execution, that runtime must outlive it.
//!
//! # Cache
//!
//! Without [`cache`](DedupLayer::cache), nothing is left once the execution is over. With it, the layer caches each success
//! and answers later requests from the cache: nothing is executed, and the inner service is not asked whether it is ready.
//! So a detached job's result is found though its caller went away.
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
//!     .cache(Duration::from_secs(60));
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
//! | time to live | [`cache`](DedupLayer::cache), on tokio's clock, from the end of the execution |
//! | after that | [`stale_while_revalidate`](DedupLayer::stale_while_revalidate): answered at once, while one execution revalidates it |
//! | count | [`max_entries`](DedupLayer::max_entries), 1000 by default; the least recently used result goes first |
//! | what is cached | what is a success to [`classify`](DedupLayer::classify), each `Ok` by default |
//! | what is never cached | errors; what a layer inside answered in the service's place; what a layer inside calls a failure; what a cancelled job handed out |
//! | refresh | a request that [`refresh_if`](DedupLayer::refresh_if) picks is executed though there is a cached result |
//! | removal | [`DedupHandle::invalidate`], [`DedupHandle::invalidate_all`]: see [below](self#invalidation) |
//! | event | [`CacheHit`](crate::EventKind::CacheHit); the job succeeds without having started |
//!
//! An expired result keeps its memory until a newer result takes its place or pushes it out. The key says
//! whom a result is for: where users may not see each other's results, put the user into the key.
//!
//! # Invalidation
//!
//! After [`DedupHandle::invalidate`] or [`DedupHandle::invalidate_all`], a call neither gets nor waits for work that
//! began before. In every mode the older execution goes on for the callers that it has, and its result is not cached:
//!
//! | mode | the next call with the key |
//! |---|---|
//! | reject | is executed, also where the older execution hangs |
//! | [`join`](DedupLayer::join), with [`cache`](DedupLayer::cache) or without | begins an execution of its own, which later calls join |
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
//! | the running call | is cancelled, woken, and its work dropped when it is polled | goes on |
//! | the waiting call | none waits | is replaced; it never starts |
//! | what the replaced one's caller gets | [`Duplicate`], [`replaced`](Duplicate::replaced); of a Cancel layer outside, its [`Cancelled`](crate::job::Cancelled) | as there |
//! | the replaced one's job | is cancelled as [`Replaced`](crate::CancelReason::Replaced), with its token and its children | as there |
//! | a result that the older one has not been polled for | is lost | is there |
//! | the running call leaves, fails or panics | the key is free | the waiting call goes on |
//! | the waiting call leaves | | the key is free; the calls it replaced do not come back, and the next call begins a burst of its own |
//! | a retry inside | keeps its slot; a wait for the next attempt ends too | keeps its slot |
//! | a retry outside | does not try a replaced call again, nor does a circuit count it | as there; each attempt waits for quiet |
//! | a retry outside comes back while a newer job has the slot, or waits for it | it is the older job that is replaced | as there |
//! | a retry outside that is not ours | would take the slot back: let it leave this error alone | would wait once more: as there |
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
//! | Go's `singleflight`, tower-resilience's coalesce | `join` | the work stops when the last caller leaves; any caller drives it |
//! | BullMQ, simple mode | the default | the caller gets an error, with the job's id |
//! | BullMQ, throttle mode (`ttl`) | `join` and `cache` | callers have the result; the time counts from the end of the execution, and a failure is not cached |
//! | BullMQ, debounce mode (`ttl`, `extend`, `replace`, `delay`) | `debounce` | |
//! | BullMQ, `keepLastIfActive` | `debounce(Duration::ZERO)` | |
//! | Temporal, conflict policy `Fail`, `UseExisting`, `TerminateExisting` | the default, `join`, `latest` | the newer one does not wait until the older one has ended |
//! | Sidekiq `unique_for`, Oban `unique` | the default | a key lasts as long as its job, and holds within one process |
//! | RxJS `exhaustMap`, `switchMap`, `debounceTime` | the default, `latest`, `debounce` | for each key |
//! | lodash `debounce`, `maxWait` | `debounce`, `max_wait` | calls that are put off get an error, not the result before |
//!
//! # Watching it
//!
//! [`handle`](DedupLayer::handle) gives the keys in flight, each with its job, its followers and its beginning, and
//! counts executions, joined, rejected and replaced calls, and hits. Keys are listed only if their calls came after the
//! first handle was made: before, nobody pays for it.
//!
//! # Its place in the order
//!
//! Outside the circuit breaker and the retry: duplicates are asked for first, and a job's retries keep its key. Inside
//! Cancel, which then ends a wait at once.
//!
//! Inside [`Cancel`](crate::cancel), where calls join: cancelling a job takes its caller out, and the work goes on for
//! the others. A grace period is for a leader that has the execution to itself: its work may clean up, and a call that comes
//! meanwhile begins another execution. Of several callers, each leaves at once. A Cancel inside this layer controls the work
//! instead, under the leader's id: cancelling that ends the work for all, also once the leader has left, and the
//! followers' jobs are unknown there.
//!
//! # Readiness
//!
//! This layer is always ready: the key is unknown until the request comes, and a call that joins must not reserve what
//! it will not use. An execution drives the instance that was called to readiness within its future, and a clone takes
//! its place.
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
//! Dropping a call frees its key, or leaves the joined execution to the others, or the slot to the waiting call.
//!
//! Every caller of a joined execution can drive it. A call may be set aside, in a `select!`, in a `Vec` or in a buffer of
//! futures, polled once or never: the others have their result all the same. Each wake of the execution wakes every caller
//! that waits. In between nobody is polled, and of the callers that are woken one polls the execution. A call that holds
//! its key alone, in the modes that reject or supersede, keeps it until it is over, dropped, or replaced by a newer call.
//!
//! A call is set aside when its task goes on to await something else and does not drop it. What others get meanwhile:
//!
//! | a call | the other call, which is set aside | what the call gets | what the other gets when it is polled |
//! |---|---|---|---|
//! | joins an execution | a caller of it, never polled, or woken and not polled again | the result, as early as if it were alone | the same result, also where a limit around it has passed |
//! | gets a stale result | the call for which the revalidation began | the stale result at once; a task drives the revalidation | the stale result |
//! | [`latest`](DedupLayer::latest) | the older call | its slot at once | it was replaced; a result that it was not polled for is lost |
//! | [`debounce`](DedupLayer::debounce) | waits | its slot at once, and then its own quiet | it was replaced |
//! | [`debounce`](DedupLayer::debounce) | runs | it waits until the other is dropped or polled to its end | its result |
//! | reject mode | has the key | a [`Duplicate`] at once, until the other is dropped or polled to its end | its result |
//!
//! A limit around a call frees its key only when the call is polled: in time where the call has a task of its own, as a
//! [detached](crate::CancelLayer::detached) or [dispatched](crate::dispatch) one has.
//!
//! # Calls inside an execution
//!
//! A call that the code of a joined execution makes must not wait for that execution, not even through others: they would
//! wait for each other without end. Such a call fails at once, with a [`Duplicate`] that names the keys, and the jobs where
//! they are tracked ([`Duplicate::cycle`]). That holds across layers and with jobs or without. A call counts as waiting
//! until it ends, under a time limit or in a `select!` too, so that of calls that want each other's result at least one
//! fails; also where the execution's code hands the call to a task and goes on without it. What the execution's code
//! spawns or dispatches is no part of the execution, so that a cycle through such work is not seen: it needs a limit.
//!
//! # Under axum
//!
//! With `respond_with` it goes into `Router::layer` as it is. All routes share the keys, so the method and the path belong
//! into them. Joining needs a response that is `Clone`, which one with axum's body is not: collect it first. The other
//! modes need none.
//!
//! # In a struct or a signature
//!
//! The first two type parameters of [`DedupLayer`] are the closure that gives the key and the key; the others, which name the
//! mode, have no public names. So a struct that holds a configured layer, or the service that it makes, has a type
//! parameter for it, a function returns `impl Layer<S>`, and where neither will do there are tower's boxes:
//!
//! ```
//! use tower::{Layer, ServiceExt, service_fn, util::BoxCloneSyncService};
//! use tower_keep::{BoxError, DedupLayer};
//!
//! // The default mode can be named.
//! type ByUser = DedupLayer<fn(&u64) -> Option<u64>, u64>;
//! let reject: ByUser = DedupLayer::new(|user| Some(*user));
//!
//! // By a type parameter: whatever the layer is.
//! struct Users<L> {
//!     dedup: L,
//! }
//! let users = Users { dedup: reject.join() };
//!
//! // In a box: the service is `Clone + Send + Sync`.
//! struct Directory {
//!     users: BoxCloneSyncService<u64, String, BoxError>,
//! }
//! let directory = Directory {
//!     users: BoxCloneSyncService::new(users.dedup.layer(service_fn(|user: u64| async move {
//!         Ok::<_, BoxError>(format!("user {user}"))
//!     }))),
//! };
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
//! assert_eq!(directory.users.oneshot(7).await.unwrap(), "user 7");
//! # });
//! ```
//!
//! # If it does not compile
//!
//! The compiler's first line says what a key, a service, its response or its error lacks, where it asks whether the service
//! is a [`Service`](tower_service::Service). A method of an extension trait, as `oneshot`, it does not find instead, and says
//! no more than that bounds are not satisfied. Then give the service to a function with that bound, such as
//! `tower::util::BoxCloneSyncService::new`, to see which.

mod bounds;
mod cache;
mod coalesce;
mod counts;
mod error;
mod execution;
mod future;
mod handle;
mod in_flight;
mod key_table;
mod layer;
mod lookup;
mod mode;
mod reject;
mod service;
mod supersede;
mod typed_key;

pub use self::{
    counts::DedupCounts, error::Duplicate, future::ResponseFuture, handle::DedupHandle,
    in_flight::InFlight, layer::DedupLayer, service::Dedup,
};
