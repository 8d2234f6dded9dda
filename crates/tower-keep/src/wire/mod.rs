//! The form in which ids, events, views and counts go to other programs: feature `serde`.
//!
//! What a handle shows is also data for a page in a browser, for another process, for a file. With this feature
//!
//! - [`JobId`], [`JobName`], [`Report`], [`StepInfo`], [`Event`], [`EventKind`], the reasons, causes and outcomes,
//! - of Progress the `JobView`, `JobState` and `BoardSnapshot`,
//! - of Cancel what is `Running` and the counts of a `Shutdown`,
//! - of CircuitBreaker the `State`, `Mode`, `CircuitSnapshot` and `Transition`,
//! - of Dedup the `DedupCounts`, and what is `InFlight`,
//! - of Retry the `Balance` of a budget
//!
//! are `Serialize` and `Deserialize`. `Settings` of CircuitBreaker, with `Window` and `Ratio`, are `Serialize` only. There is
//! nothing to call here: this page says what the form is.
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
//! | what | is | as JSON |
//! |---|---|---|
//! | a job's id | its text, as JavaScript's numbers end at 2^53; also as a path's segment, a query's value, the key of a map | `"7"` |
//! | a name, an external id, an error | a text; an empty name is one too | `"import"` |
//! | a time | milliseconds since 1970, as JavaScript's `Date` counts; with a fraction; see [`wall_time`] | `1764439569123.25` |
//! | a duration | milliseconds with a fraction, in a field that ends in `_ms`, as in the [log](crate::log) | `"took_ms": 1500.5` |
//! | what may be absent | `null` | `"parent": null` |
//! | an enum whose variants carry nothing, such as a [`FailureCause`] | the variant's name in snake_case | `"timed_out"` |
//! | any other enum | an object whose `type` is the variant's name in snake_case, with the variant's fields next to it | `{"type": "failed", "cause": "timed_out"}` |
//! | a [`CancelReason`] of the user's | its `text` | `{"type": "other", "text": "a whim"}` |
//! | the [`LimitScope`] of a step | its `name` | `{"type": "step", "name": "upload"}` |
//! | a [`Report`] | its fields next to each other; the fraction of an unknown total is `null` | `{"fraction": 0.25, "amount": {"done": 1, "total": 4, "unit": "items"}, "message": null, "step": null}` |
//! | a share, in settings | a number up to 1 | `0.5` |
//!
//! The `type` of an [`EventKind`] is its [`name`](crate::EventKind::name). All other fields have the names that they have in Rust.
//!
//! A time that was read is a moment on the clock of the reading process. It says the same time of day, to within a
//! microsecond; where this process' clock does not go that far back, it is the earliest that the clock has. Durations of
//! less than some weeks are exact. A time that no `Date` of JavaScript's can have, a negative duration, a duration that is longer
//! than [`Duration::MAX`](std::time::Duration::MAX) and NaN are refused with an error.
//!
//! The data have to describe themselves, as JSON, MessagePack and CBOR do: an enum is read by its `type`.
//!
//! # What may change
//!
//! A reader ignores fields that it does not know, and takes a missing field that may be absent as absent. So these
//! changes are compatible, and may come with any minor version:
//!
//! - A further field. It is optional for who reads, so that what an earlier version wrote can still be read.
//! - A further variant of an enum. An earlier version refuses to read it: with an error, for the value that has it.
//!
//! A field that goes, another name, another type or another unit is a new major version.
//!
//! [`JobId`]: crate::JobId
//! [`JobName`]: crate::JobName
//! [`Report`]: crate::Report
//! [`StepInfo`]: crate::StepInfo
//! [`Event`]: crate::Event
//! [`EventKind`]: crate::EventKind
//! [`FailureCause`]: crate::FailureCause
//! [`CancelReason`]: crate::CancelReason
//! [`LimitScope`]: crate::LimitScope
//! [`wall_time`]: crate::event::wall_time

/// Makes a type what its form is, which is derived.
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
