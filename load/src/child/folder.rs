//! A folder that only we can look into, removed when dropped.

use std::path::PathBuf;
use std::{fs, io, process};

use super::login::random_hex;

/// The folder of one run.
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// In the system's place for temporary files.
    pub fn new() -> io::Result<Self> {
        let name = format!("tidegate-load-{}-{}", process::id(), &random_hex()[..8]);
        let path = std::env::temp_dir().join(name);
        let mut builder = fs::DirBuilder::new();
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(&path)?;
        Ok(Self(path))
    }

    /// A file in it.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What can't be removed stays in the temporary folder; there is nobody left to tell.
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_goes_with_its_owner() {
        let folder = Folder::new().unwrap();
        let file = folder.path("file");
        fs::write(&file, "text").unwrap();
        drop(folder);
        assert!(!file.exists() && !file.parent().unwrap().exists());
    }
}
