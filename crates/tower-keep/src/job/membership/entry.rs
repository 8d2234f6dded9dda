//! What a call does in each phase, for each kind of layer. Pure.

use super::super::context::Phase;

/// The relation of a layer to the stack's job, before the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layer {
    /// Tracks no job.
    Plain,
    Tracking,
    /// Tracks, and belongs to the ambient job.
    Known,
}

/// What a call does: the table in [`membership`](super).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    Adopt,
    Begin,
    BeginForOwner,
    Join,
    Rejoin,
    RejoinForOwner,
    Untracked,
}

impl Entry {
    #[inline(always)]
    pub(super) fn of(phase: Phase, layer: Layer) -> Self {
        match (phase, layer) {
            (Phase::Running | Phase::Open | Phase::Offered, Layer::Plain) => Self::Adopt,
            (Phase::Running | Phase::Open | Phase::Offered, Layer::Tracking) => Self::Begin,
            (Phase::Running | Phase::Open | Phase::Offered, Layer::Known) => Self::Rejoin,
            (Phase::Adopting, Layer::Plain) => Self::Untracked,
            (Phase::Adopting, Layer::Tracking) => Self::BeginForOwner,
            (Phase::Adopting, Layer::Known) => Self::RejoinForOwner,
            (Phase::Calling | Phase::Rejoined, _) => Self::Join,
        }
    }
}
