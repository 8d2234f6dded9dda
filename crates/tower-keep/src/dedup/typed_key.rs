//! A key together with the type of the execution's output. Pure.

use std::{
    any::TypeId,
    hash::{Hash, Hasher},
};

/// A key and the output type of its execution. One layer may wrap services with different output
/// types, which cannot share executions.
#[derive(PartialEq, Eq)]
pub(super) struct TypedKey<K> {
    pub(super) key: K,
    of: TypeId,
}

impl<K: Hash> Hash for TypedKey<K> {
    /// Few layers see two types, so hashing the key is enough.
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key.hash(state);
    }
}

impl<K> TypedKey<K> {
    /// The key in reject mode, where no output is shared.
    pub(super) fn rejected(key: K) -> Self {
        Self::of::<()>(key)
    }

    pub(super) fn of<T: 'static>(key: K) -> Self {
        let of = TypeId::of::<T>();
        Self { key, of }
    }
}
