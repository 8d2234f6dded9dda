//! What once went wrong where layers, foreign layers, tasks and panics meet, and must not again.

mod attempts;
mod book;
mod calls;
mod circuit;
mod detached;
mod dispatch;
mod family;
mod grace;
mod joined;
mod late;
mod notes;
mod panics;
mod pipeline;
mod renewals;
mod reservations;
mod shared;
mod small;
mod stress;
mod support;
mod waits;
