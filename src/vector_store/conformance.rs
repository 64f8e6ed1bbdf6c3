//! What every `VectorStore` must do.
