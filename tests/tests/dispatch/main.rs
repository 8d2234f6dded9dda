//! Jobs that run in the background: their handles, their permits, and their end.

mod ends;
mod independence;
mod jobs;
mod limit;
mod shutdown;
