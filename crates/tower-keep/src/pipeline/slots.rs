//! The names of a pipeline's slots, outermost first: `Slot<slots::Retry>` is what the retry's slot
//! takes.

/// Takes a [`LogLayer`](crate::LogLayer).
#[derive(Debug)]
pub enum Log {}

/// Takes a [`ProgressLayer`](crate::ProgressLayer).
#[derive(Debug)]
pub enum Progress {}

/// Takes a [`CancelLayer`](crate::CancelLayer).
#[derive(Debug)]
pub enum Cancel {}

/// Takes a [`DedupLayer`](crate::DedupLayer).
#[derive(Debug)]
pub enum Dedup {}

/// Takes a [`CircuitBreakerLayer`](crate::CircuitBreakerLayer).
#[derive(Debug)]
pub enum CircuitBreaker {}

/// Takes a [`TimeoutLayer`](crate::TimeoutLayer); there are two of them, around the retry and
/// inside it.
#[derive(Debug)]
pub enum Timeout {}

/// Takes a [`RetryLayer`](crate::RetryLayer).
#[derive(Debug)]
pub enum Retry {}
