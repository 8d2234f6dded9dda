//! When a limit expires, what it stops, and what the code inside knows of it.

mod deadlines;
mod differential;
mod grace;
mod grace_attempts;
mod grace_ends;
mod grace_handles;
mod idle;
mod limits;
mod names;
mod nested;
