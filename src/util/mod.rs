//! What knows nothing of fences.

pub(crate) mod atomic;
pub(crate) mod refs;
