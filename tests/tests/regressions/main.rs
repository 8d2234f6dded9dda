//! What once went wrong where layers, foreign layers, tasks and panics meet, and must not again.

mod book;
mod circuit;
mod detached;
mod joined;
mod late;
mod notes;
mod panics;
mod pipeline;
mod small;
mod stress;
mod support;
