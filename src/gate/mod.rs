//! gate: skeleton
