//! When a circuit opens, what it lets through, and what it reports.

mod backpressure;
mod by_hand;
mod cause;
mod counting;
mod keys;
mod listeners;
mod modes;
mod rates;
mod recovery;
mod reservations;
mod states;
