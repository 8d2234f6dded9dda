//! When a failed attempt is repeated, how long the wait is, and when the retry gives up.

mod attempts;
mod attempts_ends;
mod backoff;
mod before_attempt;
mod before_attempt_ends;
mod before_attempt_waits;
mod budget;
mod delays;
mod give_up;
mod instance;
mod limits;
mod policy;
mod retries;
