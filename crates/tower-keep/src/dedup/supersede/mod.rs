//! Superseding (`latest`, `debounce`): a newer call replaces an older one, at once or after a quiet
//! period.

mod call;
pub(super) mod future;
mod slot;
pub(super) mod slot_table;
