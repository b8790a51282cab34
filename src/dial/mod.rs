//! dial: skeleton
