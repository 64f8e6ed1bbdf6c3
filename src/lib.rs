//! image-search: drop pictures in a folder, search them by words, rate the result.
//! The modules in dependency order are listed in ARCHITECTURE.md; a tidy test keeps the direction.

// Test support that unit and integration tests share names this crate alike in both.
#[cfg(test)]
extern crate self as image_search;

pub mod app;
pub mod catalog;
pub mod cli;
pub mod config;
pub mod data_dir;
pub mod embedder;
pub mod feedback;
pub mod http;
pub mod ingest;
pub mod metrics;
pub mod models;
pub mod search;
pub mod search_token;
pub mod serving;
pub mod source;
pub mod thumbnails;
pub mod types;
pub mod vector_store;
