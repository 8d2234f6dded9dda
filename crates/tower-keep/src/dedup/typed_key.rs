//! What two requests of one execution have in common. Pure.

use std::{
    any::TypeId,
    hash::{Hash, Hasher},
};

/// A key, and the type of what its execution comes to: one layer may be put around services whose outcomes differ in type
/// and cannot be shared.
#[derive(PartialEq, Eq)]
pub(super) struct TypedKey<K> {
    pub(super) key: K,
    of: TypeId,
}

impl<K: Hash> Hash for TypedKey<K> {
    /// Few layers see two types, so that the key alone tells enough.
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key.hash(state);
    }
}

impl<K> TypedKey<K> {
    /// Where calls are rejected, nothing is shared.
    pub(super) fn rejected(key: K) -> Self {
        Self::of::<()>(key)
    }

    pub(super) fn of<T: 'static>(key: K) -> Self {
        let of = TypeId::of::<T>();
        Self { key, of }
    }
}
