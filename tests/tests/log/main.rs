//! Which records a job writes, at which level, with which fields.

mod causes;
mod fields;
mod levels;
mod listeners;
mod records;
