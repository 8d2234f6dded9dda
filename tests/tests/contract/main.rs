//! What every layer promises, alone and stacked with the others: each case is written once and runs
//! over many stacks.
//!
//! A stack is written as a word, outermost layer first; see [`stack`] for the letters and
//! [`stacks`] for the words. Each stack runs on a thread and a paused runtime of its own, so that
//! nothing ambient is carried over, and a case names every stack that it fails for.

mod bounds;
mod debug;
mod drops;
mod faults;
mod local;
mod outcomes;
mod panics;
mod permits;
mod readiness;
mod reasons;
mod run;
mod sharing;
mod stack;
mod stacks;
mod strict;
mod wakers;
