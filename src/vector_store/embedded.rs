//! The embedded vector store.
