//! Who cancels a job, what becomes of its work, and what a shutdown does.

mod cancelling;
mod detached;
mod detached_attempts;
mod grace;
mod handle;
mod several_calls;
mod shutdown;
mod shutdown_race;
mod shutdown_token;
mod threads;
mod token;
mod waits;
