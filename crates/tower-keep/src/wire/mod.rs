//! Serialization with serde: the JSON form of ids, events, views and counts (feature `serde`).
//!
//! Use it to send what a handle shows to a browser, to another process or to a file. There is
//! nothing to call here: this page describes the form. With the feature, these types are
//! `Serialize` and `Deserialize`:
//!
//! - [`JobId`], [`JobName`], [`Report`], [`StepInfo`], [`Event`], [`EventKind`], the reasons,
//!   causes and outcomes
//! - with the feature `http`: `HttpExchange`, `BodyEnd`
//! - Progress: `JobView`, `JobState`, `BoardSnapshot`
//! - Cancel: `Running`, and the counts of `Shutdown`
//! - CircuitBreaker: `State`, `Mode`, `CircuitSnapshot`, `Transition`
//! - Dedup: `DedupCounts`, `InFlight`
//! - Retry: `Balance` of a budget
//!
//! CircuitBreaker's `Settings`, with `Window` and `Ratio`, are `Serialize` only.
//!
//! ```
//! use serde_json::json;
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//! use tower_keep::{BoxError, Event, EventKind, FailureCause, JobId};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let event = Event::new("7".parse()?, EventKind::Failed {
//!     cause: FailureCause::TimedOut,
//!     error: "too slow".into(),
//! });
//! let sent = serde_json::to_value(&event)?;
//! assert_eq!(sent["job"], "7");
//! assert_eq!(sent["kind"], json!({"type": "failed", "cause": "timed_out", "error": "too slow"}));
//!
//! let received: Event = serde_json::from_value(sent)?;
//! assert_eq!(received.kind, event.kind);
//! # Ok(())
//! # }
//! ```
//!
//! # The form
//!
//! | value | form | JSON |
//! |---|---|---|
//! | a job's id | text, because JavaScript's numbers are exact up to 2^53 only; also as a path segment, a query value or a map key | `"7"` |
//! | a name, an external id, an error | text; an empty name is an empty text | `"import"` |
//! | a time | milliseconds since 1970 with a fraction, as in JavaScript's `Date`; see [`wall_time`] | `1764439569123.25` |
//! | a duration | milliseconds with a fraction, in a field that ends in `_ms`, as in the [log](crate::log) | `"took_ms": 1500.5` |
//! | an absent value | `null` | `"parent": null` |
//! | an enum whose variants have no fields, such as [`FailureCause`] | the variant's name in snake_case | `"timed_out"` |
//! | any other enum | an object: `type` is the variant's name in snake_case, next to the variant's fields | `{"type": "failed", "cause": "timed_out"}` |
//! | [`CancelReason::Other`] | its `text` | `{"type": "other", "text": "a whim"}` |
//! | the [`LimitScope`] of a step | its `name` | `{"type": "step", "name": "upload"}` |
//! | a [`Report`] | its fields; the fraction of an unknown total is `null` | `{"fraction": 0.25, "amount": {"done": 1, "total": 4, "unit": "items"}, "message": null, "step": null}` |
//! | [`Event::http`](crate::Event) (feature `http`) | the method, the authority as text, the status as a number, how the body ended; the field is missing if the event has no exchange | `"http": {"method": "GET", "authority": "localhost:8080", "status": 503, "body": "complete"}` |
//! | a ratio in settings | a number up to 1 | `0.5` |
//!
//! The `type` of an [`EventKind`] is its [`name`](crate::EventKind::name). All other fields have
//! their Rust names.
//!
//! Reading a time gives a moment on the clock of the reading process, with the same time of day to
//! within a microsecond. If that clock does not go back far enough, the time is the earliest that
//! the clock has. Durations of less than some weeks are exact.
//!
//! These numbers are rejected with an error: a time outside the range of JavaScript's `Date`, a
//! negative duration, a duration above [`Duration::MAX`](std::time::Duration::MAX), and NaN.
//!
//! The data format must be self-describing, as JSON, MessagePack and CBOR are, because an enum is
//! read by its `type`.
//!
//! # Compatibility
//!
//! Readers ignore unknown fields, and read a missing optional field as absent. So these changes are
//! compatible, and may come with any minor version:
//!
//! - A new field. It is optional for readers, so data of earlier versions can still be read.
//! - A new variant of an enum. Earlier versions reject a value with that variant, with an error.
//!
//! A removed field, another name, another type or another unit needs a new major version.
//!
//! [`JobId`]: crate::JobId
//! [`JobName`]: crate::JobName
//! [`Report`]: crate::Report
//! [`StepInfo`]: crate::StepInfo
//! [`Event`]: crate::Event
//! [`EventKind`]: crate::EventKind
//! [`FailureCause`]: crate::FailureCause
//! [`CancelReason::Other`]: crate::CancelReason::Other
//! [`LimitScope`]: crate::LimitScope
//! [`wall_time`]: crate::event::wall_time

/// Serializes and deserializes a type through its form, whose impls are derived.
macro_rules! is_its_form {
    ($($type:ty => $form:ty),+ $(,)?) => {$(
        impl ::serde::Serialize for $type {
            fn serialize<S: ::serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                <$form>::serialize(self, to)
            }
        }

        impl<'de> ::serde::Deserialize<'de> for $type {
            fn deserialize<D: ::serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                <$form>::deserialize(from)
            }
        }
    )+};
}

#[cfg(feature = "cancel")]
mod cancel;
#[cfg(feature = "circuit-breaker")]
mod circuit_breaker;
#[cfg(feature = "dedup")]
mod dedup;
mod event;
#[cfg(feature = "http")]
mod http;
mod id;
mod number;
mod reason;
mod report;
#[cfg(feature = "retry")]
mod retry;
mod value;
#[cfg(feature = "progress")]
mod view;

#[cfg(test)]
mod tests;
