//! What the layers do, seen from outside: each test names the requirement it holds.

mod cancel;
mod cancel_token;
mod cancel_waits;
mod circuit_breaker;
mod dedup;
mod detached;
mod log;
mod one_job;
mod progress;
mod retry;
mod retry_backoff;
mod retry_budget;
mod retry_limits;
mod support;
mod timeout;
mod together;
