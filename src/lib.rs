//! image-search: drop pictures in a folder, search them by words, rate the result.
//! ARCHITECTURE.md says which module may import which; `tests/it/house_rules.rs` checks it.

#[cfg(not(target_os = "linux"))]
compile_error!(
    "image-search runs on Linux only: pictures are opened beneath their folder by openat2, which no other system has; \
     elsewhere run the container, see docs/start.md"
);

pub mod access;
pub mod app;
pub mod backoff;
pub mod backup;
pub mod catalog;
pub mod cli;
pub mod config;
pub mod data_dir;
pub mod decoder;
pub mod disk_space;
pub mod embedder;
pub mod feedback;
pub mod file_manager;
pub mod http;
pub mod ingest;
pub mod metrics;
pub mod models;
pub mod moment;
pub mod outgoing;
pub mod printable;
pub mod priority;
pub mod private_socket;
pub mod quality;
pub mod repair;
pub mod search;
pub mod search_token;
pub mod serving;
pub mod source;
pub mod store_check;
#[cfg(test)]
pub(crate) mod test_app;
pub mod thumbnails;
pub mod types;
pub mod vector_store;
