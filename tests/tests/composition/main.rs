//! The layers together: the pipeline and its checks, settings per request, and verdicts that pass
//! between layers.

mod builders;
mod inner_service;
mod overrides;
mod pipeline_settings;
mod pipeline_slots;
mod rejections;
mod together;
mod verdicts;
mod verdicts_of_other_calls;
