//! The few system calls without a safe wrapper: the only file where `unsafe` may stand, with a sentence each that says
//! why it is sound.
#![allow(
    unsafe_code,
    reason = "neither the standard library nor rustix nor socket2 has IP_BIND_ADDRESS_NO_PORT"
)]

use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// Has the next bind to port 0 leave the port open until the connect (IP_BIND_ADDRESS_NO_PORT): one local port can then
/// serve one connection to every peer, not one in all.
pub(crate) fn bind_address_no_port(socket: &impl AsFd) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the descriptor is borrowed, so it is open; the kernel reads exactly the bytes of `on`, whose size stands
    // beside it, and keeps no pointer.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_BIND_ADDRESS_NO_PORT,
            (&raw const on).cast(),
            size_of_val(&on) as libc::socklen_t,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
