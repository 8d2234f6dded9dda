//! Models of the library's concurrent state machines, checked by [loom](loom): every schedule of a
//! few threads, with every value that the memory model lets a load see, up to a number of
//! preemptions.
//!
//! # How it works
//!
//! The library's pure files are included here as they are, by `#[path]`. They take their locks and
//! atomics from `crate::sync`, which in this crate is loom's. So what is checked is what ships, and
//! the library knows nothing of loom.
//!
//! A model is a `pub fn`. It calls [`explore`](run::explore), which runs a closure once for each
//! schedule and gives back all that the closure observed. What must hold in each schedule the
//! closure asserts itself; which ends there can be, and that each of them is really reached, is
//! asserted of the set. The files under `tests/` run the models, one test each. Nothing may differ
//! between two runs of a closure but the schedule: time is a number, and randomness has a seed.
//!
//! # What is checked as it is, and what is not
//!
//! Schedules have at most three preemptions, or as many as a model gives to `explore_within`: two,
//! where three would take longer than some seconds. Reference counts are std's, and loom sees no
//! step in them: a model in which they matter also touches something of loom's (as the flight's
//! output does when it is cloned). A token is tokio's, as a whole. Wakers in a place of the job's
//! wait for one another, where the real ones do each other's work.
//!
//! # Adding one
//!
//! Few threads with few steps: each lock or atomic operation multiplies the schedules. What needs
//! no race goes before the first [`spawn`](run::spawn). Threads are this crate's, from [`run`], not
//! loom's. List the model under `tests/`; then break what it guards, as by turning a
//! `compare_exchange` into a `store`, and see it fail.
//!
//! # Reading a failure
//!
//! The first bad schedule panics with the assertion that it broke, or with `deadlock` where a
//! thread would sleep for ever. `LOOM_MAX_PREEMPTIONS=1` often finds a shorter one, and more than
//! the default looks further; `LOOM_LOCATION=1` says where each thread was.

// Linters compile libraries for unit tests too, whatever the manifest says.
#![cfg(not(test))]

pub mod cancel;
pub mod circuit_breaker;
pub mod dedup;
pub mod job;
pub mod progress;
pub mod retry;
mod run;
mod sync;
mod tracing_enabled;

// The library's own files, of which the models use a part. They are linted at home.

#[path = "../../../crates/tower-keep/src/classify/mod.rs"]
#[allow(dead_code, unreachable_pub, clippy::all)]
mod classify;
#[path = "../../../crates/tower-keep/src/error.rs"]
#[allow(dead_code, unreachable_pub, clippy::all)]
mod error;
#[path = "../../../crates/tower-keep/src/error_text.rs"]
#[allow(dead_code, unreachable_pub, clippy::all)]
mod error_text;
#[path = "../../../crates/tower-keep/src/event/mod.rs"]
#[allow(dead_code, unreachable_pub, unused_imports, clippy::all)]
mod event;
#[path = "../../../crates/tower-keep/src/ratio.rs"]
#[allow(dead_code, unreachable_pub, clippy::all)]
mod ratio;
#[path = "../../../crates/tower-keep/src/unshare.rs"]
#[allow(dead_code, unreachable_pub, clippy::all)]
mod unshare;
