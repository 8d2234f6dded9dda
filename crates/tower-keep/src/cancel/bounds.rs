//! Trait bounds of the layer, with compiler errors that name the missing trait.

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
#[diagnostic::on_unimplemented(
    message = "the error `{Self}` is not `Display`: errors inside and outside `CancelLayer` need it",
    label = "not `Display`",
    note = "events and log records show the error as a text"
)]
pub trait DisplayError: fmt::Display {}

#[diagnostic::do_not_recommend]
impl<E: fmt::Display> DisplayError for E {}
