//! What a running job reports, and what its readers see.

mod amounts;
mod board;
mod errors;
mod rates;
mod readers;
mod reports;
mod serialised;
mod watch;
