//! The bound on the errors of Cancel and Dedup, with a compiler error that names the missing trait.

use std::fmt;

/// An error that events can show.
///
/// ```compile_fail,E0277
/// # use tower::{Layer, service_fn, util::BoxCloneSyncService};
/// # use tower_keep::CancelLayer;
/// struct NotDisplay;
///
/// let cancel = CancelLayer::new().fail_with(|_| NotDisplay);
/// let service = cancel.layer(service_fn(|request: u32| async move { Ok::<_, NotDisplay>(request) }));
/// BoxCloneSyncService::<u32, u32, NotDisplay>::new(service);
/// ```
///
/// ```compile_fail,E0277
/// # use tower::{Layer, service_fn, util::BoxCloneSyncService};
/// # use tower_keep::DedupLayer;
/// struct NotDisplay;
///
/// let dedup = DedupLayer::new(|request: &u32| Some(*request)).fail_with(|_| NotDisplay);
/// let service = dedup.layer(service_fn(|request: u32| async move { Ok::<_, NotDisplay>(request) }));
/// BoxCloneSyncService::<u32, u32, NotDisplay>::new(service);
/// ```
#[diagnostic::on_unimplemented(
    message = "the error `{Self}` is not `Display`: errors inside and outside `CancelLayer` and `DedupLayer` need it",
    label = "not `Display`",
    note = "events and log records show the error as a text"
)]
pub trait DisplayError: fmt::Display {}

#[diagnostic::do_not_recommend]
impl<E: fmt::Display> DisplayError for E {}
