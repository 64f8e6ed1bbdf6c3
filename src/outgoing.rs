//! What requests of ours to other servers share: hubs of models, and buckets.

/// What we call ourselves.
pub const USER_AGENT: &str = concat!("image-search/", env!("CARGO_PKG_VERSION"));

/// The innermost reason: what the system or TLS says, without the layers and the address around it.
pub fn root_cause(error: &reqwest::Error) -> String {
    let mut innermost: &dyn std::error::Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}
