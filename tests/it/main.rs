//! The one integration binary: drives the real program as its users do, over HTTP and the command line.
//! `harness` starts it and waits for conditions with a deadline; nothing here sleeps for luck.

mod cli;
mod crash;
mod demo;
mod deployment;
#[path = "../../src/vector_store/qdrant/double.rs"]
mod double;
mod fault_proxy;
mod feedback;
mod harness;
mod hub;
mod ingest;
mod model_switch;
mod models;
mod qdrant;
mod search;
mod serving;
mod sources;
mod tidy;
mod uploads;
