//! commands: skeleton
