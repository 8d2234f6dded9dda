//! `RetryBudgets`: a bounded table of retry budgets by key, such as one per host.

use std::{
    borrow::Borrow,
    fmt,
    hash::Hash,
    num::NonZeroUsize,
    sync::{Arc, Mutex, PoisonError},
};

use hashlink::LruCache;

use super::RetryBudget;

/// A [`RetryBudget`] per key, such as the host: a dead host uses up only its own retries.
///
/// [`get`](Self::get) creates the budget of a new key, with the settings of the budget given to
/// [`new`](Self::new). Clones share the table. Each call takes a short lock.
///
/// Above [`max_keys`](Self::max_keys), the least recently used budget is evicted. Running calls
/// keep an evicted budget until they end. An evicted key returns with a full
/// [`floor`](RetryBudget::floor), so allow for all keys that are in use at the same time.
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
    /// `Hash`, `Eq` and `Clone` of the key run under this lock, and no other user code.
    budgets: Mutex<LruCache<K, RetryBudget>>,
}

const MAX_KEYS: NonZeroUsize = NonZeroUsize::new(1024).unwrap();

impl<K: Eq + Hash> RetryBudgets<K> {
    /// A table for at most 1024 keys. `template` gives the settings of each budget.
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

    /// A new, empty table with the same settings that keeps at most `max_keys` budgets. Default:
    /// 1024.
    #[must_use = "it returns a new table, and leaves this table as it is"]
    pub fn max_keys(&self, max_keys: NonZeroUsize) -> Self {
        Self::with(self.table.template.clone(), max_keys)
    }

    /// The budget of this key, created on first use.
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
