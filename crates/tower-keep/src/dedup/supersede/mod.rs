//! Superseding: a newer call takes the place of an older one, at once or after some quiet.

mod call;
pub(super) mod future;
mod slot;
pub(super) mod slot_table;
