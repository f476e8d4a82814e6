//! The plain live page at `/`: lists events as they come and publishes one. One file, no build step, nothing loaded from elsewhere.

/// The page. Its script and its style are one inline block each, so that a policy can name them by hash.
pub const HTML: &str = include_str!("page/index.html");
