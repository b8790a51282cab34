//! telemetry: skeleton
