//! Equal GETs that share one exchange: [`DedupLayer::http_get`](crate::DedupLayer::http_get).
//!
//! A cache may answer several requests with one exchange ("collapse" them), but only with an answer
//! that it may reuse for them: RFC 9111, section 4. This layer keeps to that and stores nothing: an
//! answer is gone when its last caller has it.
//!
//! The exchange runs once, driven by any of its callers: the leader, whose request is sent, and its
//! followers. Its answer decides what they get:
//!
//! | the answer | its callers get |
//! |---|---|
//! | may be shared | the same head, and the bytes of one body |
//! | may be shared, and its `Vary` names a header in which a caller differs from the leader | that caller sends its own request |
//! | may not be shared | one caller gets it as it is; each other caller sends its own request |
//! | is an error, before the head or in a body that is collected | the same error |
//!
//! A caller that sends its own request does so in its own job, span and limits, through its own
//! clone of the inner service. This request is not shared again. A follower's job emits `Duplicate`,
//! and `Started` when the service gets its request. If a follower took the leader's answer, the
//! leader's job shows both exchanges.
//!
//! # Equal requests
//!
//! GET and HEAD without a body share. Two of them are equal if all of this is equal:
//!
//! - the method and the URL without its fragment; neither the case of scheme and host nor the
//!   default port matters; the path and the query count as they are written
//! - all headers, by name and value, except `traceparent`, `tracestate`, `x-request-id` and other
//!   [headers of tracing](self#headers-that-do-not-count)
//! - for reqwest, the timeout of the request: the exchange has the timeout of its leader
//!
//! So requests with different credentials never share, whatever header carries them: RFC 9111,
//! section 3.5, forbids only to reuse an answer to `Authorization` for *another* user. Headers of an
//! [`ignore_header`](crate::DedupLayer::ignore_header) do not count. Extensions of an
//! [`http::Request`] do not count either.
//!
//! Layers inside may add headers. If these depend on the caller, as an `Authorization` from a
//! task-local does, put that layer outside.
//!
//! One layer is for one client. All services of a layer and its clones share, and the layer does not
//! see what the client itself adds: default headers, a cookie store, a client certificate. Two
//! clients with different credentials need two layers, each from its own `http_get()`.
//!
//! These requests pass through, because their caller asks for an exchange of its own:
//!
//! | request | why |
//! |---|---|
//! | any other method, or a body | RFC 9111, section 4: only safe requests are collapsed |
//! | `Cache-Control: no-cache`, `no-store`, `max-age`, `min-fresh` or `only-if-cached`; `Pragma: no-cache` | sections 5.2.1 and 5.4 |
//! | `Upgrade`, `Connection: upgrade`, `Expect` | they concern one connection |
//! | `Accept: text/event-stream` | the answer has no end |
//!
//! # Answers that are not shared
//!
//! | answer | why |
//! |---|---|
//! | `Cache-Control: private`, `no-store` or `no-cache`, also with a list of fields; `Pragma: no-cache` | RFC 9111, sections 5.2.2 and 5.4 |
//! | `max-age`, `s-maxage` or `Expires` has passed, counted from the request and with `Age` | section 4.2 |
//! | no lifetime, and not status 200, 203, 204, 206, 300, 301, 304, 308, 404, 405, 410, 414 or 501; `public` allows any status | sections 3 and 4.2.2 |
//! | `Vary: *` | section 4.1 |
//! | `Set-Cookie`, `WWW-Authenticate`, `Authentication-Info` and their `Proxy-` forms | they are for one user or one connection, although section 7.3 allows the first |
//! | `text/event-stream`, `multipart/x-mixed-replace` | no end |
//! | 1xx | no answer |
//! | a header that decides is not valid | it may say any of these |
//! | the body is longer than [`max_body`](crate::DedupLayer::max_body) | memory |
//!
//! So a 503 is shared only if the server says how long it is fresh. While a server answers 503, each
//! follower waits for the leader's retries, and then sends its own request. Answers to equal `Range`
//! and `If-None-Match` headers are shared, because these headers count.
//!
//! `Date` does not make an answer older, because the clocks of client and server may differ.
//!
//! # A body is collected first
//!
//! The callers get a shared answer when its body is complete. That holds for a caller that is alone
//! too: others may join until the end. So a body that comes slowly or without end, as that of a
//! watch or of a log that is followed, is collected up to `max_body`, and its callers wait. Send
//! such requests with `Cache-Control: no-store`.
//!
//! # Headers that do not count
//!
//! `b3`, `elastic-apm-traceparent`, `newrelic`, `request-id`, `sentry-trace`, `traceparent`,
//! `tracestate`, `uber-trace-id`, `x-amzn-trace-id`, `x-b3-*`, `x-cloud-trace-context`,
//! `x-correlation-id`, `x-datadog-*`, `x-dynatrace`, `x-instana-*`, `x-request-id`.
//!
//! `baggage` and `correlation-context` count, because an application may put a user or a tenant into
//! them. If yours have only data of a trace, ignore them: otherwise no two calls are equal.
//!
//! # Read what was just written
//!
//! After a POST or another unsafe request to the same URL, a GET joins no exchange that began before:
//! RFC 9111, section 4.4. That holds once the request has its answer through this layer, unless the
//! answer is a 4xx or 5xx. It holds too if the request fails, or is dropped before its answer: the
//! server may have done the work. The older exchange goes on for its callers.
//!
//! The layer does not see a change through another client or another URL. A GET that must see it
//! needs `Cache-Control: no-cache`, or
//! [`invalidate_all`](crate::dedup::DedupHandle::invalidate_all) before.
//!
//! # Memory
//!
//! At most `max_body` bytes and one more frame for each exchange in flight, and for a moment a copy
//! of them, when a body that came in pieces is put together. The bytes live until the last caller
//! has read or dropped its response. Each waiting caller keeps a copy of its request
//! and a clone of the inner service.
//!
//! # Place in the order
//!
//! As [every Dedup layer](crate::dedup#place-in-the-order): inside Cancel, outside the circuit
//! breaker, the timeouts and the retry. In a pipeline:
//!
#![cfg_attr(feature = "pipeline", doc = "```")]
#![cfg_attr(not(feature = "pipeline"), doc = "```ignore")]
//! use tower_keep::{DedupLayer, Pipeline};
//!
//! let pipeline = Pipeline::http_client().dedup(DedupLayer::http_get()).build()?;
//! # let _ = pipeline;
//! # Ok::<_, tower_keep::BoxError>(())
//! ```
//!
//! The limits inside, and not those around its callers, bound a shared exchange. A limit inside that
//! includes the body, as `TimeoutLayer::http`, bounds the collection too. A limit or a cancellation
//! outside ends the wait of its own caller.
//!
//! Layers outside follow the body that their caller gets. A shared body is ready at once. Layers
//! inside have seen its end already.
//!
//! # Errors
//!
//! A [`BoxError`](crate::BoxError). Callers of one exchange share its error by a wrapper, whose
//! source is the error: [`Rejection::of`](crate::Rejection::of), [`find`](crate::find) and
//! [`ErrorKind::of`](super::ErrorKind::of) look into it. With
//! [`fail_with`](crate::DedupLayer::fail_with), your error has to be `From<BoxError>`. If the
//! exchange panics, its callers get a [`Duplicate`](crate::dedup::Duplicate).
//!
//! # Cancel safety
//!
//! As [`join`](crate::dedup#cancel-safety): any caller may leave, and the exchange stops with its
//! last caller. The first caller that is polled takes an answer that may not be shared.
//!
//! # Monitoring
//!
//! [`handle`](crate::DedupLayer::handle) lists the exchanges in flight. `counts().joined` includes
//! callers that then sent their own request.

mod answer;
mod body;
mod cache_control;
mod exchange;
mod key;
mod layer;
mod request;
mod response;
mod rules;

pub use self::{body::GetBody, key::GetKey, layer::HttpGetLayer};
