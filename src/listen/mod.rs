//! listen: skeleton
