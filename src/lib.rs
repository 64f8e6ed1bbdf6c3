//! image-search: drop pictures in a folder, search them by words, rate the result.
//! ARCHITECTURE.md says which module may import which; `tests/it/house_rules.rs` checks it.

#[cfg(not(any(target_os = "linux", target_os = "macos")))]
compile_error!(
    "image-search runs on Linux, and is type-checked for macOS. On Windows build and run it in WSL 2, or run the container; \
     docs/start.md says what is missing"
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
