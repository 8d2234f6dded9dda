//! Retry budgets by key: a bounded table of them.

use std::{
    borrow::Borrow,
    fmt,
    hash::Hash,
    num::NonZeroUsize,
    sync::{Arc, Mutex, PoisonError},
};

use hashlink::LruCache;

use super::RetryBudget;

/// A [`RetryBudget`] for each key, such as the host: a dead host then uses up its own retries and not those of the others.
///
/// Each key gets a budget of its own, with the settings of the one given here, when it is first
/// asked for. Beyond [`max_keys`](Self::max_keys) the least recently used budget is forgotten; calls
/// that draw from it keep it until they end. A forgotten key comes back with a full
/// [`floor`](RetryBudget::floor), so allow for as many keys as are in use at a time. Clones share the
/// table. Each call takes a short lock.
///
/// ```
/// use tower_keep::{RetryLayer, retry::{RetryBudget, RetryBudgets}};
///
/// struct Request {
///     host: String,
/// }
///
/// let budgets = RetryBudgets::new(RetryBudget::default());
/// let by_host = budgets.clone();
/// let retry = RetryLayer::new().budget_by(move |request: &Request| Some(by_host.get(&request.host)));
/// assert_eq!(budgets.get("example.com").balance().available(), 3);
/// ```
pub struct RetryBudgets<K = String> {
    table: Arc<Table<K>>,
}

struct Table<K> {
    template: RetryBudget,
    max_keys: NonZeroUsize,
    /// The key's `Hash`, `Eq` and `Clone` run under this lock, no other code of a user does.
    budgets: Mutex<LruCache<K, RetryBudget>>,
}

const MAX_KEYS: NonZeroUsize = NonZeroUsize::new(1024).unwrap();

impl<K: Eq + Hash> RetryBudgets<K> {
    /// Budgets like this one, for at most 1024 keys.
    #[must_use]
    pub fn new(template: RetryBudget) -> Self {
        Self::with(template, MAX_KEYS)
    }

    fn with(template: RetryBudget, max_keys: NonZeroUsize) -> Self {
        Self {
            table: Arc::new(Table {
                template,
                max_keys,
                budgets: Mutex::new(LruCache::new(max_keys.get())),
            }),
        }
    }

    /// A new, empty table with these settings that keeps at most this many budgets. Default: 1024.
    #[must_use = "it returns a new table, and leaves this table as it is"]
    pub fn max_keys(&self, max_keys: NonZeroUsize) -> Self {
        Self::with(self.table.template.clone(), max_keys)
    }

    /// The budget of this key.
    #[must_use]
    pub fn get<Q>(&self, key: &Q) -> RetryBudget
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
    {
        let mut forgotten = None;
        let budget = {
            let mut budgets = self
                .table
                .budgets
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            match budgets.get(key) {
                Some(budget) => budget.clone(),
                None => {
                    let budget = self.table.template.empty_like();
                    if budgets.len() == self.table.max_keys.get() {
                        forgotten = budgets.remove_lru();
                    }
                    budgets.insert(key.to_owned(), budget.clone());
                    budget
                }
            }
        };
        // A key's `Drop` runs without the lock.
        drop(forgotten);
        budget
    }
}

impl<K> Clone for RetryBudgets<K> {
    fn clone(&self) -> Self {
        Self {
            table: Arc::clone(&self.table),
        }
    }
}

impl<K> fmt::Debug for RetryBudgets<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RetryBudgets")
            .field("template", &self.table.template)
            .field("max_keys", &self.table.max_keys)
            .finish_non_exhaustive()
    }
}
