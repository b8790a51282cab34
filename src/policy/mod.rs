//! policy: skeleton
