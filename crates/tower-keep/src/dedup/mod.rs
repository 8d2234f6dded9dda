//! Runs identical concurrent requests once, or lets the newest request replace an older one.
//!
//! A closure gives each request a key. The mode decides what happens to a second call with the same
//! key:
//!
//! | kind | mode | a second call with the same key | requirements |
//! |---|---|---|---|
//! | coalescing | reject, the default | fails with [`Duplicate`], which names the job that holds the key | |
//! | | [`join`](DedupLayer::join) | waits for the first call's result | response `Clone + Send + Sync`; request, error, inner service and its future `Send` |
//! | | `join` and [`cache`](DedupLayer::cache) | waits for the first call's result, or gets it from the cache afterwards | as `join` |
//! | superseding | [`latest`](DedupLayer::latest) | cancels the first call and runs at once | |
//! | | [`debounce`](DedupLayer::debounce) | waits for a quiet period and for the running call; the last waiting call runs | tokio's timer |
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
//! A coalescing key identifies the request: one answer serves all calls. A superseding key
//! identifies a slot, such as a search box. The calls for one slot ask for different things, so
//! superseding has no cache. For a search box with shared and cached queries, put a superseding
//! layer around a joining layer.
//!
//! For HTTP clients, `DedupLayer::http_get` (feature `http`) joins equal GETs. It shares their answer
//! where RFC 9111 allows that, and otherwise lets each caller send its own request.
//!
//! # Keys
//!
//! A key is taken before the work starts. It is free again when the job ends: with a result, by a
//! limit, a cancellation, a panic or a drop.
//!
//! All services of a layer and its clones use the same keys. If these wrap different inner
//! services, such as the routes of a server, include the inner service in the key. With `join`,
//! calls with the same key but different response types do not join. If you set another mode on a
//! clone of a layer, the result has its own keys.
//!
//! A request without a key (`None`) is not deduplicated: it waits for no other call, no call waits
//! for it, and it bypasses the cache. So requests can opt out, by an extension or a header:
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
//! # Configure first, then take handles
//!
//! A layer shares its keys with its clones, handles and services. A setter on a layer that is in
//! use returns another layer with its own keys, which earlier handles do not see.
//!
//! # Joined executions
//!
//! A joined execution belongs to all its callers: the leader, which began it, and its followers.
//! Any caller may leave at any time, the leader included: the work continues for the others. It
//! stops when the last caller leaves. The next execution may begin while that work is still being
//! dropped.
//!
//! To let the work run on without callers, put a [detached](crate::CancelLayer::detached) Cancel
//! layer outside, or use a [`Dispatcher`](crate::dispatch).
//!
//! Followers and the cache get clones of the response. An error need not be `Clone`: callers that
//! share an error each get a wrapper, whose source is the error. Use [`find`](crate::find) to look
//! for the error: `downcast_ref` works only for a lone caller.
//!
//! # Reports, spans and task-locals
//!
//! The execution runs in the leader's job, if a layer outside this one tracks it. Its reports
//! ([`Progress`](crate::EventKind::Progress) and [`StepStarted`](crate::EventKind::StepStarted))
//! reach the followers' jobs too:
//!
//! - A follower gets the latest report of each kind when it joins, and every later report. The
//!   reports continue after the leader has left and its job has ended.
//! - A follower's job emits [`Duplicate`](crate::EventKind::Duplicate) and then the reports, but no
//!   `Started` event. A progress board shows the job as joined.
//! - A report does not wake the follower's future.
//! - A report reaches all followers before the reporting code continues, unless another thread is
//!   delivering a report: then that thread delivers both.
//! - If the work fails, a follower's job does not name the failed step.
//!
//! A follower gets no reports if this layer does not know the follower's job or the leader's job.
//! The layer knows a job only if a layer around it began that job. Background revalidations belong
//! to no job and report nothing. The same holds for an execution that begins after its leader's job
//! was cancelled.
//!
//! The execution runs in the leader's tracing span, whichever caller polls it, and keeps that span
//! open. If the leader had no span, it runs in the polling caller's span. A revalidation runs in
//! the span of the call that got the stale result.
//!
//! Task-locals belong to the polling task, which may be the task of any caller. An execution must
//! not rely on them. Timers, connections and tasks belong to the runtime in which the execution
//! made them. If callers on several runtimes share an execution, the runtime of its timers,
//! connections and tasks must outlive it.
//!
//! # Cache
//!
//! With [`cache`](DedupLayer::cache), the layer caches each success and answers later requests from
//! the cache. A hit executes nothing, and does not poll the inner service for readiness. A detached
//! job's result is cached even if its caller left.
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
//! | stale results | [`stale_while_revalidate`](DedupLayer::stale_while_revalidate): returned at once, while one execution revalidates them |
//! | size | [`max_entries`](DedupLayer::max_entries), 1000 by default; the least recently used entry is evicted first |
//! | what is cached | results that [`classify`](DedupLayer::classify) calls a success, by default each `Ok` |
//! | what is never cached | errors; responses that an inner layer returns in place of the service, or counts as failures; results of a cancelled job |
//! | refresh | [`refresh_if`](DedupLayer::refresh_if) picks requests that are executed despite a cached result |
//! | removal | [`DedupHandle::invalidate`], [`DedupHandle::invalidate_all`]: see [Invalidation](self#invalidation) |
//! | event | [`CacheHit`](crate::EventKind::CacheHit); the job succeeds without having started |
//!
//! An expired result stays in memory until a newer result replaces or evicts it. If users must not
//! see each other's results, include the user in the key.
//!
//! # Invalidation
//!
//! After [`DedupHandle::invalidate`] or [`DedupHandle::invalidate_all`], a new call ignores
//! executions that began before. It neither waits for them nor gets their results. In every mode an
//! older execution continues for its callers, and its result is not cached:
//!
//! | mode | the next call with the key |
//! |---|---|
//! | reject | is executed, even if the older execution hangs |
//! | [`join`](DedupLayer::join), with [`cache`](DedupLayer::cache) or without | begins another execution, which later calls join |
//! | [`latest`](DedupLayer::latest) | runs, and the older call is not cancelled |
//! | [`debounce`](DedupLayer::debounce) | waits for quiet, but not for the older call; so does a call that was already waiting |
//!
//! Until the older execution is over, the key has two executions. If a job must never run twice at
//! the same time, give it its own lock, or do not invalidate its key.
//!
//! # The latest call wins
//!
//! ```
//! use std::time::Duration;
//! use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
//! use tower_keep::{BoxError, CancelReason, DedupLayer, cancel::Cancelled, dedup::Duplicate, find};
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap().block_on(async {
//! // One search box: each query replaces its predecessor.
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
//! // A document is saved one second after its last change. While changes keep coming, every ten seconds.
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
//! | the running call | is cancelled and woken; its work is dropped at its next poll | continues |
//! | the waiting call | there is none | is replaced and never starts |
//! | the replaced caller's error | [`Duplicate`] with [`replaced`](Duplicate::replaced); with a Cancel layer outside, its [`Cancelled`](crate::job::Cancelled) | same |
//! | the replaced job | is cancelled as [`Replaced`](crate::CancelReason::Replaced), with its token and its children | same |
//! | a result of the older call that is ready, while its caller has not polled for it yet | is lost | is kept |
//! | the running call leaves, fails or panics | the key is free | the waiting call stays, and runs after its quiet period |
//! | the waiting call leaves | | the key is free; replaced calls do not come back, and the next call begins a new burst |
//! | a retry inside | keeps its slot; a replaced call stops in its backoff too | keeps its slot |
//! | a retry outside | does not retry a replaced call; a circuit does not count it | same; each attempt waits for quiet |
//! | a retry outside makes another attempt while a newer job holds the slot or waits for it | the job of the retry is replaced, because it is the older job | same |
//! | another library's retry outside | would take the slot back: make it ignore this error | would wait again: make it ignore this error |
//! | grace period of a Cancel layer outside | applies, while the newer call runs already | not needed: the replaced call never started |
//! | grace period of a Cancel layer inside | does not apply: the layer is dropped with the work | |
//! | a time limit outside | | includes the wait |
//! | both calls belong to one job, as with a hedge | the older call ends, the job continues | same |
//! | the running job's own code calls with its key | replaces itself | waits for itself |
//!
//! [`CancelLayer::replace`](crate::CancelLayer::replace) supersedes jobs instead of calls:
//!
//! | | [`latest`](DedupLayer::latest) | [`CancelLayer::replace`](crate::CancelLayer::replace) |
//! |---|---|---|
//! | for | calls that can be dropped, with or without jobs | jobs that need to clean up, or to be listed |
//! | needs a job | no | the layer begins one |
//! | grace period | of a Cancel layer outside | its own, [`grace`](crate::CancelLayer::grace) |
//! | error of the older caller | [`Duplicate`], whose source is [`Cancelled`](crate::job::Cancelled) | [`Cancelled`](crate::job::Cancelled) |
//! | the older call finishes at the same moment | its caller gets the result or a `Duplicate`, depending on which came first | a finished job keeps its result |
//!
//! # Place in the order
//!
//! Put this layer outside the circuit breaker and the retry. Then duplicates are found first, and a
//! job keeps its key during its retries.
//!
//! Put it inside [`Cancel`](crate::cancel), which then ends a wait at once. If calls join, the
//! caller of a cancelled job leaves, and the work continues for the other callers. A grace period
//! applies only to a leader without followers. Its work may clean up, and calls that come meanwhile
//! begin another execution. With several callers, each cancelled caller leaves at once.
//!
//! A Cancel layer inside this one controls the work instead, under the leader's id. Cancelling
//! there ends the work for all callers, even after the leader has left. That Cancel layer does not
//! know the followers' jobs.
//!
//! # Readiness
//!
//! This layer is always ready, because it learns the key only from the request. An execution takes
//! the called instance of the inner service and waits in its future until that instance is ready.
//! The layer keeps a clone in its place for the next call.
//!
//! # Errors
//!
//! By default, the error is a [`BoxError`](crate::BoxError) that holds a [`Duplicate`].
//! [`fail_with`](DedupLayer::fail_with) and [`respond_with`](DedupLayer::respond_with) replace the
//! default. With either of them, a joined execution's error has to be `Clone`.
//!
//! If an execution that can be joined panics, all its callers get a [`Duplicate`] with the panic
//! message, even a lone caller. A replaced call counts as cancelled: [`find`](crate::find) finds
//! [`Cancelled`](crate::job::Cancelled) in its error.
//!
//! # Cancel safety
//!
//! Dropping a call frees its key. A joined execution continues for the other callers, and a
//! superseding slot passes to the waiting call.
//!
//! Every caller of a joined execution can drive it. Each wake of the execution wakes every waiting
//! caller, and one of them polls it. A call of the other modes keeps its key until it is over,
//! dropped or replaced.
//!
//! A call is *set aside* when its task awaits something else and does not drop the call. For
//! example, the call is kept in a `select!`, a `Vec` or a buffer of futures. The other callers of a
//! joined execution still get their result, even if this call was polled once or never. What
//! happens if one call is set aside and another comes:
//!
//! | a call | the call set aside | what the call gets | what the call set aside gets, when polled |
//! |---|---|---|---|
//! | joins an execution | another caller of that execution, never polled, or woken and not polled again | the result, as early as if there were no other caller | the same result, even if a limit around the call set aside has passed |
//! | gets a stale result | began the revalidation | the stale result at once; a task drives the revalidation | the stale result |
//! | [`latest`](DedupLayer::latest) | the older call | its slot at once | replaced; if its work had finished and the call was not polled since, that result is lost |
//! | [`debounce`](DedupLayer::debounce) | is the waiting call | becomes the waiting call at once, and runs after its own quiet period | replaced |
//! | [`debounce`](DedupLayer::debounce) | runs | waits until the running call is dropped or polled to its end | its result |
//! | reject mode | holds the key | a [`Duplicate`] at once, until that call is dropped or polled to its end | its result |
//!
//! A limit around a call frees its key only when the call is polled. A
//! [detached](crate::CancelLayer::detached) or [dispatched](crate::dispatch) call has its own task,
//! and is polled in time.
//!
//! # Calls inside an execution
//!
//! A call inside a joined execution must not wait for that execution, directly or through other
//! executions: both would wait forever. Such a call fails at once, with a [`Duplicate`] that names
//! the [cycle](Duplicate::cycle). The check works across layers, with or without jobs.
//!
//! Work that the execution's code spawns or dispatches is not part of the execution. A cycle
//! through such work is not detected: put a time limit around it.
//!
//! # Under axum
//!
//! With `respond_with`, the layer goes into `Router::layer` as it is. All routes share the keys, so
//! include the method and the path in the key. Joining needs a `Clone` response, and axum's body is
//! not `Clone`: collect the body first. The other modes have no such requirement.
//!
//! # In a struct or a signature
//!
//! The first two type parameters of [`DedupLayer`] are the key closure and the key. The other two,
//! for the mode and the error, have no public names. A struct that holds a configured layer or its
//! service needs a type parameter, and a function returns `impl Layer<S>`. Otherwise use tower's
//! boxes:
//!
//! ```
//! use tower::{Layer, ServiceExt, service_fn, util::BoxCloneSyncService};
//! use tower_keep::{BoxError, DedupLayer};
//!
//! // The default mode can be named.
//! type ByUser = DedupLayer<fn(&u64) -> Option<u64>, u64>;
//! let reject: ByUser = DedupLayer::new(|user| Some(*user));
//!
//! // A type parameter stands for any configured layer.
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
//! If a function requires a [`Service`](tower_service::Service), the first line of the error names
//! the missing bound. For a method of an extension trait, such as `oneshot`, the compiler only says
//! that bounds are not satisfied. In that case, pass the service to a function that requires a
//! `Service`, such as `tower::util::BoxCloneSyncService::new`.
//!
//! # Monitoring
//!
//! [`handle`](DedupLayer::handle) lists the keys in flight, each with its job, its followers and
//! its start, and counts calls by their outcome. The handle lists only calls that began after the
//! first handle was made, so that a layer without handles pays nothing.
//!
//! # Names in other libraries
//!
//! | elsewhere | here | differences |
//! |---|---|---|
//! | Go's `singleflight`, tower-resilience's coalesce | `join` | the work stops when the last caller leaves; any caller drives it |
//! | BullMQ, simple mode | the default | the caller gets an error with the job's id |
//! | BullMQ, throttle mode (`ttl`) | `join` and `cache` | callers get the result; the time counts from the end of the execution, and failures are not cached |
//! | BullMQ, debounce mode (`ttl`, `extend`, `replace`, `delay`) | `debounce` | |
//! | BullMQ, `keepLastIfActive` | `debounce(Duration::ZERO)` | |
//! | Temporal, conflict policy `Fail`, `UseExisting`, `TerminateExisting` | the default, `join`, `latest` | the newer call does not wait for the end of the older one |
//! | Sidekiq `unique_for`, Oban `unique` | the default | a key lasts as long as its job, within one process |
//! | RxJS `exhaustMap`, `switchMap`, `debounceTime` | the default, `latest`, `debounce` | per key |
//! | lodash `debounce`, `maxWait` | `debounce`, `max_wait` | replaced calls get an error, not the previous result |

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

#[cfg(feature = "http")]
pub(crate) use self::coalesce::collapse::{Collapse, CollapsePolicy, Concerns};
pub use self::{
    counts::DedupCounts, error::Duplicate, future::ResponseFuture, handle::DedupHandle,
    in_flight::InFlight, layer::DedupLayer, service::Dedup,
};
