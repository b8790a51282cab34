//! admin: skeleton
