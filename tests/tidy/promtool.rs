//! Where promtool is, for all who ask it.

use std::path::{Path, PathBuf};

/// Where `tests/run` puts it, or where a package does.
pub(crate) fn promtool() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let target = own.ancestors().nth(3).unwrap();
    let places = [
        target.join("prometheus/usr/bin/promtool"),
        Path::new("/usr/bin/promtool").to_path_buf(),
    ];
    let found = places.into_iter().find(|place| place.exists());
    found.expect("promtool is missing: `bash tests/run` fetches it (Debian package prometheus)")
}
