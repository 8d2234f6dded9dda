//! Whether a circuit acts by itself. Pure.

/// Says whether a circuit acts by itself or was forced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Mode {
    /// It does.
    Automatic,
    /// It is open until it is released.
    ForcedOpen,
    /// It is closed until it is released. It counts, but never opens.
    ForcedClosed,
    /// It lets everything through and counts nothing.
    Disabled,
    /// It counts and changes its state as ever, but lets everything through.
    ObserveOnly,
}
