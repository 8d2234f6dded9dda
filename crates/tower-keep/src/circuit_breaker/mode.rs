//! The mode of a circuit: automatic or forced. Pure.

/// The mode of a circuit: automatic, or forced by a handle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Mode {
    /// The circuit opens and closes by its settings. The default.
    Automatic,
    /// The circuit is open until its mode changes.
    ForcedOpen,
    /// The circuit is closed until its mode changes. It counts, but never opens.
    ForcedClosed,
    /// The circuit admits all calls and counts nothing.
    Disabled,
    /// The circuit counts and changes its state as usual, but admits all calls.
    ObserveOnly,
}
