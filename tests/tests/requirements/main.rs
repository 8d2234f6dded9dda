//! What the layers do, seen from outside: each test names the requirement it holds.

mod cancel;
mod circuit_breaker;
mod dedup;
mod log;
mod progress;
mod retry;
mod support;
mod timeout;
mod together;
