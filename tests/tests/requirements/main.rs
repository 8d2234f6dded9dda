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
mod support;
mod timeout;
mod timeout_deadlines;
mod timeout_differential;
mod timeout_grace;
mod timeout_idle;
mod together;
