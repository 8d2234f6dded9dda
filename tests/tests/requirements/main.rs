//! What the layers do, seen from outside: each test names the requirement it holds.

mod cancel;
mod cancel_token;
mod cancel_waits;
mod circuit_backpressure;
mod circuit_breaker;
mod circuit_keys;
mod circuit_modes;
mod circuit_rates;
mod circuit_recovery;
mod dedup;
mod detached;
mod log;
mod one_job;
mod progress;
mod retry;
mod retry_backoff;
mod retry_budget;
mod retry_limits;
mod retry_policy;
mod support;
mod timeout;
mod timeout_deadlines;
mod timeout_differential;
mod timeout_grace;
mod timeout_idle;
mod together;
