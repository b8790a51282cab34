//! serve: skeleton
