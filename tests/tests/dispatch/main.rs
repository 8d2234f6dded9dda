//! Jobs that run in the background: their handles, their places, and their end.

mod apart;
mod ends;
mod jobs;
mod places;
mod shutdown;
