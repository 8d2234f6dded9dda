//! What a call does, by the phase around it and by the layer. Pure.

use super::super::context::Phase;

/// What a layer is to the job of its stack, before it is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layer {
    /// It tracks no job.
    Plain,
    Tracking,
    /// It tracks, and belongs to the ambient job.
    Known,
}

/// What a call does: the table at the head of [`membership`](super).
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
