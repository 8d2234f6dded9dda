//! What the modes need of a key, a service, its response and its error; the compiler's errors say what is missing.

use std::fmt;

/// A service that Dedup can be put around.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not `Clone`, which a service inside `DedupLayer` has to be",
    label = "not `Clone`",
    note = "an execution takes the instance that was called along, and a clone takes its place"
)]
pub trait CloneService: Clone {}

#[diagnostic::do_not_recommend]
impl<S: Clone> CloneService for S {}

/// A key that calls can join by.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the key of calls that join: it is not `Debug + Send + 'static`",
    label = "not `Debug + Send + 'static`",
    note = "the error of a call that would wait for itself shows the keys"
)]
pub trait JoinKey: fmt::Debug + Send + 'static {}

#[diagnostic::do_not_recommend]
impl<K: fmt::Debug + Send + 'static> JoinKey for K {}

/// A response that several callers get.
#[diagnostic::on_unimplemented(
    message = "the response `{Self}` cannot be shared by calls that join: it is not `Clone + Send + Sync + 'static`",
    label = "not `Clone + Send + Sync + 'static`",
    note = "each caller gets a clone: wrap the response into an `Arc`, or turn it into one that is `Clone` by `map_response` inside this layer"
)]
pub trait SharedResponse: Clone + Send + Sync + 'static {}

#[diagnostic::do_not_recommend]
impl<T: Clone + Send + Sync + 'static> SharedResponse for T {}

/// An error that several callers get as it is.
#[diagnostic::on_unimplemented(
    message = "the error `{Self}` cannot be shared by calls that join: it is not `Clone + Send + Sync + 'static`",
    label = "not `Clone + Send + Sync + 'static`",
    note = "without `fail_with` and `respond_with`, callers get a `SharedError`, and the error need not be `Clone`"
)]
pub trait CloneError: Clone + Send + Sync + 'static {}

#[diagnostic::do_not_recommend]
impl<E: Clone + Send + Sync + 'static> CloneError for E {}

/// An error that events can show.
#[diagnostic::on_unimplemented(
    message = "the error `{Self}` is not `Display`, which a call's error has to be around and inside `DedupLayer`",
    label = "not `Display`",
    note = "events and log records show the error as a text"
)]
pub trait DisplayError: fmt::Display {}

#[diagnostic::do_not_recommend]
impl<E: fmt::Display> DisplayError for E {}
