//! [`JobId`] and [`JobName`]: the id and the name of a job.

use std::{
    borrow::Cow,
    collections::HashMap,
    fmt,
    hash::{BuildHasherDefault, Hasher},
    num::{NonZeroU64, ParseIntError},
    ops::Deref,
    str::FromStr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// The id of a job within this process. Never reused.
///
/// It is a counter over all stacks, and not an external id:
///
/// - It begins at 1 after a restart, and in every process. The same number is then another job.
/// - It can be guessed: a user who sees job 7 can ask for job 8.
/// - If different threads begin two jobs, the job with the greater id may be the earlier one.
///
/// For an id that other systems store, give the job an [external
/// id](crate::JobLayer::identified_by).
///
/// The text form is a number, and parses back:
///
/// ```
/// use tower_keep::JobId;
///
/// let id: JobId = "7".parse()?;
/// assert_eq!((id.get(), id.to_string()), (7, "7".to_owned()));
/// assert!("0".parse::<JobId>().is_err());
/// assert!("seven".parse::<JobId>().is_err());
/// # Ok::<(), tower_keep::InvalidJobId>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(NonZeroU64);

impl JobId {
    /// The next unused id.
    pub(crate) fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        // 2^64 jobs take centuries at a billion per second, so the counter does not wrap.
        Self(NonZeroU64::new(NEXT.fetch_add(1, Ordering::Relaxed)).unwrap_or(NonZeroU64::MAX))
    }

    /// The id as a number, for logs and keys.
    #[must_use]
    pub fn get(self) -> u64 {
        self.0.get()
    }

    /// The id with this number, as [`get`](Self::get) returned it: for a command that comes back,
    /// such as a cancel button. `None` for 0. Text can be parsed.
    #[must_use]
    pub fn from_u64(id: u64) -> Option<Self> {
        NonZeroU64::new(id).map(Self)
    }
}

impl FromStr for JobId {
    type Err = InvalidJobId;

    fn from_str(text: &str) -> Result<Self, InvalidJobId> {
        text.parse().map(Self).map_err(InvalidJobId)
    }
}

/// The text is not a job's id: not a whole number, 0, or too large.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a job's id")]
pub struct InvalidJobId(#[source] ParseIntError);

/// A map of jobs.
pub(crate) type JobMap<T> = HashMap<JobId, T, BuildHasherDefault<JobIdHasher>>;

/// Hashes ids. They come from a counter and not from users, so the map needs no defence against
/// chosen keys.
#[derive(Default)]
pub(crate) struct JobIdHasher(u64);

impl Hasher for JobIdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, id: u64) {
        // 2^64 divided by the golden ratio spreads consecutive numbers, also in the upper bits
        // (Knuth, TAOCP 3, 6.4).
        self.0 = (self.0 ^ id).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JobId({})", self.0)
    }
}

/// A job's name: static or shared text, cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct JobName(Name);

#[derive(Clone)]
enum Name {
    Static(&'static str),
    Shared(Arc<str>),
}

impl PartialEq for Name {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Name {}

impl std::hash::Hash for Name {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl Name {
    fn as_str(&self) -> &str {
        match self {
            Self::Static(name) => name,
            Self::Shared(name) => name,
        }
    }
}

impl JobName {
    /// The empty name.
    pub(crate) const EMPTY: Self = Self(Name::Static(""));

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl Deref for JobName {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl From<&'static str> for JobName {
    fn from(name: &'static str) -> Self {
        Self(Name::Static(name))
    }
}

impl From<String> for JobName {
    fn from(name: String) -> Self {
        Self(Name::Shared(name.into()))
    }
}

impl From<Arc<str>> for JobName {
    fn from(name: Arc<str>) -> Self {
        Self(Name::Shared(name))
    }
}

impl From<Cow<'static, str>> for JobName {
    fn from(name: Cow<'static, str>) -> Self {
        match name {
            Cow::Borrowed(name) => name.into(),
            Cow::Owned(name) => name.into(),
        }
    }
}

impl fmt::Display for JobName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

impl fmt::Debug for JobName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error;

    use super::*;

    #[test]
    fn the_text_of_an_id_is_that_id() {
        let last = JobId(NonZeroU64::MAX);
        for id in [JobId::next(), last] {
            assert_eq!(id.to_string().parse(), Ok(id));
        }
    }

    #[test]
    fn what_is_no_id_is_refused_and_the_error_says_why() {
        for (text, why) in [
            ("", "cannot parse integer from empty string"),
            ("0", "number would be zero for non-zero type"),
            ("-1", "invalid digit found in string"),
            (" 1", "invalid digit found in string"),
            (
                "18446744073709551616",
                "number too large to fit in target type",
            ),
        ] {
            let error = text.parse::<JobId>().unwrap_err();
            assert_eq!(error.to_string(), "not a job's id");
            assert_eq!(error.source().unwrap().to_string(), why, "{text:?}");
        }
    }
}
