//! The one integration binary: drives the real program as its users do, over HTTP and the command line.
//! `harness` starts it and waits for conditions with a deadline; nothing here sleeps for luck.

mod cli;
mod crash;
mod demo;
mod deployment;
mod fault_proxy;
mod feedback;
mod full_disk;
mod harness;
mod held_connections;
mod hostile_pages;
mod house_rules;
mod hub;
mod ingest;
mod model_switch;
mod models;
mod qdrant;
mod search;
mod serving;
mod sources;
mod store_truth;
mod through_server;
mod uploads;
