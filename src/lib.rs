//! image-search: drop pictures in a folder, search them by words, rate the result.
//! The modules in dependency order are listed in ARCHITECTURE.md; a tidy test keeps the direction.

pub mod types;
pub mod vector_store;
