//! x
/// x
pub struct Store;
