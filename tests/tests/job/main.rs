//! What a job is: its beginning and end, its ids, names, steps, children, events and spans.

mod child_jobs;
mod external_ids;
mod external_ids_attempts;
mod external_ids_found;
mod job_services;
mod names;
mod observers;
mod one_job;
mod panics;
mod panics_of_user_code;
mod spans;
mod steps;
mod steps_ends;
mod steps_errors;
mod steps_share;
mod thread_end;
mod wall_times;
