//! The one read buffer of a core. Borrowed for the length of one poll, so that idle streams hold none.

use std::cell::{RefCell, RefMut};
use std::rc::Rc;

/// Measured: 64 KiB keeps small exchanges at two reads and two writes, and bulk within reach of larger buffers.
const SIZE: usize = 64 * 1024;

#[derive(Debug, Clone)]
pub(crate) struct Scratch(Rc<RefCell<Box<[u8]>>>);

impl Scratch {
    pub(crate) fn new() -> Self {
        Self(Rc::new(RefCell::new(vec![0; SIZE].into_boxed_slice())))
    }

    /// The buffer, until the guard goes; a core polls one task at a time, so nobody else has it.
    pub(crate) fn borrow(&self) -> RefMut<'_, Box<[u8]>> {
        self.0.borrow_mut()
    }
}
