//! Jobs that run in the background: their handles, their places, and their end.

mod ends;
mod independence;
mod jobs;
mod places;
mod shutdown;
