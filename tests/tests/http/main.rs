//! The layers in front of real servers and behind real clients, over TCP on the loopback interface.

mod axum_server;
mod child_jobs;
mod hyper_client;
mod hyper_server;
mod layers;
mod recipes;
mod reqwest_client;
