//! Superseding: a newer call takes the place of an older one, at once or after some quiet.

pub(super) mod future;
mod place;
pub(super) mod places;
mod service;
